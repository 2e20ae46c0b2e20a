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
from torch import nn
from torch.optim import RAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau
from tqdm import tqdm

from model.atomic import write_atomically
from model.batches import batches, halved
from model.carbon import Footprint, as_footprint, together
from model.dataset import CaseStore, Fold, SliceIndex, epoch_order
from model.engine import Engine
from model.errors import TrainingError
from model.loss import dice_loss_of, dice_sums
from model.parallel import ALONE, Ranks, Shared
from model.progress import (
    Budget,
    EpochRecord,
    TrainConfig,
    best,
    finished,
    history_csv,
    over_budget,
)
from model.resume import read_progress, read_state, write_state

logger = logging.getLogger(__name__)

CALIBRATION_BATCH = 8


def _unmeasured() -> Footprint | None:
    return None


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and with what a fold is trained.

    ``folder`` keeps ``state.safetensors`` (resume), ``best.safetensors`` and
    ``history.csv``. ``footprint`` reports this fold's energy and CO2 so far. Of several
    ``ranks`` each has its own engine and footprint, and all see the same folder.
    """

    store: CaseStore
    folder: Path
    engine: Engine
    budget: Budget = field(default_factory=Budget)
    footprint: Callable[[], Footprint | None] = _unmeasured
    ranks: Ranks = ALONE


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
    shared: Shared
    optimizer: RAdam
    scheduler: CosineAnnealingLR | ReduceLROnPlateau
    history: list[EpochRecord]


def fit(network: nn.Module, fold: Fold, config: TrainConfig, bench: Bench) -> FitResult:
    """Train ``network`` in place on one fold; leave the best epoch's weights in it.

    Called again with the same folder it continues after the last whole epoch.
    Budgets are looked at after every epoch, so at least one epoch is always kept.

    Raises
    ------
    TrainingError
        If a carbon budget is asked for where no energy can be measured.
    """
    torch.use_deterministic_algorithms(config.deterministic)
    run = _prepare(network, config, bench)
    started = time.monotonic()
    stopped_by = finished(run.history, config)
    while not stopped_by:
        record = _one_epoch(run, fold, bench)
        _keep(run, record, bench)
        if bench.ranks.leads:
            logger.info(
                "epoch %d of at most %d: validation loss %.3f, %.0f s",
                record.epoch + 1,
                config.epochs,
                record.validation_loss,
                record.duration_s,
            )
        minutes = bench.ranks.agreed((time.monotonic() - started) / 60)
        stopped_by = finished(run.history, config) or over_budget(
            record, bench.budget, minutes=minutes
        )
    network.load_state_dict(load_file(bench.folder / "best.safetensors"))
    return FitResult(tuple(run.history), best(run.history).epoch, stopped_by)


def footprint_before(folder: Path) -> Footprint | None:
    """Return what an unfinished fold had emitted, None when nothing was recorded."""
    path = folder / "state.safetensors"
    record = read_progress(path)["footprint"] if path.exists() else None
    return as_footprint(record) if record else None


def _prepare(network: nn.Module, config: TrainConfig, bench: Bench) -> _Run:
    network.to(bench.engine.device).to(memory_format=torch.channels_last)
    shared = Shared(network, bench.ranks)
    optimizer = RAdam(
        network.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        foreach=True,
    )
    scheduler = _scheduler(optimizer, config)
    run = _Run(config, network, shared, optimizer, scheduler, [])
    path = bench.folder / "state.safetensors"
    if path.exists():
        progress = read_state(path, network, optimizer)
        _check_same_config(path, progress["config"], config)
        run.history = [EpochRecord(**row) for row in progress["history"]]
        run.scheduler.load_state_dict(progress["scheduler"])
        optimizer.param_groups[0]["lr"] = progress["learning_rate"]
    return run


def _scheduler(
    optimizer: RAdam, config: TrainConfig
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
    learning_rate = float(run.optimizer.param_groups[0]["lr"])
    infos = [bench.store.info(case_id) for case_id in fold.train]
    order = epoch_order(infos, seed=config.seed, epoch=epoch)
    train_loss = _train(run, order, bench)
    if config.calibration_slices:
        calibrate(run.network, order[: config.calibration_slices], bench)
    validation_loss = validate(run.network, fold.validation, bench)
    if isinstance(run.scheduler, ReduceLROnPlateau):
        run.scheduler.step(validation_loss)
    else:
        run.scheduler.step()
    return EpochRecord(
        epoch=epoch,
        train_loss=train_loss,
        validation_loss=validation_loss,
        learning_rate=learning_rate,
        duration_s=time.monotonic() - started,
        emitted_g=_grams(_footprint(bench)),
    )


def _epoch_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _train(run: _Run, order: Sequence[SliceIndex], bench: Bench) -> float:
    """Run one pass over ``order``; return the mean Dice loss of its batches."""
    run.network.train()
    config, shared, losses = run.config, run.shared, []
    steps = -(-len(order) // config.batch)
    chance = torch.rand(len(order)) < 0.5
    mirrored = chance.numpy() & config.mirror
    bar = tqdm(
        batches(order, config.batch, bench.store, bench.engine, mirrored),
        total=steps,
        desc=f"epoch {len(run.history) + 1}/{config.epochs}",
        leave=False,
        disable=None,
    )
    coarse = len(run.history) < config.coarse_epochs
    for whole, whole_masks in bar:
        slices, masks = halved(whole, whole_masks) if coarse else (whole, whole_masks)
        run.optimizer.zero_grad(set_to_none=True)
        with shared.divided(len(slices)) as own:
            with bench.engine.autocast():
                logits = shared.trained(slices[own])
            sums = shared.summed(dice_sums(logits.float(), masks[own]))
            loss = dice_loss_of(sums)
            loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


@torch.inference_mode()
def calibrate(network: nn.Module, order: Sequence[SliceIndex], bench: Bench) -> None:
    """Set BatchNorm's statistics to their mean over the slices of ``order``."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean instead of a moving one
    network.train()
    for slices, _ in batches(order, CALIBRATION_BATCH, bench.store, bench.engine):
        with bench.engine.autocast():
            network(slices)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.inference_mode()
