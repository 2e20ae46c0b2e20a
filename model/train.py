"""One fold: fit, resume, stop early, stay in budget."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau
from tqdm import tqdm

from model.atomic import write_atomically
from model.batches import Feed, batches, halved, open_feed
from model.carbon import Footprint, as_footprint, together
from model.dataset import CaseStore, Fold, SliceIndex, epoch_order
from model.engine import Engine
from model.errors import TrainingError
from model.parallel import ALONE, Ranks
from model.passes import calibrate, validate
from model.progress import (
    Budget,
    EpochRecord,
    TrainConfig,
    best,
    finished,
    history_csv,
    over_budget,
    since,
)
from model.resume import read_progress, read_state, write_end, write_state
from model.step import Learner, new_learner

logger = logging.getLogger(__name__)

KEEP_EVERY_S = 30.0
"""An epoch may take less time than it takes to write what a resumed fold needs."""


def _unmeasured() -> Footprint | None:
    return None


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and with what a fold is trained.

    ``folder`` keeps ``state.safetensors`` (resume), ``best.safetensors`` and
    ``history.csv``, written when the fold ends, and after an epoch that ends at least
    ``keep_every_s`` after they were. ``footprint`` reports this fold's energy and CO2
    so far. Of several ``ranks`` each has its own engine and footprint, and all see the
    same folder.
    """

    store: CaseStore
    folder: Path
    engine: Engine
    budget: Budget = field(default_factory=Budget)
    footprint: Callable[[], Footprint | None] = _unmeasured
    ranks: Ranks = ALONE
    keep_every_s: float = KEEP_EVERY_S
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class FitResult:
    """The end of one fold; the network holds the weights of ``best_epoch``."""

    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_by: str
    """``epochs``, ``patience``, ``carbon`` or ``minutes``."""


@dataclass(slots=True)
class _Run:
    """What changes while a fold is fitted."""

    config: TrainConfig
    network: nn.Module
    learner: Learner
    feed: Feed
    scheduler: CosineAnnealingLR | ReduceLROnPlateau
    history: list[EpochRecord]
    held: dict[str, Tensor] | None = None
    """The best epoch's weights, until they are written."""


def fit(network: nn.Module, fold: Fold, config: TrainConfig, bench: Bench) -> FitResult:
    """Train ``network`` in place on one fold; leave the best epoch's weights in it.

    Called again with the same folder it continues after the last epoch kept there.
    Budgets are looked at after every epoch, so at least one epoch is always kept.

    Raises
    ------
    TrainingError
        If a carbon budget is asked for where no energy can be measured.
    """
    torch.use_deterministic_algorithms(config.deterministic)
    run = _prepare(network, fold, config, bench)
    started = kept = bench.ranks.agreed(bench.clock())
    stopped_by = finished(run.history, config)
    while not stopped_by:
        record = _one_epoch(run, fold, bench)
        _remember(run, record, bench)
        now = bench.ranks.agreed(bench.clock())
        stopped_by = finished(run.history, config) or over_budget(
            record, bench.budget, minutes=(now - started) / 60
        )
        if stopped_by or now - kept >= bench.keep_every_s:
            _keep(run, bench)
            # From here on the other ranks may read the files.
            kept = bench.ranks.agreed(bench.clock())
    network.load_state_dict(load_file(bench.folder / "best.safetensors"))
    return FitResult(tuple(run.history), best(run.history).epoch, stopped_by)


def footprint_before(folder: Path) -> Footprint | None:
    """Return what an unfinished fold had emitted, None when nothing was recorded."""
    path = folder / "state.safetensors"
    record = read_progress(path)["footprint"] if path.exists() else None
    return as_footprint(record) if record else None


def _prepare(network: nn.Module, fold: Fold, config: TrainConfig, bench: Bench) -> _Run:
    learner = new_learner(
        network,
        bench.engine,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        accumulate=config.accumulate,
        ranks=bench.ranks,
    )
    scheduler = _scheduler(learner.optimizer, config)
    feed = open_feed(bench.store, (*fold.train, *fold.validation), bench.engine)
    run = _Run(config, network, learner, feed, scheduler, [])
    path = bench.folder / "state.safetensors"
    if path.exists():
        _go_on(run, path)
    return run


def _go_on(run: _Run, path: Path) -> None:
    """Take up a fold after its last epoch kept; one that has ended has no tensors."""
    progress = read_progress(path)
    _check_same_config(path, progress["config"], run.config)
    run.history = [EpochRecord(**row) for row in progress["history"]]
    if finished(run.history, run.config):
        return
    read_state(path, run.network, run.learner.optimizer)
    run.scheduler.load_state_dict(progress["scheduler"])
    run.learner.optimizer.param_groups[0]["lr"] = progress["learning_rate"]


