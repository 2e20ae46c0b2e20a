"""Files into a job, and the job into the queue."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from plugin.queue import journal as journals
from plugin.queue.causes import JournalError, QueueError, disk_reported
from plugin.queue.disk import CONFLICTS, Arrival, put, same, sync
from plugin.queue.journal import Event, Journal, Kind, load
from plugin.queue.recovery import arrive, park_damaged
from plugin.queue.store import LATE, State, Store, checked, renamed

TRIES: Final = 50
RESERVED: Final = {journals.NAME, LATE, CONFLICTS}

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Reception:
    """The listener's side of the queue."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def receive(self, job_id: str) -> Path:
        """Return the folder in ``incoming`` to fill for this job, made if need be."""
        folder = self._store.folder(State.INCOMING, checked(job_id))
        with disk_reported(f"job {job_id}"):
            _until_still(job_id, lambda: self._open(folder))
        return folder

    def accept(self, job_id: str, written: Path, inside: str) -> Arrival:
        """Move a written and flushed file into the job; say what that did."""
        name = _checked_name(inside)
        if not written.is_file():
            raise _missing(job_id)
        with disk_reported(f"job {job_id}"):
            known = self._known(checked(job_id), name)
            if known is not None and same(written, known):
                # The first copy's name may not be durable yet.
                sync(known.parent)
                written.unlink(missing_ok=True)
                return Arrival.DUPLICATE
            arrival = _until_still(job_id, lambda: self._put(job_id, written, name))
            if known is not None:
                arrival = Arrival.CONFLICT
        if arrival is Arrival.CONFLICT:
            logger.warning("job %s: other bytes under a known name, kept", job_id)
        return arrival

    def enqueue(self, job_id: str, priority: int) -> None:
        """Hand what was received to the workers."""
        folder = self._store.folder(State.INCOMING, checked(job_id))
        with disk_reported(f"job {job_id}"):
            _until_still(job_id, lambda: self._enqueue(folder, priority))

    def _open(self, folder: Path) -> None:
        """Make the folder with its journal in it, so that none is seen without."""
        if folder.is_dir():
            return
        received = Event(self._store.clock(), Kind.RECEIVED)
        with self._store.trash() as bin_:
            (bin_ / folder.name).mkdir()
            self._store.save(bin_ / folder.name, Journal(folder.name, (received,)))
            if renamed(bin_ / folder.name, folder):
                sync(folder.parent)
                self._store.between("opened")
            shutil.rmtree(bin_, ignore_errors=True)

    def _known(self, job_id: str, name: Path) -> Path | None:
        """Return the file of this name that the job has where it is settled."""
        present = self._store.find(job_id)
        known = present.folder / name if present is not None else None
        return known if known is not None and known.exists() else None

    def _put(self, job_id: str, written: Path, name: Path) -> Arrival:
        return put(written, self.receive(job_id), name)

    def _enqueue(self, folder: Path, priority: int) -> None:
        if not folder.is_dir():
            return
        try:
            journal = load(folder)
        except JournalError as error:
            self._take_in_damaged(folder, error)
            return
        event = Event(self._store.clock(), Kind.ENQUEUED, priority=priority)
        self._store.append(folder, journal, event)
        arrive(self._store, folder)

    def _take_in_damaged(self, folder: Path, error: JournalError) -> None:
        """Park what has no readable journal; a known job takes it as a late batch."""
        if self._store.find(folder.name) is None:
            park_damaged(self._store, folder, error)
        else:
            arrive(self._store, folder)


def _until_still(job_id: str, step: Callable[[], T]) -> T:
    """Do a step again while other processes move the job under it."""
    for _ in range(TRIES):
        try:
            return step()
        except FileNotFoundError:
            logger.debug("job %s moved; once more", job_id)
    raise QueueError(
        f"job {job_id}",
        found=f"a folder that was gone {TRIES} times",
        needed="a work folder that only this queue changes",
        mend="look for what moves files there",
    )


def _checked_name(inside: str) -> Path:
    """Return a path that stays inside the job and leaves the queue's own names."""
    name = PurePosixPath(inside)
    parts = inside.split("/")
    if name.is_absolute() or {"", ".", ".."} & set(parts) or parts[0] in RESERVED:
        raise QueueError(
            "a file of a job",
            found="a name outside the job, or one that the queue keeps for itself",
            needed="a relative path such as images/<hash>.dcm",
            mend="check the name before it is used",
        )
    return Path(inside)


def _missing(job_id: str) -> QueueError:
    return QueueError(
        f"a received file of job {job_id}",
        found="no such file",
        needed="a file that was written and flushed",
        mend="write it before it is handed over",
    )
