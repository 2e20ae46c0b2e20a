"""What a study will take, from a short calibration: trainings, hours, energy, disk.

Hours are those of steps and predictions if no fold stops early; reading, scoring and
writing come on top.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.cell import Lab, Task, finished
from model.dataset import epoch_order
from model.energy_log import EnergyLog
from model.engine import Engine
from model.experiment import Cell, Design, Pool, cells, order, select
from model.inference import predict
from model.progress import TrainConfig
from model.selection import NETWORK_STRATEGIES
from model.step import new_learner

STEPS, WARM_STEPS = 3, 2
METERED_S = 3.0
"""Recent cards tell the mean power of the last second, and of energy every 0.1 s."""
SLICES = 8
COARSE_COST = 0.25
"""Half the rows and columns."""
WEIGHTS_GB = 0.132


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast this machine is, and what it draws."""

    step_s: float
    slice_s: float
    """To predict one slice."""
    power_w: float | None
    """Mean while training; None where no meter is readable."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left to do, at most."""

    trainings: int
    finished: int
    hours: float
    energy_kwh: float | None
    disk_gb: float


def measure_pace(config: TrainConfig, lab: Lab) -> Pace:
    """Return the pace of a few steps of training and slices of prediction."""
    network = lab.network(config.seed)
    rng = np.random.default_rng(0)
    shape = (max(config.batch, SLICES), 2, config.grid_px, config.grid_px)
    voxels = rng.random(shape, np.float32)
    learner = new_learner(
        network, lab.engine, learning_rate=1e-6, accumulate=config.accumulate
    )
    slices = torch.from_numpy(voxels[: config.batch]).to(lab.engine.device)
    slices = slices.to(memory_format=torch.channels_last)
    masks = (slices[:, :1] > 0.5).float()

    def steps(count: int) -> float:
        network.train()
        started = time.monotonic()
        for _ in range(count):
            learner.step(slices, masks)
        _wait(lab.engine)
        return (time.monotonic() - started) / count

    steps(WARM_STEPS)
    step_s, meters = steps(STEPS), lab.meters()
    with EnergyLog(meters, interval_s=0.1) as log:
        if meters:
            step_s = steps(max(STEPS, math.ceil(METERED_S / step_s)))
    used = log.footprint()
    predict(voxels[:1], network, lab.engine)
    started = time.monotonic()
    predict(voxels[:SLICES], network, lab.engine)
    slice_s = (time.monotonic() - started) / SLICES
    return Pace(step_s, slice_s, _power_w(used.energy_kwh, used.duration_s))


def estimate(tasks: Iterable[Task], pace: Pace, lab: Lab) -> Estimate:
    """Return what the unfinished of the tasks take at this pace."""
    every = list(tasks)
    left = [task for task in every if not finished(task, lab)]
    seconds = sum(_seconds(task, pace, lab) for task in left)
    energy_kwh = None if pace.power_w is None else pace.power_w * seconds / 3.6e6
    return Estimate(
        trainings=len(left),
        finished=len(every) - len(left),
        hours=seconds / 3600,
        energy_kwh=energy_kwh,
        disk_gb=WEIGHTS_GB * len(left),
    )


def planned(pool: Pool, design: Design, engine: str) -> list[Task]:
    """Return the tasks of a study; of strategies that ask a network ones of their size.

    What these select is known only when the cells before are trained.
    """
    tasks: dict[str, Task] = {}
    first = min(design.proportions)
    for strategy in design.strategies:
        asks = strategy in NETWORK_STRATEGIES
        for seed in design.seeds:
            ranking = order(pool, design, strategy, seed)
            for proportion in design.proportions:
                selection = select(pool, ranking, strategy, proportion)
                tests = (*selection.unselected, *pool.common)
                looks = tuple(pool.patients()) if asks else ()
                stands_in = f"-{strategy}" if asks and proportion > first else ""
                for cell in cells(pool, selection, design, engine):
                    key = f"{cell.key}{stands_in}"
                    named = Cell(key, cell.fold, cell.config)
                    tasks[key] = Task(named, tests, looks or _looks(tasks, key))
    return list(tasks.values())


def _looks(tasks: dict[str, Task], key: str) -> tuple[str, ...]:
    return tasks[key].looks if key in tasks else ()


def _seconds(task: Task, pace: Pace, lab: Lab) -> float:
    """Return what one task takes if every epoch is needed."""
    fold, config = task.cell.fold, task.cell.config
    infos = [lab.store.info(case) for case in fold.train]
    steps = -(-len(epoch_order(infos, seed=0, epoch=0)) // config.batch)
    coarse = min(config.coarse_epochs, config.epochs)
    full_epochs = config.epochs - coarse + COARSE_COST * coarse
    each_epoch = _slices(fold.validation, lab) + config.calibration_slices
    tested = _slices(task.tests, lab) + 2 * _slices(task.looks, lab)
    predicted = config.epochs * each_epoch + _slices(fold.validation, lab) + tested
    return full_epochs * steps * pace.step_s + predicted * pace.slice_s


def _slices(case_ids: Sequence[str], lab: Lab) -> int:
    return sum(lab.store.info(case).slices for case in case_ids)


def _wait(engine: Engine) -> None:
    if engine.on_gpu:
        torch.cuda.synchronize()


def _power_w(energy_kwh: float | None, duration_s: float) -> float | None:
    if energy_kwh is None or duration_s <= 0:
        return None
    return energy_kwh * 3.6e6 / duration_s
