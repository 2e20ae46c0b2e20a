"""Work on several machines: Dask distributed as an optional extra.

A worker is one process with one thread and at most one GPU, and does one task at a
time: the random generators of a process belong to one training. Results lie in a folder
that all machines share, so a lost worker loses what it had not yet written there, and
another goes on from it.
"""

import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from model.engine import Engine, choose_engine
from model.errors import BrsError, TrainingError
from plugin.errors import ConfigError
from plugin.spread import Answer, Item, attempted

if TYPE_CHECKING:
    from model.cell import Lab, Task
    from model.grid import Stop

logger = logging.getLogger(__name__)

LOCAL = re.compile(r"local:([1-9]\d*)")
REMOTE = re.compile(r"(tcp|tls)://[^\s/]+:\d+")
LOOPBACK = "127.0.0.1"
GPU = "GPU"
"""Resource that a worker with one GPU offers."""
WAIT_S = 60.0
"""For the first worker."""
ONE_AT_A_TIME = threading.Lock()
IDLE_W: dict[str, float | None] = {}
"""What a worker's devices draw before its first cell, as ``EnergyLog`` measured it."""


def _never() -> str:
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Crew:
    """The workers of a cluster, each one process with one thread."""

    client: Any

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return the workers now there, by address."""
        info = self.client.scheduler_info(n_workers=-1)
        found: dict[str, dict[str, Any]] = info["workers"]
        return found

    def alone(self) -> bool:
        """Say whether no two workers share a machine."""
        hosts = Counter(worker["host"] for worker in self.workers().values())
        return max(hosts.values(), default=0) <= 1

    def ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        """Return what one worker answers; one with a GPU where there is any."""
        gpus = {GPU: 1} if self._gpus() else None
        future = self.client.submit(question, *arguments, resources=gpus, pure=False)
        answer: Answer = future.result()
        return answer

    def everywhere(self, work: Callable[..., None], *arguments: Any, gpu: bool) -> None:
        """Do the same on every worker now there; ``gpu`` leaves out those without."""
        there = self.workers().items()
        futures = [
            self.client.submit(
                work, *arguments, workers=at, allow_other_workers=True, pure=False
            )
            for at, worker in there
            if worker["resources"].get(GPU) or not gpu
        ]
        for future in futures:
            future.result()

    def engine(self, *, device: str, precision: str) -> Engine:
        """Return the engine that a worker chooses: this machine may have no GPU."""
        return self.ask(_choose, device, precision)

    def map(
        self,
        work: Callable[[Item], Answer],
        items: Sequence[Item],
        *,
        label: str,
        gpu: bool = False,
        stop: Callable[[], str] = _never,
        key: Callable[[Item], str] | None = None,
    ) -> Iterator[tuple[Item, Answer | BrsError]]:
        """Yield items with the workers' answers as they come, and errors of ours.

        As many are worked on at once as there are workers, one each; ``gpu`` takes
        only workers with one. A lost worker's item goes to another; one that has ended
        several workers has an error for its answer. ``key`` names tasks to the
        scheduler, by default at random. None begins once ``stop`` says something.
        """
        from distributed import as_completed

        waiting, futures = iter(items), as_completed()
        doing: dict[Any, Item] = {}
        gpus = {GPU: 1} if gpu else None
        with tqdm(total=len(items), desc=label, disable=None) as bar:
            while True:
                free = max(0, max(1, len(self.workers())) - len(doing))
                for item in islice(waiting, free):
                    if stop():
                        continue
                    name = key(item) if key else None
                    future = self.client.submit(
                        _attempt, work, item, key=name, resources=gpus, pure=False
                    )
                    doing[future] = item
                    futures.add(future)
                if not doing:
                    return
                done = next(futures)
                yield doing.pop(done), _answer(done)
                bar.update()

    def run(self, tasks: Sequence["Task"], lab: "Lab", stop: "Stop") -> None:
        """Perform tasks on the workers, as many at once as there are workers.

        Raises
        ------
        TrainingError
            If one task has ended several workers.
        """
        performed = self.map(
            partial(_perform, lab),
            tasks,
            label="cells",
            gpu=lab.engine.on_gpu,
            stop=stop,
            key=lambda task: f"cell-{task.cell.key}",
        )
        for _, answer in performed:
            if isinstance(answer, BrsError):
                raise answer

    def _gpus(self) -> bool:
        return any(worker["resources"].get(GPU) for worker in self.workers().values())


@contextmanager
def crew_at(address: str) -> Iterator[Crew]:
    """Open a cluster: ``local:N`` starts N workers here, else a scheduler's address.

    Raises
    ------
    ConfigError
        If the address is none, the extra is not installed, nobody answers, or a worker
        has several threads.
    """
    local = LOCAL.fullmatch(address)
    if not local and not REMOTE.fullmatch(address):
        raise _error(address, "local:N, tcp://host:port or tls://host:port", "mend it")
    try:
        from distributed import Client
    except ImportError as error:
        mend = "pip install 'xnat-brs[cluster]'"
        raise _error("no Dask distributed", "the extra `cluster`", mend) from error
    with ExitStack() as opened:
        try:
            client = _opened(address, int(local[1]) if local else 0, Client, opened)
            client.wait_for_workers(1, timeout=WAIT_S)
        except (OSError, TimeoutError) as error:
            mend = "start the scheduler and its workers (docs/how-to/scale.md)"
            found = f"no answer ({error})"
            raise _error(found, "a scheduler with a worker", mend) from error
        crew = Crew(client)
        _check(crew)
        yield crew


def _opened(
    address: str, count: int, client_of: Callable[..., Any], opened: ExitStack
) -> Any:
    """Return a client that ``opened`` closes, and the cluster of ``count`` workers."""
    if not count:
        return opened.enter_context(client_of(address, timeout=WAIT_S))
    from distributed import Nanny, Scheduler, SpecCluster

    free = f"{LOOPBACK}:0"  # the default, 8787 to everybody, may be another's
    here = {"host": LOOPBACK, "dashboard": False, "dashboard_address": free}
    workers = {
        str(at): {"cls": Nanny, "options": {**here, **_place(at)}}
        for at in range(count)
    }
    scheduler = {"cls": Scheduler, "options": here}
    cluster = SpecCluster(workers=workers, scheduler=scheduler, silence_logs=False)
    return opened.enter_context(client_of(opened.enter_context(cluster)))


def _place(at: int) -> dict[str, Any]:
    """Return a local worker's options: one thread, and a GPU of its own if any."""
    import torch

    options: dict[str, Any] = {"nthreads": 1}
    if torch.cuda.is_available():
        gpus = _visible(torch.cuda.device_count())
        options["env"] = {"CUDA_VISIBLE_DEVICES": gpus[at % len(gpus)]}
        options["resources"] = {GPU: 1} if at < len(gpus) else {}
    return options


