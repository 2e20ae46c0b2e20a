"""The package's version, from its own metadata."""

from importlib.metadata import version

PACKAGE = "xnat-brs"
VERSION = version(PACKAGE)
