"""Merge what came after a job was enqueued; only its holder may."""

import logging
from pathlib import Path

from plugin.queue import journal as journals
from plugin.queue.causes import JournalError
from plugin.queue.disk import CONFLICTS, Arrival, put, sync
from plugin.queue.journal import Event, Journal, Kind
from plugin.queue.store import LATE, Store, late_batches

logger = logging.getLogger(__name__)


def absorb(store: Store, folder: Path, journal: Journal) -> Journal:
    """Merge the late batches into a held job; return its journal.

    New files re-open the job; the journal says so before the first is moved. Copies of
    what is there are dropped, other bytes under a known name are kept aside; neither
    re-opens anything.
    """
    for batch in late_batches(folder):
        new = _new_files(batch, folder)
        if new:
            came = Event(store.clock(), Kind.LATE, text=f"{new} new files")
            events = (*_own_events(batch, journal.job_id), came)
            journal = store.append(folder, journal, *events)
        conflicts = _merge(store, batch, folder)
        if conflicts or not new:
            cause = "other-bytes" if conflicts else ""
            text = f"{conflicts} files kept in {CONFLICTS}" if conflicts else ""
            seen = Event(store.clock(), Kind.DUPLICATE, cause, text)
            journal = store.append(folder, journal, seen)
    return journal


def _new_files(batch: Path, folder: Path) -> int:
    names = (path.relative_to(batch) for path in _files(batch))
    return sum(not (folder / name).exists() for name in names)


def _own_events(batch: Path, job_id: str) -> tuple[Event, ...]:
    """Return when the batch came; nothing where its journal cannot be read."""
    path = batch / journals.NAME
    try:
        return journals.parse(path.read_bytes(), job_id).events
    except FileNotFoundError:
        return ()
    except JournalError as error:
        logger.warning(
            "job %s: a late batch's journal is kept aside: %s", job_id, error
        )
        path.rename(path.with_name(f"{path.name}.damaged-late"))
        return ()


def _merge(store: Store, batch: Path, folder: Path) -> int:
    """Move a batch's files to the job's; return how many had other bytes."""
    conflicts = 0
    for path in _files(batch):
        inside = path.relative_to(batch)
        if inside == Path(journals.NAME):
            continue
        arrival = put(path, folder, inside)
        conflicts += arrival is Arrival.CONFLICT
        store.between("merged a file")
    (batch / journals.NAME).unlink(missing_ok=True)
    _remove_empty(batch)
    sync(folder / LATE)
    return conflicts


def _files(batch: Path) -> list[Path]:
    return [path for path in sorted(batch.rglob("*")) if path.is_file()]


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()
