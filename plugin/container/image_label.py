"""Commands -> the image label that the Container Service installs them from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

LABEL = "org.nrg.commands"
ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "$": "\\$"})


def label_value(commands: Sequence[Mapping[str, Any]]) -> str:
    """Return the label's value: a JSON list of the commands, on one line."""
    return json.dumps(list(commands), separators=(",", ":"))


def dockerfile_label(commands: Sequence[Mapping[str, Any]]) -> str:
    """Return the Dockerfile instruction that sets the label.

    Backslash, double quote and ``$`` mean something inside a Dockerfile's quotes.
    """
    return f'LABEL {LABEL}="{label_value(commands).translate(ESCAPED)}"'
