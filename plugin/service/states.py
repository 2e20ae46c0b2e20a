"""What a worker says to its supervisor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

STARTING: Final = "starting"
IDLE: Final = "idle"
BUSY: Final = "busy"
ENDING: Final = "ending"
FAILED: Final = "failed"
WAITING: Final = "waiting"
"""It has ended, and is started again after a pause."""
ENDED: Final = "ended"


@dataclass(frozen=True, slots=True)
class Said:
    """A worker's state, its job, its engine, or the error with which it ends."""

    state: str
    job: str | None = None
    engine: str | None = None
    error: Mapping[str, str] | None = None
