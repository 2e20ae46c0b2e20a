"""Where a job's folder is, and moves that are atomic and durable.

::

    incoming/<job>           being received
    queued/<job>             waits for its turn
    running/<owner>/<job>    held by one worker
    done/<job>  failed/<job>
    <any of them>/late/<time>  a batch that came later, not yet merged
    .trash/<any>/<job>       being removed

No rename replaces a job: where one of the same id is there, the newcomer becomes a
late batch of it.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import mkdtemp
from typing import Final
from uuid import uuid4

from plugin.queue import journal as journals
from plugin.queue.causes import QueueError, disk_reported
from plugin.queue.clock import Clock
from plugin.queue.disk import is_taken, make_folder, sync, write
from plugin.queue.journal import Event, Journal
from plugin.queue.lock import inherit

JOB_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{3,63}")
LATE: Final = "late"
TRASH: Final = ".trash"


class State(StrEnum):
    """The place of a job is its state."""

    INCOMING = "incoming"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


SETTLED: Final = (State.QUEUED, State.RUNNING, State.DONE, State.FAILED)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job was found."""

    state: State
    folder: Path


@dataclass(frozen=True, slots=True)
class Store:
    """The work folder. ``between`` is told each step, for tests that kill there."""

    root: Path
    clock: Clock
    between: Callable[[str], None]

    def prepare(self) -> None:
        """Make the folders of all states."""
        with disk_reported(f"work folder {self.root}"):
            for name in (*State, TRASH):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            sync(self.root)

    def folder(self, state: State, job_id: str = "") -> Path:
        """Return a state's folder, or a job's in it (not of a running one)."""
        return self.root / state / job_id

    @contextmanager
    def trash(self) -> Iterator[Path]:
        """Yield a new folder in the trash, which no recovery empties meanwhile."""
        handle: int | None = None
        while handle is None:
            bin_ = Path(mkdtemp(dir=self.root / TRASH))
            handle = inherit(bin_)
        try:
            yield bin_
        finally:
            os.close(handle)

    def job_folders(self, state: State) -> Iterator[Path]:
        """Yield the job folders of a state."""
        if state is State.RUNNING:
            for owner in subfolders(self.folder(state)):
                yield from subfolders(owner)
        else:
            yield from subfolders(self.folder(state))

    def find(self, job_id: str) -> Place | None:
        """Return where a job is, beside what is being received for it.

        Looked for twice: between two looks it may have moved against their order.
        """
        for state in SETTLED * 2:
            for folder in self._candidates(state, job_id):
                if folder.is_dir():
                    return Place(state, folder)
        return None

    def move(self, source: Path, target: Path, *, lasting: bool = True) -> Path:
        """Rename a job's folder; return where it is now.

        Unless ``lasting``, a power cut may undo the move; a kill may not.
        FileNotFoundError where another process moved it first.
        """
        if not renamed(source, target):
            return self.nest(source, target)
        self.between("renamed")
        if lasting:
            sync(target.parent)
            sync(source.parent)
        self.between("moved")
        return target

    def nest(self, source: Path, folder: Path) -> Path:
        """Move a folder into another job's as a late batch of it.

        Under a name never used before: one that a merge has just emptied would be
        taken over, and then removed with what is new.
        """
        make_folder(folder / LATE)
        source.rename(folder / LATE / f"{self._stamp()}-{uuid4().hex[:8]}")
        self.between("nested")
        for changed in (folder / LATE, folder, source.parent):
            sync(changed)
        return folder

    def _stamp(self) -> str:
        return self.clock().at.strftime("%Y%m%dT%H%M%S%f")

    def save(self, folder: Path, journal: Journal, *, lasting: bool = True) -> None:
        """Write the journal of the job in ``folder``."""
        self.between("before the journal")
        write(folder / journals.NAME, journals.dump(journal), lasting=lasting)
        self.between("after the journal")

    def append(self, folder: Path, journal: Journal, *events: Event) -> Journal:
        """Write a journal with more events; return it."""
        longer = journal.plus(*events)
        self.save(folder, longer)
        return longer

    def _candidates(self, state: State, job_id: str) -> Iterator[Path]:
        if state is State.RUNNING:
            for owner in subfolders(self.folder(state)):
                yield owner / job_id
        else:
            yield self.folder(state, job_id)


def checked(job_id: str) -> str:
    """Return a job id that is safe as a folder's name."""
    if not JOB_ID.fullmatch(job_id):
        raise QueueError(
            "a job's id",
            found="what is no short hash",
            needed="4 to 64 of a-z, 0-9 and hyphen",
            mend="hand in a hash of the study, not the study's UID or a name",
        )
    return job_id


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; none where it is gone."""
    try:
        with os.scandir(folder) as entries:
            found = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(found)]


def late_batches(folder: Path) -> list[Path]:
    """Return the late batches of a job, oldest first."""
    return subfolders(folder / LATE)


def renamed(source: Path, target: Path) -> bool:
    """Rename a folder; False where the target is there, with files in it."""
    try:
        source.rename(target)
    except OSError as error:
        if not is_taken(error):
            raise
        return False
    return True
