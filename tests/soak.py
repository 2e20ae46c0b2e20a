"""A service under fire: studies arrive while its processes die and all else fails.

One seed decides the order of studies and faults; at which instruction a process is when
it dies is the machine's to say.
"""

import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from killable import CLOCK, FULL, SUPERVISOR, WORKER, Orders
from service import Running, Study
from soak_peers import SUCCESS, Pacs, Routers

from plugin.jobs import Event, Kind, Listed, QueueError, State

logger = logging.getLogger("soak")

UNDER_WAY: Final = 4
"""Studies not yet done before the next fault comes."""
AFTER: Final = 3
"""Studies after the last fault."""
BUSY, REFUSED = 0xA700, 0xA900
FAILURES: Final = (Kind.RETRY, Kind.RECOVERED, Kind.PARKED, Kind.GAVE_UP)
POLL_S: Final = 0.05
ALL: Final = 1 << 30
ANYWHERE: Final = "anywhere"
KILLS: Final = (
    (SUPERVISOR, "written"),
    (SUPERVISOR, "after the journal"),
    (SUPERVISOR, "moved"),
    (SUPERVISOR, ANYWHERE),
    (WORKER, "renamed"),
    (WORKER, "infer"),
    (WORKER, "write"),
    (WORKER, "stored"),
    (WORKER, "delivered"),
    (WORKER, ANYWHERE),
)
"""In turn: between write and rename; in the midst of enqueueing; between enqueue and
run; at any moment; taken and not yet said; while computing; before the result; sent and
not yet looked for; between send and journal; at any moment."""


