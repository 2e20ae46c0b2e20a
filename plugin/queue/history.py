"""What the status page reads of the queue, and how its history stays bounded."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plugin.queue import journal as journals
from plugin.queue.causes import JournalError
from plugin.queue.clock import Moment, elapsed_s, remaining_s
from plugin.queue.journal import Journal, Kind, load
from plugin.queue.policy import Policy
from plugin.queue.store import State, Store, late_batches
from plugin.queue.trash import discard

EPOCH: Final = 0.0


@dataclass(frozen=True, slots=True)
class Listed:
    """One job as it is listed; ``journal`` is None where it cannot be read."""

    job_id: str
    state: State
    folder: Path
    journal: Journal | None
    damage: str | None
    wait_s: float

    @property
    def changed_s(self) -> float:
        """Time of the last event, in seconds since 1970; 0 where unknown."""
        if self.journal is None or not self.journal.events:
            return EPOCH
        return self.journal.events[-1].moment.at.timestamp()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of jobs, counted from 1."""

    jobs: tuple[Listed, ...]
    number: int
    pages: int
    total: int


@dataclass(frozen=True, slots=True)
class Depth:
    """Number of jobs in every state."""

    incoming: int
    queued: int
    running: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: tuple[int, int, int]
    journal: Journal | None
    damage: str | None


class Catalogue:
    """Journals of a state's jobs; only those that changed are read again."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self._reads: dict[State, dict[Path, _Read]] = {}

    def read(self, state: State) -> list[Listed]:
        """Return every job of a state, in no promised order."""
        known = self._reads.get(state, {})
        reads = {}
        for folder in self._store.job_folders(state):
            read = _refresh(folder, known.get(folder))
            if read is not None:
                reads[folder] = read
        self._reads[state] = reads
        now = self._store.clock()
        return [self._listed(state, f, r, now) for f, r in reads.items()]

    def look(self, state: State, folder: Path) -> Listed | None:
        """Return one job; None where it has moved."""
        read = _refresh(folder, None)
        now = self._store.clock()
        return None if read is None else self._listed(state, folder, read, now)

    def due(self) -> list[Listed]:
        """Return the queued jobs that may run now, the first to be taken first.

        A damaged one comes first: to be parked takes no time.
        """
        ready = (job for job in self.read(State.QUEUED) if job.wait_s == 0)
        return sorted(ready, key=_turn)

    def _listed(self, state: State, folder: Path, read: _Read, now: Moment) -> Listed:
        queued = state is State.QUEUED and read.journal is not None
        wait_s = _wait_s(read.journal, now, self._policy) if queued else 0.0
        return Listed(
            folder.name, state, folder, read.journal, read.damage, round(wait_s, 3)
        )


def page_of(jobs: Iterable[Listed], *, number: int, size: int) -> Page:
    """Return a page, the latest change first; beyond the last page is the last."""
    ordered = sorted(jobs, key=lambda job: (-job.changed_s, job.job_id))
    pages = max(1, -(-len(ordered) // size))
    number = min(max(1, number), pages)
    start = (number - 1) * size
    chosen = tuple(ordered[start : start + size])
    return Page(chosen, number=number, pages=pages, total=len(ordered))


def prune(store: Store, catalogue: Catalogue, policy: Policy) -> tuple[str, ...]:
    """Return the ids of removed jobs; only what has no late batch and no work goes.

    Images go before the job: the history of a job is small, its images are not.
    """
    return (
        *_prune_done(store, catalogue, policy),
        *_prune_parked(store, catalogue, policy),
    )


def _prune_parked(
    store: Store, catalogue: Catalogue, policy: Policy
) -> tuple[str, ...]:
    """Remove old jobs that are no work at all."""
    now = store.clock()
    removed = []
    for job in catalogue.read(State.FAILED):
        last = job.journal.last if job.journal is not None else None
        if last is None or last.kind is not Kind.PARKED:
            continue
        is_unsuitable = last.cause in policy.unsuitable and not late_batches(job.folder)
        if is_unsuitable and _age_s(job, now) > policy.keep_parked_s:
            discard(store, job.folder)
            removed.append(job.job_id)
    return tuple(removed)


def _prune_done(store: Store, catalogue: Catalogue, policy: Policy) -> tuple[str, ...]:
    now = store.clock()
    jobs = [job for job in catalogue.read(State.DONE) if _is_done(job)]
    jobs.sort(key=lambda job: job.changed_s, reverse=True)
    removed = []
    for rank, job in enumerate(jobs):
        age_s = _age_s(job, now)
        if rank >= policy.keep_done or age_s > policy.keep_done_s:
            discard(store, job.folder)
            removed.append(job.job_id)
        elif age_s > policy.keep_images_s:
            _drop_images(store, job.folder / policy.images)
    return tuple(removed)


def _drop_images(store: Store, images: Path) -> None:
    if images.is_dir():
        discard(store, images)


def _is_done(job: Listed) -> bool:
    last = job.journal.last if job.journal is not None else None
    return last is not None and last.kind is Kind.DONE and not late_batches(job.folder)


def _age_s(job: Listed, now: Moment) -> float:
    last = job.journal.last if job.journal is not None else None
    return 0.0 if last is None else elapsed_s(last.moment, now)


def _turn(job: Listed) -> tuple[bool, int, float, str]:
    if job.journal is None:
        return (False, 0, EPOCH, job.job_id)
    opened = job.journal.opened
    since = EPOCH if opened is None else opened.moment.at.timestamp()
    return (True, -job.journal.priority, since, job.job_id)


def _wait_s(journal: Journal | None, now: Moment, policy: Policy) -> float:
    last = journal.last if journal is not None else None
    if last is None or last.wait_s is None:
        return 0.0
    return remaining_s(last.moment, now, min(last.wait_s, policy.longest_wait_s))


def _refresh(folder: Path, known: _Read | None) -> _Read | None:
    """Read a job's journal unless it is the known one; None where the job is gone."""
    try:
        stamp = _stamp(folder)
        if known is not None and stamp is not None and known.stamp == stamp:
            return known
        return _Read(stamp or (0, 0, 0), load(folder), None)
    except FileNotFoundError:
        return None
    except JournalError as error:
        return _Read((0, 0, 0), None, error.found)


def _stamp(folder: Path) -> tuple[int, int, int] | None:
    """Return what changes with every rewrite of a journal; None where it has none."""
    try:
        found = (folder / journals.NAME).stat()
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)
