"""What the pages are made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plugin.archive import Archive
from plugin.jobs import Clock, Queue, machine_clock

MIN_FREE_BYTES: Final = 2 << 30


@dataclass(frozen=True, slots=True, eq=False)
class StatusSource:
    """The work folder with its queue, and what only the running process knows.

    Attributes
    ----------
    counts
        The listener's instances by outcome, since its start.
    listening
        Whether the DICOM listener accepts associations; None: there is none.
    destinations
        Names of the configured destinations.
    archive
        Project whose rankings and trainings are shown: a URI, or an opened archive.
    min_free_bytes
        Below this much free disk the listener refuses, so the service is not ready.
    """

    work: Path
    queue: Queue
    counts: Callable[[], Mapping[str, int]] = dict
    listening: Callable[[], bool] | None = None
    destinations: tuple[str, ...] = ()
    archive: str | Archive | None = None
    min_free_bytes: int = MIN_FREE_BYTES
    clock: Clock = machine_clock
