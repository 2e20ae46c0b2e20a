"""Errors of the doors, and the exit code of every cause.

BrsError                   1
├── ModelError             1  (CheckpointError 5, TrainingError 6, DeviceError 9,
│                              LeakageError 10)
└── PluginError            1
    ├── InputError         3  no usable breast DCE pair, or unreadable images
    ├── MaskError          4  a mask without a state, in a wrong one, or on another grid
    ├── ArchiveError       7  the archive is missing, refuses, or lost what was pushed
    │   └── LoginError     7  the login ended: no later session can be done either
    └── ConfigError        8  a setting is unknown or out of range

Usage errors of the command line exit with 2 (click).
"""

from collections.abc import Sequence

from model.errors import (
    BrsError,
    CheckpointError,
    DeviceError,
    LeakageError,
    TrainingError,
)


class PluginError(BrsError):
    """Root of what ``plugin`` raises on purpose."""


class InputError(PluginError):
    """No usable breast DCE pair, or unreadable images."""


class MaskError(PluginError):
    """A mask without a state, in a wrong one, or on another grid."""


class ArchiveError(PluginError):
    """The archive is missing, refuses, or lost what was pushed."""


class LoginError(ArchiveError):
    """The archive takes the login no longer, or never did: nothing more can be done."""


class ConfigError(PluginError):
    """A setting is unknown or out of range."""


EXIT_CODES: dict[type[BrsError], int] = {
    InputError: 3,
    MaskError: 4,
    CheckpointError: 5,
    TrainingError: 6,
    ArchiveError: 7,
    ConfigError: 8,
    DeviceError: 9,
    LeakageError: 10,
}


def common_cause(errors: Sequence[BrsError]) -> type[BrsError]:
    """Return the documented kind that all ``errors`` share, else ``InputError``."""
    kinds = {next((k for k in EXIT_CODES if isinstance(e, k)), None) for e in errors}
    (kind,) = kinds if len(kinds) == 1 else (None,)
    return kind or InputError


def exit_code(error: BrsError) -> int:
    """Return the documented exit code of ``error``, 1 for causes without their own."""
    return next((c for kind, c in EXIT_CODES.items() if isinstance(error, kind)), 1)
