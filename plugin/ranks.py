"""The ranks of one training, as ``torchrun`` starts them: one leads, the others follow.

Rank 0 runs the command as if it were alone and says which fold is fitted next; the
others wait for that and fit along. So no rank reads the archive or writes a result but
the first.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from model.carbon import Footprint, together
from model.dataset import CaseStore, Fold
from model.energy_log import IDLE_S, EnergyLog
from model.engine import Engine
from model.network import new_network
from model.parallel import ALONE, Ranks
from model.power import POWERCAP, find_meters, gpu_uuids
from model.progress import Budget, TrainConfig
from model.trace import PowerMeter
from model.train import Bench, fit
from plugin.errors import ConfigError

BACKENDS = "cpu:gloo,cuda:nccl"
PATIENCE = timedelta(days=7)
"""Followers wait while the leader reads an archive; torchrun ends them if it dies."""


@dataclass(frozen=True, slots=True)
class Job:
    """A fold that all ranks fit together."""

    fold: Fold
    config: TrainConfig
    budget: Budget
    store: Path
    folder: Path
    engine: Engine
    factor_kg_per_kwh: float
    earlier_s: float
    """How long earlier runs of the fold were measured."""


@contextmanager
def joined_ranks(environment: Mapping[str, str]) -> Iterator[Ranks]:
    """Return this process's place among those that ``torchrun`` started, if it did.

    Raises
    ------
    ConfigError
        If there are more processes on a machine than GPUs that it has.
    """
    if "TORCHELASTIC_RUN_ID" not in environment:  # torchrun's own
        yield ALONE
        return
    local = int(environment["LOCAL_RANK"])
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise ConfigError(
                "torchrun",
                found=f"{torch.cuda.device_count()} GPUs for process {local + 1}",
                needed="a GPU for each process",
                mend="give a smaller --nproc-per-node",
            )
        torch.cuda.set_device(local)
    backends = BACKENDS if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, timeout=PATIENCE)
    yield Ranks(int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    # Gloo ends a rank badly whose neighbour has gone before it.
    dist.barrier()
    dist.destroy_process_group()


def rank_meters(
    engine: Engine, ranks: Ranks, host: str, *, alone: bool = True
) -> tuple[PowerMeter, ...]:
    """Return the meters of what this rank alone measures: each device is met once.

    Without ``alone`` the processor is left out: others train on it too.
    """
    gpus = gpu_uuids([torch.device(engine.device)])
    meters = find_meters(gpus=gpus, powercap=POWERCAP if alone else None)
    mine = [(host, meter.device) for meter in meters]
    taken = {device for rank in ranks.gathered(mine)[: ranks.rank] for device in rank}
    return tuple(
        meter for meter, device in zip(meters, mine, strict=True) if device not in taken
    )


def total_footprint(own: Footprint, ranks: Ranks) -> Footprint:
    """Return what all ranks emitted together."""
    return together(ranks.gathered(own))


def follow(ranks: Ranks, host: str) -> None:
    """Fit along with the leader, fold after fold, until it says that it is done."""
    while (job := ranks.agreed(_nothing())) is not None:
        network = new_network(seed=job.config.seed)  # the leader's weights come first
        log = EnergyLog(
            rank_meters(job.engine, ranks, host),
            power_csv=job.folder.with_suffix(f".power-{ranks.rank}.csv"),
            factor_kg_per_kwh=job.factor_kg_per_kwh,
            earlier_s=job.earlier_s,
            idle_s=IDLE_S,
        )
        bench = Bench(
            CaseStore(job.store),
            job.folder,
            job.engine,
            budget=job.budget,
            footprint=log.footprint,
            ranks=ranks,
        )
        with log:
            fit(network, job.fold, job.config, bench)
        total_footprint(log.footprint(), ranks)


def announce(job: Job | None, ranks: Ranks) -> None:
    """Tell the followers what is fitted next; None lets them go."""
    ranks.agreed(job)


def _nothing() -> Job | None:
    return None
