"""The PACS service: a supervisor that receives, watches over, and never computes.

Its main thread does one duty after the other, forever; a duty that fails is said, and
tried again at its next turn. All that must last is in files under the work folder.
"""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from model.errors import BrsError
from plugin.jobs import Clock, Queue, machine_clock
from plugin.listener import Hooks, Listener
from plugin.receiving.landing import Landing
from plugin.service.completeness import Arrivals
from plugin.service.config import ServiceConfig
from plugin.service.crew import Crew, Work
from plugin.service.health import Destinations, write_health
from plugin.web.settings import HttpConfig
from plugin.web.source import StatusSource

if TYPE_CHECKING:
    from plugin.status import StatusServer

logger = logging.getLogger(__name__)

TICK_S: Final = 0.5
HEALTH_EVERY_S: Final = 5.0
RECOVER_EVERY_S: Final = 15.0
PRUNE_EVERY_S: Final = 3600.0


@dataclass(slots=True)
class Duty:
    """Something to be done every so often."""

    name: str
    act: Callable[[], object]
    every_s: float = 0.0
    due_s: float = 0.0
    complaint: str = ""

    def do_if_due(self, now_s: float) -> None:
        """Do it where its time has come; a failure is said once and not raised."""
        if now_s < self.due_s:
            return
        self.due_s = now_s + self.every_s
        try:
            self.act()
            self.complaint = ""
        except BrsError as error:
            self._complain(str(error))
        # The door of a duty: no fault of one ends the service.
        except Exception as error:  # noqa: BLE001
            self._complain(type(error).__name__)

    def _complain(self, text: str) -> None:
        if text != self.complaint:
            logger.error("%s: %s", self.name, text)
        self.complaint = text


@dataclass(slots=True)
class Ending:
    """The wish to stop: SIGTERM or SIGINT once, or twice for at once."""

    hasten: Callable[[], None]
    asked: threading.Event = field(default_factory=threading.Event)
    is_hurried: bool = False

    def hear(self, _number: int, _frame: FrameType | None) -> None:
        """Be a signal handler."""
        if self.asked.is_set():
            self.is_hurried = True
            self.hasten()
        self.asked.set()


class Service:
    """Everything of one work folder: listener, duties, workers, pages."""

    def __init__(
        self,
        config: ServiceConfig,
        work: Work,
        *,
        clock: Clock = machine_clock,
        verbosity: int = 0,
    ) -> None:
        self.config = config
        self._clock = clock
        self.queue = Queue(config.work, clock, config.queue)
        self.crew = Crew(config, work, died=self.queue.recover, verbosity=verbosity)
        self.arrivals = Arrivals(self.queue, config, ready=self.crew.nudge)
        self.listener = Listener(
            config.listener,
            Landing(self.queue, min_free_bytes=config.listener.min_free_bytes),
            hooks=Hooks(self.arrivals.received, self.arrivals.released),
        )
        self.destinations = Destinations(config.destinations, config.listener.ae_title)
        self.ending = Ending(self.listener.hasten)
        self.started = datetime.now(UTC)
        self._is_announced = False

    def run(self) -> dict[str, Any]:
        """Serve until told to stop; return what was received and what is left."""
        self._hear_signals()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.listener)
            self.queue.recover()
            stack.enter_context(self.destinations)
            pages = [stack.enter_context(server) for server in self._pages()]
            stack.callback(self._end_crew)
            duties = self._duties()
            while not self.ending.asked.is_set():
                # A setting that no worker can work with ends the service.
                self.crew.tend()
                self._announce([server.port for server in pages])
                for duty in duties:
                    duty.do_if_due(time.monotonic())
                self.ending.asked.wait(TICK_S)
            click.echo("stopping", err=True)
        self._ignore_signals()
        self._write_health()
        counts = self.listener.counts()
        depth = self.queue.depth()
        names = ("incoming", "queued", "running", "done", "failed")
        return {"instances": counts} | {name: getattr(depth, name) for name in names}

    def _duties(self) -> list[Duty]:
        return [
            Duty("incoming studies", self.arrivals.sweep),
            Duty("health", self._write_health, HEALTH_EVERY_S),
            Duty("recovery", self.queue.recover, RECOVER_EVERY_S),
            Duty("revival", self._revive, RECOVER_EVERY_S),
            Duty("history", self.queue.prune, PRUNE_EVERY_S),
        ]

    def _pages(self) -> "Iterator[StatusServer]":
        """Yield the server of the pages where they are wanted."""
        if self.config.http is None:
            return
        source = StatusSource(
            work=self.config.work,
            queue=self.queue,
            counts=self.listener.counts,
            listening=lambda: not self.ending.asked.is_set(),
            destinations=tuple(d.name for d in self.config.destinations),
            archive=self.config.archive,
            min_free_bytes=self.config.listener.min_free_bytes,
            clock=self._clock,
        )
        yield _server(source, self.config.http)

    def _announce(self, page_ports: list[int]) -> None:
        """Say once that studies are received and worked on, and with what."""
        if self._is_announced or not self.crew.is_ready:
            return
        self._is_announced = True
        listen, http = self.config.listener, self.config.http
        said = [f"{listen.ae_title} at {listen.address}:{self.listener.port}"]
        said += [f"pages at http://{http.address}:{n}/" for n in page_ports if http]
        said += [f"engine {self.crew.engine}"] if self.crew.engine else []
        click.echo(f"ready: {', '.join(said)}", err=True)

    def _revive(self) -> None:
        for job_id in self.queue.revive():
            self.crew.nudge(job_id)

    def _write_health(self) -> None:
        reach = self.destinations.reach()
        write_health(self.config.work, self.started, self.crew.states(), reach)

    def _end_crew(self) -> None:
        self.crew.stop(self.config.grace_s, lambda: self.ending.is_hurried)

    def _hear_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ending.hear)

    def _ignore_signals(self) -> None:
        """Let no late signal kill Python on its way out: the result is still said."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)


def _server(source: StatusSource, config: HttpConfig) -> "StatusServer":
    """Return the pages' server; Flask is loaded only where there are pages."""
    from plugin.status import StatusServer, create_app

    return StatusServer(create_app(source, config), config)