def _scheduler(
    optimizer: Optimizer, config: TrainConfig
) -> CosineAnnealingLR | ReduceLROnPlateau:
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=config.epochs)
    return ReduceLROnPlateau(
        optimizer, factor=config.plateau_factor, patience=config.plateau_patience
    )


def _check_same_config(path: Path, stored: dict[str, Any], config: TrainConfig) -> None:
    wanted = asdict(config)
    changed = sorted(key for key in wanted if stored.get(key) != wanted[key])
    if changed:
        raise TrainingError(
            str(path),
            found=f"an unfinished training with another {', '.join(changed)}",
            needed="the same settings to continue",
            mend="repeat the old settings, or choose a new output folder",
        )


def _one_epoch(run: _Run, fold: Fold, bench: Bench) -> EpochRecord:
    config = run.config
    epoch, started = len(run.history), time.monotonic()
    torch.manual_seed(_epoch_seed(config.seed, fold.number, epoch))
    learning_rate = float(run.learner.optimizer.param_groups[0]["lr"])
    infos = [bench.store.info(case_id) for case_id in fold.train]
    order = epoch_order(infos, seed=config.seed, epoch=epoch)
    train_loss = _train(run, order)
    if config.calibration_slices:
        calibrate(run.network, order[: config.calibration_slices], run.feed)
    validation_loss = validate(run.network, fold.validation, run.feed, bench.ranks)
    if isinstance(run.scheduler, ReduceLROnPlateau):
        run.scheduler.step(validation_loss)
    else:
        run.scheduler.step()
    used = _footprint(bench)
    return EpochRecord(
        epoch=epoch,
        train_loss=train_loss,
        validation_loss=validation_loss,
        learning_rate=learning_rate,
        duration_s=time.monotonic() - started,
        emitted_g=_grams(used),
        energy_kwh=since(run.history, used.energy_kwh if used else None),
    )


def _epoch_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _train(run: _Run, order: Sequence[SliceIndex]) -> float:
    """Run one pass over ``order``; return the mean Dice loss of its batches."""
    run.network.train()
    config, losses = run.config, []
    steps = -(-len(order) // config.batch)
    chance = torch.rand(len(order)) < 0.5
    mirrored = chance.numpy() & config.mirror
    bar = tqdm(
        batches(order, config.batch, run.feed, mirrored),
        total=steps,
        desc=f"epoch {len(run.history) + 1}/{config.epochs}",
        leave=False,
        disable=None,
    )
    coarse = len(run.history) < config.coarse_epochs
    for whole, whole_masks in bar:
        slices, masks = halved(whole, whole_masks) if coarse else (whole, whole_masks)
        losses.append(run.learner.step(slices, masks))
    return float(torch.stack(losses).mean())


def _footprint(bench: Bench) -> Footprint | None:
    """Return what all ranks emitted, None when one of them does not measure."""
    parts = bench.ranks.gathered(bench.footprint())
    known = [part for part in parts if part is not None]
    return together(known) if len(known) == len(parts) else None


def _grams(footprint: Footprint | None) -> float | None:
    if footprint is None or footprint.cfp_kg is None:
        return None
    return footprint.cfp_kg * 1000


def _remember(run: _Run, record: EpochRecord, bench: Bench) -> None:
    """Add an epoch to the history; hold its weights if none were better."""
    run.history.append(record)
    if not bench.ranks.leads:
        return
    logger.info("epoch %s", record.told(run.config))
    if best(run.history) is record:
        run.held = {k: v.clone() for k, v in run.network.state_dict().items()}


def _keep(run: _Run, bench: Bench) -> None:
    """Write the best weights and the history first, then the state that names them."""
    folder, footprint = bench.folder, _footprint(bench)
    if not bench.ranks.leads:
        return
    if run.held is not None:
        weights = {k: v.contiguous() for k, v in run.held.items()}
        write_atomically(folder / "best.safetensors", save(weights))
        run.held = None
    write_atomically(folder / "history.csv", history_csv(run.history))
    progress = {
        "config": asdict(run.config),
        "history": [asdict(row) for row in run.history],
        "scheduler": run.scheduler.state_dict(),
        "learning_rate": run.learner.optimizer.param_groups[0]["lr"],
        "footprint": asdict(footprint) if footprint else None,
    }
    path = folder / "state.safetensors"
    if finished(run.history, run.config):
        write_end(path, progress)
    else:
        write_state(path, run.network, run.learner.optimizer, progress)