class Soak:
    """The campaign against one service; ``start`` starts its processes again."""

    def __init__(
        self,
        start: Callable[[], Running],
        orders: Path,
        pacs: Pacs,
        routers: Routers,
        rng: random.Random,
    ) -> None:
        self._start = start
        self._orders = orders
        self._rng = rng
        self._armed: list[tuple[str, str]] = []
        self._spoilt: list[Event] = []
        self._end_s = 0.0
        self.pacs = pacs
        self.routers = routers
        self.service = start()
        self.studies: list[Study] = []
        self.kills: Counter[str] = Counter()
        self.reruns = 0
        self.said: list[str] = []

    def run(
        self, coming: Iterator[Study], studies: int, kills: int, limit_s: float
    ) -> None:
        """Send so many studies under so many kills and every other fault once."""
        self._end_s = time.monotonic() + limit_s
        deaths = [*KILLS, *self._rng.choices(KILLS, k=max(0, kills - len(KILLS)))]
        faults: list[Callable[[], None]] = [self._turn_clock]
        faults += [partial(self._kill, *death) for death in deaths[:kills]]
        fed = (
            *(self._go_away, self._be_busy, self._refuse),
            *(self._fill_disk, self._corrupt),
        )
        faults += [partial(fault, coming) for fault in fed]
        self._rng.shuffle(faults)
        rest = max(0, studies - len(fed) - AFTER)
        for number, fault in enumerate(faults):
            share = (number + 1) * rest // len(faults) - number * rest // len(faults)
            self._send(coming, share)
            self._wait(lambda: self._under_way() < UNDER_WAY, "studies to be done")
            fault()
            self._tell(number + 1, len(faults))
        self._send(coming, AFTER)
        self._wait(lambda: self._is_over(coming), "every study to be done")
        self.routers.end()
        self.said.append(self.service.said)

    def jobs(self, *states: State) -> list[Listed]:
        """Return the jobs in these states, or all."""
        queue = self.service.queue
        found = [queue.jobs(s, size=ALL).jobs for s in states or State]
        return [job for jobs in found for job in jobs]

    def events(self, *kinds: Kind) -> list[Event]:
        """Return the events of these kinds in all journals."""
        journals = [job.journal for job in self.jobs() if job.journal is not None]
        return [e for journal in journals for e in journal.events if e.kind in kinds]

    def failures(self) -> list[Event]:
        """Return what went wrong by all journals, spoilt ones included."""
        spoilt = [event for event in self._spoilt if event.kind in FAILURES]
        return spoilt + self.events(*FAILURES)

    # faults

    def _kill(self, role: str, step: str) -> None:
        """Kill a process at the step when it next comes there, or anywhere now."""
        if step != ANYWHERE:
            Orders(self._orders, role).arm(step)
            self._armed.append((role, step))
            return
        until_s = time.monotonic() + self._rng.uniform(0, 1)
        self._wait(lambda: time.monotonic() > until_s, "a moment")
        if role == WORKER:
            self._wait(lambda: bool(self.service.worker_pids()), "a worker")
            os.kill(self._rng.choice(self.service.worker_pids()), signal.SIGKILL)
        else:
            self.service.process.kill()
            self.service.process.wait()
        self.kills[f"{role} {step}"] += 1

    def _go_away(self, coming: Iterator[Study]) -> None:
        """Take the PACS away for longer than all retries of one cycle."""
        before = len(self.events(Kind.GAVE_UP))
        self.pacs.go()
        self._send(coming, 1)
        self._wait(lambda: len(self.events(Kind.GAVE_UP)) > before, "a job to give up")
        self.pacs.come()

    def _be_busy(self, coming: Iterator[Study]) -> None:
        self._answer(BUSY, coming)

    def _refuse(self, coming: Iterator[Study]) -> None:
        self._answer(REFUSED, coming)

    def _answer(self, status: int, coming: Iterator[Study]) -> None:
        """Let the PACS refuse masks so until a job has written that down."""
        self.pacs.status = status
        self._send(coming, 1)
        cause = f"c-store-{status:04x}"
        self._wait(
            lambda: any(event.cause == cause for event in self.failures()),
            f"a job to fail by {cause}",
        )
        self.pacs.status = SUCCESS

    def _fill_disk(self, coming: Iterator[Study]) -> None:
        """Leave no byte free until a sender has been refused."""
        full, before = self._orders / FULL, self.routers.refusals
        full.touch()
        self._send(coming, 1)
        self._wait(lambda: self.routers.refusals > before, "a refusal by us")
        full.unlink()

    def _turn_clock(self) -> None:
        """Let the time of day jump."""
        hours = self._rng.choice([-24, -1, 1, 24])
        (self._orders / CLOCK).write_text(str(hours * 3600))

    def _corrupt(self, coming: Iterator[Study]) -> None:
        """Write rubbish over the journal of a job that no process holds."""
        self._send(coming, 1)
        self._wait(self._spoil_journal, "a job that nobody holds")

    def _spoil_journal(self) -> bool:
        resting = self.jobs(State.INCOMING, State.QUEUED, State.DONE)
        try:
            job = self._rng.choice(resting)
            (job.folder / "job.json").write_bytes(self._rng.randbytes(100))
        except (IndexError, FileNotFoundError):
            return False
        self._spoilt += job.journal.events if job.journal is not None else ()
        return True

    # meanwhile

    def _send(self, coming: Iterator[Study], count: int) -> None:
        for study in islice(coming, count):
            self.studies.append(study)
            self.routers.send(study.files)

    def _tell(self, number: int, faults: int) -> None:
        """Say how far it is."""
        done, killed = len(self.jobs(State.DONE)), sum(self.kills.values())
        logger.info(
            "fault %d of %d: %d studies sent, %d done, %d kills, %d restarts",
            *(number, faults, len(self.studies), done, killed, len(self.said)),
        )

    def _under_way(self) -> int:
        return len(self.studies) - len(self.jobs(State.DONE, State.FAILED))

    def _wait(self, happened: Callable[[], bool], what: str) -> None:
        """Wait, and do what the machine's owner does: start the dead service again."""
        while not happened():
            if time.monotonic() > self._end_s:
                raise AssertionError(f"waited for {what} in vain: {self._standing()}")
            self._count_deaths()
            if self.service.has_ended:
                self._restart()
            time.sleep(POLL_S)

    def _count_deaths(self) -> None:
        for role, step in list(self._armed):
            if not Orders(self._orders, role).is_armed(step):
                self._armed.remove((role, step))
                self.kills[f"{role} {step}"] += 1

    def _restart(self) -> None:
        code = self.service.process.returncode
        if code != -signal.SIGKILL:
            raise AssertionError(f"ended by itself with {code}: {self.service.said}")
        self.said.append(self.service.said)
        self.service.forget()
        self.service = self._start()

    def _is_over(self, coming: Iterator[Study]) -> bool:
        """Tell whether all is done; re-run what waits for a person."""
        for job in self.jobs(State.DONE, State.FAILED):
            last = job.journal.last if job.journal is not None else None
            if last is None or last.kind is Kind.PARKED:
                self._rerun(job.job_id)
        depth = self.service.queue.depth()
        open_ = depth.incoming + depth.queued + depth.running + depth.failed
        if open_ or not self.routers.are_idle:
            return False
        if self._armed:
            self._send(coming, 1)
        return not self._armed

    def _rerun(self, job_id: str) -> None:
        try:
            self.service.queue.rerun(job_id)
        except QueueError:
            # Damaged, then it is parked now and can be run again; or it has just moved.
            return
        self.reruns += 1

    def _standing(self) -> str:
        states = {state.value: len(self.jobs(state)) for state in State}
        return f"{states}, {self._armed}, {self.service.said[-2000:]}"
