"""Errors raised by ``model``; each says what was found, needed, and how to mend it.

BrsError                  (also the root of ``plugin.errors``)
└── ModelError
    ├── GeometryError     two volumes do not share a grid, or a grid is unusable
    ├── EmptyMaskError    a measurement needs foreground, the mask has none
    ├── RegionError       no breast region can be found in this volume
    ├── SelectionError    a strategy cannot rank this pool
    ├── StoreError        the case store on disk is missing, stale or damaged
    ├── TrainingError     too few cases, or a budget ended before one epoch
    ├── LeakageError      one patient on both sides of a split
    ├── CheckpointError   weights missing, unreadable, or of another architecture
    └── DeviceError       the device asked for is not there
"""

from functools import partial
from typing import Any


class BrsError(Exception):
    """A problem a person can mend: names its subject, never a patient."""

    def __init__(self, subject: str, *, found: str, needed: str, mend: str) -> None:
        super().__init__(f"{subject}: found {found}; needed {needed}. Mend: {mend}.")
        self.subject = subject
        self.found = found
        self.needed = needed
        self.mend = mend

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make it again, so that it can come out of another process."""
        said = {"found": self.found, "needed": self.needed, "mend": self.mend}
        return partial(type(self), **said), (self.subject,)


class ModelError(BrsError):
    """Root of what ``model`` raises on purpose."""


class GeometryError(ModelError):
    """Two volumes do not share a grid, or a grid is unusable."""


class EmptyMaskError(ModelError):
    """A measurement needs foreground, the mask has none."""


class RegionError(ModelError):
    """No breast region can be found in this volume."""


class SelectionError(ModelError):
    """A strategy cannot rank this pool."""


class StoreError(ModelError):
    """The case store on disk is missing, stale or damaged."""


class TrainingError(ModelError):
    """Too few cases, or a budget ended before one epoch."""


class LeakageError(ModelError):
    """One patient on both sides of a split."""


class CheckpointError(ModelError):
    """Weights missing, unreadable, or of another architecture."""


class DeviceError(ModelError):
    """The device asked for is not there."""
