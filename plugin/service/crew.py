"""The worker processes: started, restarted after a pause, ended.

They are forked from a server that has imported what they need, and holds no thread
and no network: a restart takes the time of loading the weights.
"""

import logging
import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Final

from model.errors import BrsError
from plugin.errors import EXIT_CODES, PluginError
from plugin.service.config import ServiceConfig
from plugin.service.orders import LOOK
from plugin.service.states import BUSY, ENDED, FAILED, IDLE, STARTING, WAITING, Said

logger = logging.getLogger(__name__)

Work = Callable[[ServiceConfig, str, Connection, int], None]


def run_worker(
    config: ServiceConfig, name: str, line: Connection, verbosity: int
) -> None:
    """Be a worker; what that needs is loaded in its process alone."""
    from plugin.worker import work

    work(config, name, line, verbosity)


PRELOADED: Final = ["plugin.worker"]
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
FAREWELL_S: Final = 5.0
POLL_S: Final = 0.05


@dataclass(slots=True)
class Member:
    """One worker: its process, and what it said last."""

    name: str
    process: ForkServerProcess | None = None
    line: Connection | None = None
    state: str = WAITING
    job: str | None = None
    since_s: float = 0.0
    deaths: int = 0
    """Ends since it last finished a job."""
    due_s: float = 0.0

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self.process.pid if self.process is not None else None


class Crew:
    """All workers of a service; ``died`` is called after one has ended by itself."""

    def __init__(
        self,
        config: ServiceConfig,
        work: Work,
        *,
        died: Callable[[], object],
        verbosity: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._work = work
        self._died = died
        self._verbosity = verbosity
        self._clock = clock
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._was_ready = False
        self.engine = ""
        """What the workers segment with, as one of them said."""
        self.members = [Member(f"worker-{n + 1}") for n in range(config.workers)]

    def tend(self) -> None:
        """Hear the workers, end one that is stuck, and start those that are due.

        Raises
        ------
        BrsError
            If a worker cannot work at all and none ever could: a setting is wrong.
        """
        for member in self.members:
            self._hear(member)
            self._end_if_stuck(member)
            if member.process is not None and not member.process.is_alive():
                self._bury(member)
            if member.process is None and self._clock() >= member.due_s:
                self._start(member)

    @property
    def is_ready(self) -> bool:
        """Whether a worker is there that takes jobs."""
        return any(member.state in (IDLE, BUSY) for member in self.members)

    def nudge(self, _job_id: str = "") -> None:
        """Tell the workers that there is a job."""
        for member in self.members:
            self._tell(member)

    def states(self) -> list[dict[str, str | int | None]]:
        """Return who does what, for the status page."""
        return [
            {"name": m.name, "pid": m.pid, "state": m.state, "job": m.job}
            for m in self.members
        ]

    def stop(self, grace_s: float, is_hurried: Callable[[], bool]) -> None:
        """End all: running jobs are finished within the grace, else handed back."""
        self._signal_all()
        self._wait(grace_s, is_hurried)
        self._signal_all()
        self._wait(FAREWELL_S, lambda: False)
        for process in (slow := self._living()):
            logger.error("%s had to be killed", process.name)
            process.kill()
            process.join()
        for member in self.members:
            self._set(member, ENDED)
        if slow:
            self._died()

    def _start(self, member: Member) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=self._work,
            args=(self._config, member.name, theirs, self._verbosity),
            name=member.name,
        )
        process.start()
        theirs.close()
        member.process, member.line = process, ours
        self._set(member, STARTING)

    def _hear(self, member: Member) -> None:
        """Take in what a worker has said."""
        try:
            while member.line is not None and member.line.poll():
                self._note(member, member.line.recv())
        except (EOFError, OSError):
            return

    def _note(self, member: Member, said: Said) -> None:
        if said.error is not None and not self._was_ready:
            raise _again(said.error)
        if said.state == FAILED and said.error is not None:
            logger.error("%s: %s", member.name, _again(said.error))
        if said.state == IDLE and member.state == BUSY:
            member.deaths = 0
        self.engine = said.engine or self.engine
        self._was_ready = self._was_ready or said.state == IDLE
        self._set(member, said.state, said.job)

    def _end_if_stuck(self, member: Member) -> None:
        """Kill a worker that is longer at one job than any job may take."""
        over_s = self._clock() - member.since_s - self._config.longest_job_s
        if member.state == BUSY and member.process is not None and over_s > 0:
            logger.error("%s is stuck at job %s: killed", member.name, member.job)
            member.process.kill()
            member.process.join()

    def _bury(self, member: Member) -> None:
        """Take note of an end, and when the next start is due."""
        self._hear(member)
        code = member.process.exitcode if member.process is not None else None
        logger.warning("%s has ended with %s", member.name, code)
        if member.line is not None:
            member.line.close()
        member.process = member.line = None
        doubled = FIRST_PAUSE_S * 2.0 ** min(member.deaths - 1, 16)
        pause_s = min(LONGEST_PAUSE_S, doubled) if member.deaths else 0.0
        member.deaths += 1
        member.due_s = self._clock() + pause_s
        self._set(member, WAITING)
        self._died()

    def _set(self, member: Member, state: str, job: str | None = None) -> None:
        member.state, member.job, member.since_s = state, job, self._clock()

    def _tell(self, member: Member) -> None:
        try:
            if member.line is not None:
                member.line.send(LOOK)
        except OSError:
            logger.debug("%s does not hear", member.name)

    def _signal_all(self) -> None:
        for member in self._living():
            member.terminate()

    def _wait(self, limit_s: float, is_hurried: Callable[[], bool]) -> None:
        """Return when all have ended, when the time is over, or in a hurry."""
        end_s = self._clock() + limit_s
        while self._living() and self._clock() < end_s and not is_hurried():
            time.sleep(POLL_S)

    def _living(self) -> list[ForkServerProcess]:
        processes = [m.process for m in self.members if m.process is not None]
        return [process for process in processes if process.is_alive()]


def _again(fields: Mapping[str, str]) -> BrsError:
    """Return an error that another process has told, with its kind."""
    kinds = {kind.__name__: kind for kind in EXIT_CODES}
    rest = {name: text for name, text in fields.items() if name != "kind"}
    return kinds.get(fields["kind"], PluginError)(**rest)
