"""A worker of the service: a child process that takes jobs, one after the other.

It may be killed at any time: what it held is recovered by the queue.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Final

from model.engine import Engine
from model.errors import BrsError
from model.power import find_meters, gpu_uuids
from plugin import log
from plugin.archive import open_archive
from plugin.engines import Wish, open_checkpoint
from plugin.errors import exit_code
from plugin.jobs import Job, Queue, StorageError, cause_of
from plugin.pipeline import Segmenter
from plugin.proofs import Proofs
from plugin.scope_proof import proven_scope
from plugin.service.config import ServiceConfig
from plugin.service.handling import (
    GPU_FAILED,
    Means,
    UnsuitableError,
    explained,
    handle,
)
from plugin.service.orders import Orders, Stopped
from plugin.service.proving import prove_apart
from plugin.service.states import BUSY, ENDING, FAILED, IDLE, STARTING, Said
from plugin.weights import require_weights

logger = logging.getLogger(__name__)

POLL_S: Final = 2.0
"""Between two looks at the queue without news: a retry may have become due."""
DISK_POLL_S: Final = 5.0
LOCAL: Final = "cpu"
CACHE: Final = "cache"
"""Folder in the work folder for what is measured once about engines."""


def work(config: ServiceConfig, name: str, line: Connection, verbosity: int) -> None:
    """Run jobs until told to stop: the body of a worker process.

    Ends with the exit code of an error that no job has caused, after telling it.
    """
    log.configure(verbosity=verbosity)
    orders = Orders(line)
    orders.listen()
    try:
        means = prepare(config)
        queue = Queue(config.work, policy=config.queue)
    except BrsError as error:
        line.send(Said(FAILED, error=error_fields(error)))
        sys.exit(exit_code(error))
    line.send(Said(STARTING, engine=means.engine))
    Worker(name, queue, means, orders, line.send).run()


def prepare(config: ServiceConfig) -> Means:
    """Return what jobs are worked on with; the network is loaded."""
    archive = open_archive(config.archive) if config.archive else None
    weights = require_weights(config.checkpoint, archive, config.work)
    if archive is not None:
        archive.close()
    wish = Wish(config.engine, config.device, config.precision)
    proofs = Proofs(config.work / CACHE)
    prove_apart(weights, wish, proofs)
    choice = open_checkpoint(weights, wish, proofs)
    engine = choice.engine
    meters = find_meters(gpus=gpu_uuids([engine.device]))
    scope = proven_scope(config.scope, choice, proofs)
    first = Segmenter(choice.checkpoint, engine, config.rules, meters, scope)
    spare = replace(first, engine=Engine(LOCAL, "fp32"))
    return Means(
        segmenters=(first,) if engine.device == LOCAL else (first, spare),
        ae_title=config.listener.ae_title,
        destinations=config.destinations,
        engine=choice.told,
    )


def error_fields(error: BrsError) -> dict[str, str]:
    """Return what an error of ours is made again from, in another process."""
    return {
        "kind": type(error).__name__,
        "subject": error.subject,
        "found": error.found,
        "needed": error.needed,
        "mend": error.mend,
    }


@dataclass(slots=True, eq=False)
class Worker:
    """Takes jobs from a queue; ``say`` tells the supervisor what it does."""

    name: str
    queue: Queue
    means: Means
    orders: Orders
    say: Callable[[Said], None]

    def run(self) -> None:
        """Work until told to stop, or until the GPU needs another process."""
        self._say(Said(IDLE))
        while not self.orders.is_stopping:
            job = self._take()
            if job is None:
                self.orders.wait(POLL_S)
                continue
            self._say(Said(BUSY, job.job_id))
            is_fit = self.attend(job)
            self._say(Said(IDLE if is_fit else ENDING))
            if not is_fit:
                break
        self.queue.close()

    def attend(self, job: Job) -> bool:
        """Run one job and settle it, whatever happens; False where the GPU failed."""
        try:
            with self.orders.interruptible():
                verdict = handle(job, self.means)
        except Stopped:
            self._settle(lambda: job.release("the service stops"))
        except UnsuitableError as error:
            cause = error.cause
            self._settle(lambda: job.park(cause))
        # The door of a job: whatever it raises costs this job's run and no other.
        except Exception as error:  # noqa: BLE001
            failure = explained(error)
            cause = cause_of(failure)
            logger.warning("job %s: %s, %s", job.job_id, cause.code, cause.text)
            self._settle(lambda: job.fail(failure))
            return cause.code != GPU_FAILED
        else:
            self._settle(lambda: job.done(verdict))
        return True

    def _take(self) -> Job | None:
        try:
            return self.queue.take(self.name)
        except StorageError as error:
            logger.warning("no job can be taken: %s", error)
            return None

    def _settle(self, settle: Callable[[], None]) -> None:
        """Settle a job as soon as the disk takes it; left to recovery at a stop."""
        while True:
            try:
                settle()
                return
            except StorageError as error:
                logger.warning("not settled yet: %s", error)
            if self.orders.is_stopping:
                return
            self.orders.wait(DISK_POLL_S)

    def _say(self, said: Said) -> None:
        """Tell the supervisor, unless it is gone: ``Orders`` sees to that."""
        try:
            self.say(said)
        except OSError:
            logger.debug("nobody hears that worker %s is %s", self.name, said.state)
