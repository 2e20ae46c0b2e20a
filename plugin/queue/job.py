"""One running job, held by one worker until it is settled."""

import logging
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from plugin.queue.causes import Cause, QueueError, cause_of, disk_reported
from plugin.queue.journal import Event, Journal, Kind
from plugin.queue.policy import Policy
from plugin.queue.store import State, Store, late_batches

logger = logging.getLogger(__name__)

HOME: Final = {
    Kind.RECEIVED: State.INCOMING,
    Kind.DONE: State.DONE,
    Kind.PARKED: State.FAILED,
    Kind.GAVE_UP: State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of retries, and chance for their jitter."""

    policy: Policy
    rng: Random


class Job:
    """A held job: its folder, and every way to settle it.

    A method that raises has settled nothing and may be called again.
    """

    def __init__(
        self, store: Store, limits: Limits, folder: Path, journal: Journal
    ) -> None:
        self.folder = folder
        self.job_id = journal.job_id
        self.journal = journal
        self._store = store
        self._limits = limits
        self._settled = False

    def reached(self, stage: str) -> bool:
        """Tell whether an earlier run of the same images came this far."""
        return stage in self.journal.stages

    def progress(self, stage: str, text: str = "") -> None:
        """Record that a stage is reached; a full disk is said and ends nothing."""
        code = Cause(stage, text, passing=True).code
        event = Event(self._store.clock(), Kind.PROGRESS, code, text)
        self.journal = self.journal.plus(event)
        try:
            self._store.save(self.folder, self.journal, lasting=False)
        except OSError as error:
            reason = error.strerror
            logger.warning("job %s: %s not recorded: %s", self.job_id, stage, reason)

    def done(self, summary: str) -> None:
        """Settle as done; a late batch queues the job at once for another run."""
        self._settle(State.DONE, Event(self._store.clock(), Kind.DONE, text=summary))

    def retry(self, cause: Cause, *, wait_s: float | None = None) -> None:
        """Queue for later, after the back-off or ``wait_s``; give up after the last."""
        policy, now = self._limits.policy, self._store.clock()
        if self.journal.attempts >= policy.attempts:
            text = f"after {self.journal.attempts} attempts: {cause.text}"
            self._settle(State.FAILED, Event(now, Kind.GAVE_UP, cause.code, text))
            return
        wait = policy.wait_s(self.journal.attempts, self._limits.rng)
        wait = min(policy.longest_wait_s, wait if wait_s is None else wait_s)
        event = Event(now, Kind.RETRY, cause.code, cause.text, wait_s=wait)
        self._settle(State.QUEUED, event)

    def park(self, cause: Cause) -> None:
        """Settle as failed, until a person or new images re-open the job."""
        event = Event(self._store.clock(), Kind.PARKED, cause.code, cause.text)
        self._settle(State.FAILED, event)

    def release(self, text: str) -> None:
        """Queue again at once and at no cost: the worker is told to stop."""
        event = Event(self._store.clock(), Kind.RELEASED, text=text)
        self._settle(State.QUEUED, event)

    def reopen(self, kind: Kind) -> None:
        """Queue a resting job for another run or cycle."""
        self._settle(State.QUEUED, Event(self._store.clock(), kind))

    def fail(self, error: BaseException) -> None:
        """Retry or park, as the error's cause decides."""
        cause = cause_of(error)
        if cause.passing:
            self.retry(cause)
        else:
            self.park(cause)

    def _settle(self, state: State, event: Event) -> None:
        if self._settled:
            raise _misused(self.job_id, "is settled")
        with disk_reported(f"job {self.job_id}"):
            try:
                self.journal = self._store.append(self.folder, self.journal, event)
                self.folder = settle(self._store, self.folder, state)
            except FileNotFoundError as error:
                raise _misused(self.job_id, "is gone from its place") from error
        self._settled = True


def settle(store: Store, folder: Path, state: State) -> Path:
    """Move a held job to its state; one with a late batch is queued instead.

    Looked at after the move: until then a batch may have come.
    """
    placed = store.move(folder, store.folder(state, folder.name))
    return placed if state is State.INCOMING else reopen(store, placed)


def reopen(store: Store, folder: Path) -> Path:
    """Queue a resting job that has a late batch; return where the job is."""
    if folder.parent.name not in (State.DONE, State.FAILED) or not late_batches(folder):
        return folder
    queued = store.folder(State.QUEUED, folder.name)
    try:
        return store.move(folder, queued)
    except FileNotFoundError:
        return queued


def home(journal: Journal) -> State:
    """Return where a job belongs that nobody runs, by its journal."""
    if journal.last is None:
        return State.QUEUED
    return HOME.get(journal.last.kind, State.QUEUED)


def _misused(job_id: str, found: str) -> QueueError:
    return QueueError(
        f"job {job_id}",
        found=f"a job that {found}",
        needed="a job that this worker holds",
        mend="take the job again",
    )
