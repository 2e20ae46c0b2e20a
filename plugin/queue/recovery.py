"""Finish what a killed process left half done; every step may itself be killed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plugin.queue import journal as journals
from plugin.queue.causes import JournalError, StorageError, disk_reported
from plugin.queue.job import Limits, home, reopen, settle
from plugin.queue.journal import Event, Journal, Kind, load
from plugin.queue.lock import inherit
from plugin.queue.owner import bury
from plugin.queue.store import TRASH, State, Store, subfolders
from plugin.queue.trash import empty

logger = logging.getLogger(__name__)


def recover(store: Store, limits: Limits) -> tuple[str, ...]:
    """Return the ids of the jobs that were brought to where they belong.

    One that the disk refuses is said and stays for the next call.
    """
    found: list[str] = []
    for owner in subfolders(store.folder(State.RUNNING)):
        with _said(owner.name):
            found += _bury(store, limits, owner)
    for folder in subfolders(store.folder(State.FAILED)):
        with _said(folder.name):
            _unite(store, folder)
    for state in (State.DONE, State.FAILED):
        for folder in subfolders(store.folder(state)):
            with _said(folder.name):
                found += [folder.name] * (reopen(store, folder) != folder)
    for folder in subfolders(store.folder(State.INCOMING)):
        with _said(folder.name):
            found += [folder.name] * _enqueued(store, folder)
    for bin_ in subfolders(store.root / TRASH):
        with _said(bin_.name), _lock(bin_) as handle:
            if handle is not None:
                empty(store, bin_)
    return tuple(found)


def park_damaged(store: Store, folder: Path, error: JournalError) -> Path:
    """Park a job whose journal cannot be read; the damaged one is kept beside."""
    damaged = folder / journals.NAME
    if damaged.exists():
        number = len(list(folder.glob(f"{journals.NAME}.damaged-*"))) + 1
        damaged.rename(damaged.with_name(f"{journals.NAME}.damaged-{number}"))
    event = Event(store.clock(), Kind.PARKED, "journal-damaged", error.found)
    store.append(folder, Journal(folder.name), event)
    logger.warning("parked: %s", error)
    return store.move(folder, store.folder(State.FAILED, folder.name))


def bring_home(store: Store, limits: Limits, folder: Path) -> None:
    """Place a job that nobody holds any more where its journal says."""
    try:
        journal = load(folder)
    except JournalError as error:
        park_damaged(store, folder, error)
        return
    last = journal.last
    if last is not None and last.kind in (Kind.TAKEN, Kind.PROGRESS):
        journal = store.append(folder, journal, _crash(store, limits, journal))
    settle(store, folder, home(journal))


def _crash(store: Store, limits: Limits, journal: Journal) -> Event:
    """Return what a worker's death means: another run, or park what kills workers."""
    now, policy = store.clock(), limits.policy
    crashes = journal.crashes + 1
    if crashes >= policy.crashes:
        text = f"{crashes} workers ended while running this job"
        return Event(now, Kind.PARKED, "worker-ended", text)
    wait = 0.0 if crashes == 1 else policy.wait_s(crashes - 1, limits.rng)
    return Event(now, Kind.RECOVERED, "worker-ended", wait_s=wait)


def return_all(store: Store, limits: Limits, owner: Path) -> list[str]:
    """Bring home every job in an owner's folder; return their ids."""
    found = []
    for folder in subfolders(owner):
        with _said(folder.name):
            bring_home(store, limits, folder)
            found.append(folder.name)
    return found


def _bury(store: Store, limits: Limits, owner: Path) -> list[str]:
    with _lock(owner) as handle:
        if handle is None:
            return []
        found = return_all(store, limits, owner)
        bury(owner, handle)
        return found


@contextmanager
def _lock(folder: Path) -> Iterator[int | None]:
    handle = inherit(folder)
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _enqueued(store: Store, folder: Path) -> bool:
    """Finish an ``enqueue`` that was cut between its journal and its move."""
    try:
        last = load(folder).last
    except JournalError:
        return False
    if last is None or last.kind is not Kind.ENQUEUED:
        return False
    arrive(store, folder)
    return True


def arrive(store: Store, folder: Path) -> None:
    """Move an enqueued incoming folder to its queue place, or into its known job."""
    present = store.find(folder.name)
    if present is None:
        store.move(folder, store.folder(State.QUEUED, folder.name))
        return
    store.nest(folder, present.folder)
    present = store.find(folder.name)
    if present is not None:
        reopen(store, present.folder)


def _unite(store: Store, failed: Path) -> None:
    """Make one job of a done and a failed one of the same id."""
    done = store.folder(State.DONE, failed.name)
    if done.is_dir():
        store.nest(failed, done)


@contextmanager
def _said(subject: str) -> Iterator[None]:
    """Log what the disk refuses for one job, so that the others are recovered."""
    try:
        with disk_reported(f"job {subject}"):
            yield
    except FileNotFoundError:
        logger.debug("job %s: another process was faster", subject)
    except StorageError as error:
        logger.warning("not recovered yet: %s", error)
