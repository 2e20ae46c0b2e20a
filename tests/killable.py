"""The service as it is, but its processes fail where a folder of orders says so.

python tests/killable.py ORDERS CONFIG

An order to die is a file, named by a role and a step. The first process of that role
to come to that step takes the file away and kills itself with SIGKILL.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from plugin.jobs import Arrival, Moment, Queue, machine_clock
from plugin.receiving.landing import Landing, free_bytes
from plugin.sending.deliver import Delivered, deliver
from plugin.sending.destination import Destination
from plugin.service.config import ServiceConfig, read_config
from plugin.service.progress import ProgressFile

SUPERVISOR: Final = "supervisor"
WORKER: Final = "worker"
FULL: Final = "disk-full"
CLOCK: Final = "clock"
TAKEN: Final = "taken"


@dataclass(frozen=True, slots=True)
class Orders:
    """The folder of orders, as a process of one role sees it."""

    folder: Path
    role: str

    def arm(self, step: str) -> None:
        """Order the next process of this role to die at a step."""
        self._order(step).touch()

    def is_armed(self, step: str) -> bool:
        return self._order(step).exists()

    def come_to(self, step: str) -> None:
        """Die here where it is ordered, or find the disk full."""
        try:
            self._order(step).rename(self._order(step).with_suffix(f".{TAKEN}"))
        except FileNotFoundError:
            if self.is_full and step in ("before the journal", "write"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def is_full(self) -> bool:
        return (self.folder / FULL).exists()

    def free(self, folder: Path) -> int:
        """Return the free bytes; none where the disk is to be full."""
        return 0 if self.is_full else free_bytes(folder)

    def clock(self) -> Moment:
        """Return this moment, moved by as many seconds as the orders say."""
        now = machine_clock()
        try:
            ahead_s = json.loads((self.folder / CLOCK).read_text())
        except (FileNotFoundError, ValueError):
            return now
        return replace(now, at=now.at + timedelta(seconds=ahead_s))

    def _order(self, step: str) -> Path:
        return self.folder / f"{self.role}-{step.replace(' ', '-')}"


def queue_under(orders: Orders) -> type[Queue]:
    """Return the queue, told of its steps and of the time by the orders."""

    class FailingQueue(Queue):
        def __init__(self, root: Path, clock: Any = None, policy: Any = None) -> None:
            super().__init__(root, orders.clock, policy, between=orders.come_to)

        def accept(self, job_id: str, written: Path, inside: str) -> Arrival:
            orders.come_to("written")
            return super().accept(job_id, written, inside)

    return FailingQueue


def progress_under(orders: Orders) -> type[ProgressFile]:
    """Return the progress of a job, whose stages are steps."""

    class FailingProgress(ProgressFile):
        def __call__(self, stage: str, share: float) -> None:
            super().__call__(stage, share)
            orders.come_to(stage)

    return FailingProgress


def worker(
    folder: Path, config: ServiceConfig, name: str, line: Connection, verbosity: int
) -> None:
    """Be a worker under orders."""
    import plugin.worker
    from plugin.sending.deliver import _Visit

    orders = Orders(folder, WORKER)
    prepare, confirm = plugin.worker.prepare, _Visit.confirm

    def prepared(given: ServiceConfig) -> Any:
        return replace(prepare(given), deliver=delivered)

    def delivered(
        files: Sequence[Path], destination: Destination, *, calling_ae: str
    ) -> Delivered:
        done = deliver(files, destination, calling_ae=calling_ae)
        if done.sent:
            orders.come_to("delivered")
        return done

    def confirmed(visit: Any, sent: Any) -> None:
        if sent:
            orders.come_to("stored")
        confirm(visit, sent)

    change("plugin.worker.Queue", queue_under(orders))
    change("plugin.worker.prepare", prepared)
    change("plugin.worker.POLL_S", 0.2)
    change("plugin.service.handling.ProgressFile", progress_under(orders))
    change("plugin.sending.deliver._Visit.confirm", confirmed)
    plugin.worker.work(config, name, line, verbosity)


def change(name: str, value: object) -> None:
    """Put another value in a name's place, for this process's life."""
    patch(name, value).start()


def supervise(folder: Path, config: Path) -> dict[str, Any]:
    """Be the supervisor under orders."""
    from plugin.serve import Service

    orders = Orders(folder, SUPERVISOR)
    landing: Callable[..., Landing] = partial(Landing, free=orders.free)
    change("plugin.serve.Queue", queue_under(orders))
    change("plugin.serve.Landing", landing)
    change("plugin.serve.TICK_S", 0.1)
    change("plugin.serve.RECOVER_EVERY_S", 1.0)
    settings = read_config(config, {})
    return Service(settings, partial(worker, folder)).run()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(supervise(Path(sys.argv[1]), Path(sys.argv[2]))))