def _visible(count: int) -> list[str]:
    """Return this process's GPUs by the names that its children know them by."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(at) for at in range(count)]


def _check(crew: Crew) -> None:
    several = [w for w in crew.workers().values() if w["nthreads"] != 1]
    if several:
        raise _error(
            f"{len(several)} workers of several threads",
            "one thread each, because a process has one random generator",
            "start them with --nthreads 1",
        )


def _choose(device: str, precision: str) -> Engine:
    return choose_engine(device=device, precision=precision, training=True)


def _attempt(work: Callable[[Item], Answer], item: Item) -> Answer | BrsError:
    """Work in a worker that may yet turn out to have several threads."""
    with ONE_AT_A_TIME:
        return attempted(work, item)


def _answer(future: Any) -> Any:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        return _lost(str(error))


def _perform(lab: "Lab", task: "Task") -> None:
    from model.cell import perform

    perform(task, replace(lab, idle_w=IDLE_W))


def _lost(found: str) -> TrainingError:
    return TrainingError(
        "cluster",
        found=found,
        needed="workers that outlive a task",
        mend="look at the workers' logs (memory?); the same command goes on",
    )


def _error(found: str, needed: str, mend: str) -> ConfigError:
    return ConfigError("--cluster", found=found, needed=needed, mend=mend)
