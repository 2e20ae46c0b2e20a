"""Claim a job by renaming it into an owner's folder, then see what it needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from plugin.queue.causes import JournalError, disk_reported
from plugin.queue.job import Job, Limits, home, settle
from plugin.queue.journal import Event, Kind, load
from plugin.queue.late import absorb
from plugin.queue.owner import Owner
from plugin.queue.recovery import park_damaged, return_all
from plugin.queue.store import State, Store

OPERATOR: Final = "operator"


def start(store: Store, limits: Limits, queued: Path, owner: Owner) -> Job | None:
    """Claim a queued job; None where it is another's, damaged, or needs no run."""
    held = owner.folder / queued.name
    if held.exists():
        return None
    try:
        store.move(queued, held, lasting=False)
    except FileNotFoundError:
        return None
    try:
        return _prepare(store, limits, held)
    except JournalError as error:
        park_damaged(store, held, error)
    except OSError:
        settle(store, held, State.QUEUED)
        raise
    return None


@contextmanager
def hold(store: Store, limits: Limits, folder: Path) -> Iterator[Job | None]:
    """Hold a resting job for a moment; None where it has just moved.

    What is not settled inside goes back to where its journal says.
    """
    with disk_reported(f"job {folder.name}"):
        owner = Owner(store.folder(State.RUNNING), OPERATOR, store.clock())
        try:
            yield _claim(store, limits, folder, owner.folder / folder.name)
        finally:
            return_all(store, limits, owner.folder)
            owner.close()


def _prepare(store: Store, limits: Limits, held: Path) -> Job | None:
    journal = absorb(store, held, load(held))
    if home(journal) is not State.QUEUED:
        settle(store, held, home(journal))
        return None
    taken = Event(store.clock(), Kind.TAKEN, text=held.parent.name)
    journal = journal.plus(taken)
    store.save(held, journal, lasting=False)
    return Job(store, limits, held, journal)


def _claim(store: Store, limits: Limits, folder: Path, held: Path) -> Job | None:
    try:
        store.move(folder, held)
        return Job(store, limits, held, load(held))
    except FileNotFoundError:
        return None
