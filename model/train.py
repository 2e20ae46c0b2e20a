"""One fold: fit, resume, stop early, stay in budget."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.optim import RAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau
from tqdm import tqdm

from model.atomic import write_atomically
from model.carbon import Footprint
from model.dataset import CaseStore, Fold, SliceIndex, epoch_order
from model.engine import Engine
from model.errors import TrainingError
from model.metrics import dice_loss
from model.preprocess import network_input
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
    ``history.csv``. ``footprint`` reports this fold's energy and CO2 so far.
    """

    store: CaseStore
    folder: Path
    engine: Engine
    budget: Budget = field(default_factory=Budget)
    footprint: Callable[[], Footprint | None] = _unmeasured


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
        logger.info(
            "epoch %d of at most %d: validation loss %.3f, %.0f s",
            record.epoch + 1,
            config.epochs,
            record.validation_loss,
            record.duration_s,
        )
        stopped_by = finished(run.history, config) or over_budget(
            record, bench.budget, minutes=(time.monotonic() - started) / 60
        )
    network.load_state_dict(load_file(bench.folder / "best.safetensors"))
    return FitResult(tuple(run.history), best(run.history).epoch, stopped_by)


def footprint_before(folder: Path) -> Footprint | None:
    """Return what an unfinished fold had emitted, None when nothing was recorded."""
    path = folder / "state.safetensors"
    record = read_progress(path)["footprint"] if path.exists() else None
    return as_footprint(record) if record else None


def as_footprint(record: Mapping[str, Any]) -> Footprint:
    """Return the footprint that ``asdict`` and JSON made a record of."""
    return Footprint(**{**record, "devices": tuple(record["devices"])})


def _prepare(network: nn.Module, config: TrainConfig, bench: Bench) -> _Run:
    network.to(bench.engine.device).to(memory_format=torch.channels_last)
    optimizer = RAdam(
        network.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        foreach=True,
    )
    run = _Run(config, network, optimizer, _scheduler(optimizer, config), [])
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
        emitted_g=_grams(bench.footprint()),
    )


def _epoch_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _train(run: _Run, order: Sequence[SliceIndex], bench: Bench) -> float:
    """Run one pass over ``order``; return the mean Dice loss of its batches."""
    run.network.train()
    config, losses = run.config, []
    steps = -(-len(order) // config.batch)
    chance = torch.rand(len(order)) < 0.5
    mirrored = chance.numpy() & config.mirror
    bar = tqdm(
        _batches(order, config.batch, bench, mirrored),
        total=steps,
        desc=f"epoch {len(run.history) + 1}/{config.epochs}",
        leave=False,
        disable=None,
    )
    coarse = len(run.history) < config.coarse_epochs
    for whole, whole_masks in bar:
        slices, masks = halved(whole, whole_masks) if coarse else (whole, whole_masks)
        with bench.engine.autocast():
            logits = run.network(slices)
        loss = dice_loss(logits.float(), masks)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def halved(slices: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return slices and masks with half the rows and columns, 2 x 2 px averaged."""
    return avg_pool2d(slices, 2), (avg_pool2d(masks, 2) >= 0.5).float()


@torch.inference_mode()
def calibrate(network: nn.Module, order: Sequence[SliceIndex], bench: Bench) -> None:
    """Set BatchNorm's statistics to their mean over the slices of ``order``."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean instead of a moving one
    network.train()
    for slices, _ in _batches(order, CALIBRATION_BATCH, bench, _none(len(order))):
        with bench.engine.autocast():
            network(slices)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _none(count: int) -> NDArray[np.bool_]:
    return np.zeros(count, bool)


@torch.inference_mode()
def validate(network: nn.Module, case_ids: Sequence[str], bench: Bench) -> float:
    """Return the Dice loss (1) over all voxels of the cases, 0 to 1, no epsilon."""
    network.eval()
    overlap = total = torch.zeros((), dtype=torch.float64)
    for case_id in case_ids:
        slices = bench.store.info(case_id).slices
        order = [(case_id, index) for index in range(slices)]
        for batch, masks in _batches(order, 8, bench, _none(slices)):
            with bench.engine.autocast():
                probability = network(batch).float().sigmoid()
            overlap = overlap + (probability * masks).sum().double().cpu()
            total = total + (probability + masks).sum().double().cpu()
    return float(1 - 2 * overlap / total)


def _batches(
    order: Sequence[SliceIndex], size: int, bench: Bench, mirrored: NDArray[np.bool_]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield slices (N, 2, H, W) and masks (N, 1, H, W) on the engine's device."""
    stacks = {case_id: bench.store.stack(case_id) for case_id, _ in order}
    masks = {case_id: bench.store.mask(case_id) for case_id, _ in order}
    for start in range(0, len(order), size):
        part, flip = order[start : start + size], mirrored[start : start + size]
        voxels = network_input(np.stack([stacks[c][s] for c, s in part]))
        target = np.stack([masks[c][s] for c, s in part])[:, None]
        voxels[flip], target[flip] = voxels[flip][..., ::-1], target[flip][..., ::-1]
        slices = torch.from_numpy(voxels).to(bench.engine.device)
        yield (
            slices.to(memory_format=torch.channels_last),
            torch.from_numpy(target.astype(np.float32)).to(bench.engine.device),
        )


def _grams(footprint: Footprint | None) -> float | None:
    if footprint is None or footprint.cfp_kg is None:
        return None
    return footprint.cfp_kg * 1000


def _keep(run: _Run, record: EpochRecord, bench: Bench) -> None:
    """Record an epoch: best weights first, then the state that names them."""
    folder, footprint = bench.folder, bench.footprint()
    run.history.append(record)
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
