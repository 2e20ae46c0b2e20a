"""Seconds and energy of an epoch as brs trains, against plain PyTorch, in one run.

    python -m benchmarks.training_energy --device auto

Synthetic cases; the same first weights, batches and order for every way. Each way is
warmed up on a network that is thrown away, and then measured over all its epochs at
once, since the energy counter of a GPU moves ten times a second. The weights of every
epoch are kept, and scored on the validation cases after the clock has stopped.
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.energy_table import Trained, table
from benchmarks.machine import load
from benchmarks.measure import flop_limit, named, peak_mib, publish
from benchmarks.options import count_option, device_option, out_option
from benchmarks.phantom_cases import draw
from benchmarks.trainers import Method, Task, Trainer, methods
from benchmarks.training import training_flop
from model.carbon import Footprint
from model.dataset import Fold
from model.energy_log import EnergyLog
from model.engine import Engine, choose_engine
from model.inference import predict_logits
from model.metrics import overlap
from model.power import gpu_uuids, survey
from model.processors import available
from model.progress import TrainConfig
from model.trace import PowerMeter

VALIDATION = 2
WARM_BATCHES = 3
MIB = 1 << 20
Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the epochs of one way took."""

    seconds: tuple[float, ...]
    used: Footprint
    weights: tuple[Weights, ...]
    """After every epoch, on the device."""


def trained(method: Method, task: Task, meters: Sequence[PowerMeter]) -> Trained:
    """Train one way from its first weights, and score what every epoch left."""
    device = method.engine.device
    found: list[Measured] = []
    with method.setting():
        method.start().epoch(task.order(0)[: WARM_BATCHES * task.config.batch])
        trainer = method.start()
        _forget_peak(device)
        peak = peak_mib(
            lambda: found.append(epochs(trainer, task, method.epochs, meters, device))
        )
        gpu_mib = _gpu_peak_mib(device)
        dices = [_dice(trainer, kept, task, method) for kept in found[0].weights]
    return Trained(
        name=method.name,
        seconds=found[0].seconds,
        used=found[0].used,
        dices=tuple(dices),
        peak_mib=peak,
        gpu_mib=gpu_mib,
    )


def epochs(
    trainer: Trainer,
    task: Task,
    count: int,
    meters: Sequence[PowerMeter],
    device: str,
) -> Measured:
    """Train so many epochs; the device is idle when the clock and meters are read."""
    seconds: list[float] = []
    weights: list[Weights] = []
    _wait(device)
    with EnergyLog(meters) as log:
        for epoch in range(count):
            started = time.perf_counter()
            torch.manual_seed(epoch)
            trainer.epoch(task.order(epoch))
            state = trainer.network.state_dict()
            weights.append({name: value.clone() for name, value in state.items()})
            _wait(device)
            seconds.append(time.perf_counter() - started)
    return Measured(tuple(seconds), log.footprint(), tuple(weights))


def _dice(trainer: Trainer, weights: Weights, task: Task, method: Method) -> float:
    """Return the mean Dice of the validation cases."""
    network, store = trainer.network, task.cases.store
    network.load_state_dict(weights)
    found = [
        overlap(
            predict_logits(store.stack(name), network, method.engine) >= 0,
            np.asarray(store.mask(name)),
        ).dice
        for name in task.fold.validation
    ]
    return float(np.mean(found))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _forget_peak(device: str) -> None:
    """Let go of what earlier ways held, so that it is not in this one's peak."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def _gpu_peak_mib(device: str) -> float | None:
    """Return the most that tensors held on a GPU."""
    if not device.startswith("cuda"):
        return None
    return torch.cuda.max_memory_allocated(device) / MIB


def task_of(
    folder: Path, config: TrainConfig, *, cases: int, slices: int, workers: int
) -> Task:
    """Draw the cases; the last ones validate."""
    if cases <= VALIDATION:
        raise click.BadParameter(f"--cases: {VALIDATION} validate, none would train")
    drawn = draw(
        folder, count=cases, slices=slices, grid=config.grid_px, workers=workers
    )
    fold = Fold(0, drawn.names[:-VALIDATION], drawn.names[-VALIDATION:])
    return Task(drawn, fold, config)


def flop_of(task: Task) -> float:
    """Return the operations of an epoch."""
    return training_flop(len(task.order(0)), task.config.grid_px)


def measure(task: Task, best: Engine, *, gzip_epochs: int, out: Path) -> None:
    """Train every way and publish the table."""
    before, flop = load(), flop_of(task)
    meters = survey(gpus=gpu_uuids([best.device]))
    with TemporaryDirectory() as scratch:
        ways = methods(task, best, Path(scratch), gzip_epochs=gzip_epochs)
        found = [trained(way, task, meters.meters) for way in ways]
    result = table(
        found,
        task,
        meters,
        limit=flop_limit(flop, best),
        load_before=before,
    )
    publish(result, out, named(f"training-energy-{task.config.grid_px}", best))


@click.command()
@count_option("--cases", 12, f"Phantoms; {VALIDATION} of them validate.")
@count_option("--slices", 24, "Slices of each.")
@count_option("--grid", 256, "Rows and columns of a slice.")
@count_option("--batch", 8, "Slices of a step.")
@count_option("--epochs", 5, "Of every way but the one from .nii.gz.")
@count_option("--gzip-epochs", 1, "Of the way that reads .nii.gz.")
@count_option("--workers", available(), "Processes that draw the phantoms.")
@device_option
@out_option
def main(device: str, out: Path, **counts: int) -> None:
    """Train three ways, and tell the seconds and the energy of an epoch."""
    config = TrainConfig(
        grid_px=counts["grid"], batch=counts["batch"], epochs=counts["epochs"]
    )
    with TemporaryDirectory() as folder:
        task = task_of(
            Path(folder),
            config,
            cases=counts["cases"],
            slices=counts["slices"],
            workers=counts["workers"],
        )
        # Only now: a process that has used a GPU must not be forked.
        best = choose_engine(device=device, training=True)
        measure(task, best, gzip_epochs=counts["gzip_epochs"], out=out)


if __name__ == "__main__":
    main()
