"""Real peer programs: a missing one fails in CI and skips on a laptop."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Return the path of a Debian program (a virtual environment may shadow it)."""
    path = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed, and CI must have it")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def dicom_errors(path: Path) -> list[str]:
    """Return what dciodvfy (dicom3tools) calls an error in a DICOM file."""
    run = subprocess.run(
        [program("dciodvfy"), path], capture_output=True, text=True, check=False
    )
    return [line for line in run.stderr.splitlines() if line.startswith("Error")]
