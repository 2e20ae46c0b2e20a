"""Which versions run here."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from plugin.version import VERSION

PACKAGES: Final = ("torch", "pydicom", "pynetdicom", "highdicom")


@cache
def versions() -> dict[str, str]:
    """Return name -> version of this package and what its results rest on."""
    found = {"brs": VERSION, "Python": platform.python_version()}
    return found | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