def validate(network: nn.Module, case_ids: Sequence[str], bench: Bench) -> float:
    """Return the Dice loss (1) over all voxels of the cases, 0 to 1, no epsilon."""
    network.eval()
    overlap = total = torch.zeros((), dtype=torch.float64)
    for case_id in case_ids[bench.ranks.rank :: bench.ranks.count]:
        slices = bench.store.info(case_id).slices
        order = [(case_id, index) for index in range(slices)]
        for batch, masks in batches(order, 8, bench.store, bench.engine):
            with bench.engine.autocast():
                probability = network(batch).float().sigmoid()
            overlap = overlap + (probability * masks).sum().double().cpu()
            total = total + (probability + masks).sum().double().cpu()
    overlap, total = bench.ranks.summed(torch.stack((overlap, total)))
    return float(1 - 2 * overlap / total)


def _footprint(bench: Bench) -> Footprint | None:
    """Return what all ranks emitted, None when one of them does not measure."""
    parts = bench.ranks.gathered(bench.footprint())
    known = [part for part in parts if part is not None]
    return together(known) if len(known) == len(parts) else None


def _grams(footprint: Footprint | None) -> float | None:
    if footprint is None or footprint.cfp_kg is None:
        return None
    return footprint.cfp_kg * 1000


def _keep(run: _Run, record: EpochRecord, bench: Bench) -> None:
    """Record an epoch: best weights first, then the state that names them."""
    folder, footprint = bench.folder, _footprint(bench)
    run.history.append(record)
    if not bench.ranks.leads:
        bench.ranks.agreed(None)
        return
    if best(run.history) is record:
        weights = {k: v.contiguous() for k, v in run.network.state_dict().items()}
        write_atomically(folder / "best.safetensors", save(weights))
    progress = {
        "config": asdict(run.config),
        "history": [asdict(row) for row in run.history],
        "scheduler": run.scheduler.state_dict(),
        "learning_rate": run.optimizer.param_groups[0]["lr"],
        "footprint": asdict(footprint) if footprint else None,
    }
    write_state(folder / "state.safetensors", run.network, run.optimizer, progress)
    write_atomically(folder / "history.csv", history_csv(run.history))
    bench.ranks.agreed(None)  # the others may read the files now
