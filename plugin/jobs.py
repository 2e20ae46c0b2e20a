"""The durable queue: a job is a folder whose place is its state, moved by rename.

Nothing here is locked between processes: who renames a folder first has it, and who
comes second finds it gone. Every step may be the last before a kill or a power cut;
``Queue.recover`` finishes it. Job ids are hashes that the caller hands in.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from plugin.queue.causes import (
    Cause,
    JournalError,
    LastingError,
    PassingError,
    QueueError,
    StorageError,
    cause_of,
    disk_reported,
)
from plugin.queue.clock import Clock, Moment, elapsed_s, machine_clock
from plugin.queue.disk import Arrival
from plugin.queue.history import Catalogue, Depth, Listed, Page, page_of, prune
from plugin.queue.hold import hold, start
from plugin.queue.job import Job, Limits
from plugin.queue.journal import Event, Kind
from plugin.queue.owner import Owner
from plugin.queue.policy import Policy
from plugin.queue.reception import Reception
from plugin.queue.recovery import recover
from plugin.queue.store import Place, State, Store, checked
from plugin.queue.trash import discard

__all__ = [
    "Arrival",
    "Cause",
    "Clock",
    "Depth",
    "Event",
    "Job",
    "JournalError",
    "Kind",
    "LastingError",
    "Listed",
    "Moment",
    "Page",
    "PassingError",
    "Policy",
    "Queue",
    "QueueError",
    "State",
    "StorageError",
    "cause_of",
    "machine_clock",
]

PAGE_SIZE: Final = 50


def _go_on(_step: str) -> None:
    """Do nothing between two steps."""


class Queue:
    """Jobs in one work folder, shared by a listener, workers and a status page."""

    def __init__(
        self,
        root: Path,
        clock: Clock = machine_clock,
        policy: Policy | None = None,
        *,
        rng: Random | None = None,
        between: Callable[[str], None] = _go_on,
    ) -> None:
        self.policy = policy or Policy()
        self._store = Store(root, clock, between)
        self._store.prepare()
        self._reception = Reception(self._store)
        self._limits = Limits(self.policy, rng or Random())
        self._catalogue = Catalogue(self._store, self.policy)
        self._owners: dict[str, Owner] = {}
        self._owners_lock = threading.Lock()

    @property
    def root(self) -> Path:
        """Return the work folder."""
        return self._store.root

    # receiving

    def receive(self, job_id: str) -> Path:
        """Return the folder in ``incoming`` to fill for this job, made if need be.

        ``enqueue`` may move it at any moment: ``accept`` is the way to add a file.
        """
        return self._reception.receive(job_id)

    def accept(self, job_id: str, written: Path, inside: str) -> Arrival:
        """Move a written and flushed file into the job, durably, replacing nothing.

        ``written`` lies on the queue's file system and is gone afterwards. A copy of
        what the job has, also when it is done, is dropped and re-opens nothing. Other
        bytes under a known name are kept aside, at the latest when the job is taken.
        """
        return self._reception.accept(job_id, written, inside)

    def enqueue(self, job_id: str, *, priority: int = 0) -> State:
        """Hand what was received to the workers; return the job's state.

        What comes for a known job is merged when the job is next taken, and re-opens
        one that is done or failed. Doing it twice is harmless.
        """
        self._reception.enqueue(job_id, priority)
        return self._present(job_id).state

    # working

    def take(self, worker: str) -> Job | None:
        """Return the next due job, now this worker's alone; None where none is due."""
        with disk_reported(f"worker {worker}"):
            owner = self._owner(worker)
            for listed in self._catalogue.due():
                job = start(self._store, self._limits, listed.folder, owner)
                if job is not None:
                    return job
        return None

    def recover(self) -> tuple[str, ...]:
        """Finish what dead processes left; return the ids of the jobs concerned.

        Call it at start and now and then: jobs of the living are left alone.
        """
        return recover(self._store, self._limits)

    def revive(self, *, after_s: float | None = None) -> tuple[str, ...]:
        """Queue again what gave up on a passing cause ``after_s`` ago or longer."""
        rest_s = self.policy.revive_after_s if after_s is None else after_s
        now = self._store.clock()
        revived = []
        for listed in self._catalogue.read(State.FAILED):
            last = listed.journal.last if listed.journal is not None else None
            if last is None or last.kind is not Kind.GAVE_UP:
                continue
            if elapsed_s(last.moment, now) >= rest_s:
                self._reopen(listed.folder, Kind.REVIVED)
                revived.append(listed.job_id)
        return tuple(revived)

    # operating

    def rerun(self, job_id: str) -> State:
        """Queue a done, failed or waiting job for a new run now; return its state.

        A running or incoming one is left as it is.
        """
        place = self._present(job_id)
        if place.state in (State.QUEUED, State.DONE, State.FAILED):
            self._reopen(place.folder, Kind.RERUN)
        return self._present(job_id).state

    def park(self, job_id: str, cause: Cause) -> State:
        """Park a job that nobody runs; return its state."""
        place = self._present(job_id)
        if place.state in (State.INCOMING, State.QUEUED):
            with hold(self._store, self._limits, place.folder) as job:
                if job is not None:
                    job.park(cause)
        return self._present(job_id).state

    def discard(self, job_id: str) -> None:
        """Remove a done or failed job and its images, by a person's decision."""
        place = self._present(job_id)
        if place.state not in (State.DONE, State.FAILED):
            raise _refused(job_id, f"a job in {place.state}", "a done or failed job")
        with disk_reported(f"job {job_id}"):
            discard(self._store, place.folder)

    def prune(self) -> tuple[str, ...]:
        """Remove old done jobs and their images; return the ids of removed jobs."""
        with disk_reported(f"work folder {self._store.root}"):
            return prune(self._store, self._catalogue, self.policy)

    # looking

    def find(self, job_id: str) -> Listed | None:
        """Return one job with its journal; None where there is none."""
        place = self._find(job_id)
        return self._catalogue.look(place.state, place.folder) if place else None

    def jobs(
        self, state: State | None, page: int = 1, *, size: int = PAGE_SIZE
    ) -> Page:
        """Return one page of the jobs in a state or in all, the latest change first."""
        states = State if state is None else (state,)
        listed = [job for each in states for job in self._catalogue.read(each)]
        return page_of(listed, number=page, size=size)

    def depth(self) -> Depth:
        """Return how many jobs are in every state."""
        counts = [sum(1 for _ in self._store.job_folders(state)) for state in State]
        return Depth(*counts)

    def close(self) -> None:
        """End this process's ownership of jobs; what is still held is recovered."""
        with self._owners_lock:
            for owner in self._owners.values():
                owner.close()
            self._owners.clear()

    def _reopen(self, folder: Path, kind: Kind) -> None:
        with hold(self._store, self._limits, folder) as job:
            if job is not None:
                job.reopen(kind)

    def _owner(self, worker: str) -> Owner:
        with self._owners_lock:
            owner = self._owners.get(worker)
            if owner is None or not owner.is_mine:
                running = self._store.folder(State.RUNNING)
                owner = Owner(running, worker, self._store.clock())
                self._owners[worker] = owner
            return owner

    def _find(self, job_id: str) -> Place | None:
        incoming = self._store.folder(State.INCOMING, checked(job_id))
        if place := self._store.find(job_id):
            return place
        return Place(State.INCOMING, incoming) if incoming.is_dir() else None

    def _present(self, job_id: str) -> Place:
        place = self._find(job_id)
        if place is None:
            raise _refused(job_id, "no such job", "a job of this queue")
        return place


def _refused(job_id: str, found: str, needed: str) -> QueueError:
    return QueueError(
        f"job {job_id}", found=found, needed=needed, mend="look at the job's page"
    )
