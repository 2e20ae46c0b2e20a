"""OpenVINO without its telemetry.

Importing OpenVINO reports the import to Google Analytics from a child process, unless
the package that sends is absent; its own stub then takes the place.
"""

import sys
from typing import Any, Final, cast

SENDER: Final = "openvino_telemetry"

# What is None here cannot be imported.
cast(dict[str, Any], sys.modules)[SENDER] = None

import openvino  # noqa: E402
from openvino import opset15 as ops  # noqa: E402

__all__ = ["openvino", "ops"]
