"""Pretraining itself: steps over synthetic slices, an average of weights, a checkpoint.

Everything that a killed run needs to go on lies in ``state.safetensors``, replaced
every few minutes: weights, optimizer moments, the average, step and time. Batches and
dropout are seeded by the step. So with a budget in steps a resumed run ends with the
same weights as an uninterrupted one; with one in minutes the learning rate follows the
clock.
"""

import copy
import csv
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import RAdam
from torch.utils.data import DataLoader

from model.batches import Batch
from model.carbon import Footprint, as_footprint
from model.engine import Engine
from model.errors import TrainingError
from model.loss import dice_loss
from model.network import new_network
from model.passes import measure_statistics
from model.pretraining.bank import Bank
from model.pretraining.echo import echoed, reach
from model.pretraining.recipe import Limits, Recipe, Spent, share_of
from model.pretraining.sampler import Batches, Stage
from model.resume import read_progress, read_state, write_state

logger = logging.getLogger(__name__)

STATE_FILE = "state.safetensors"
HISTORY_FILE = "history.csv"
CALIBRATION_SEED = 1_000_003
LOGGED_STEPS = 20
ENDLESS = 10**9


@dataclass(frozen=True, slots=True)
class Desk:
    """Where, with what and within which limits a pretraining runs."""

    bank: Bank
    folder: Path
    engine: Engine
    limits: Limits
    publish: Callable[[nn.Module, Spent, Stage], None]
    """Takes the averaged network, what was spent, and the stage, every few minutes."""
    footprint: Callable[[], Footprint | None] = lambda: None
    every_minutes: float = 5.0
    workers: int = 1


@dataclass(slots=True)
class _Run:
    """What changes while the network is trained."""

    recipe: Recipe
    network: nn.Module
    average: nn.Module
    optimizer: RAdam
    spent: Spent = field(default_factory=Spent)
    losses: list[Tensor] = field(default_factory=list)


def pretrain(recipe: Recipe, desk: Desk, start: nn.Module | None = None) -> Spent:
    """Train until the limits are reached; publish on the way and at the end.

    Called again with the same folder it goes on, also under larger limits, which
    raise the learning rate again. ``start`` gives the first weights of a new run.
    """
    run = _prepare(recipe, desk, start)
    clock, before = time.monotonic(), run.spent.minutes
    kept_at = clock
    stage: Stage | None = None
    batches: Iterator[Batch] = iter(())
    while (share := share_of(desk.limits, run.spent)) < 1:
        if recipe.stage(share) != stage:
            stage = recipe.stage(share)
            batches = _batches(run, desk, stage)
        _step(run, next(batches), desk.engine, share)
        minutes = before + (time.monotonic() - clock) / 60
        run.spent = Spent(run.spent.steps + 1, minutes, _grams(desk.footprint()))
        _log(run, desk, stage, share)
        if time.monotonic() - kept_at > 60 * desk.every_minutes:
            _keep(run, desk, stage)
            kept_at = time.monotonic()
    _keep(run, desk, stage or recipe.stage(1.0))
    return run.spent


def footprint_before(folder: Path) -> Footprint | None:
    """Return what an unfinished pretraining had emitted, None when nothing was kept."""
    path = folder / STATE_FILE
    record = read_progress(path)["footprint"] if path.exists() else None
    return as_footprint(record) if record else None


def _prepare(recipe: Recipe, desk: Desk, start: nn.Module | None) -> _Run:
    network = new_network(seed=recipe.seed) if start is None else start
    network.to(desk.engine.device).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    optimizer = RAdam(
        network.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        foreach=True,
    )
    run = _Run(recipe, network, average, optimizer)
    path = desk.folder / STATE_FILE
    if path.exists():
        progress = read_state(path, _both(run), optimizer)
        _check_seed(path, progress["recipe"], recipe)
        run.spent = Spent(**progress["spent"])
        logger.info("going on after step %d", run.spent.steps)
    run.spent = replace(run.spent, carbon_g=_grams(desk.footprint()))
    return run


def _check_seed(path: Path, stored: dict[str, object], recipe: Recipe) -> None:
    """Refuse to mix runs; other keys may change between the phases of one."""
    if stored["seed"] != recipe.seed:
        raise TrainingError(
            str(path),
            found=f"an unfinished pretraining of seed {stored['seed']}",
            needed=f"seed {recipe.seed} to go on",
            mend="repeat the old seed, or choose a new output folder",
        )


def _both(run: _Run) -> nn.ModuleDict:
    return nn.ModuleDict({"live": run.network, "average": run.average})


def _batches(run: _Run, desk: Desk, stage: Stage) -> Iterator[Batch]:
    """Yield the batches from the next step on; what they repeat is drawn again."""
    recipe, step = run.recipe, run.spent.steps
    data = Batches(desk.bank, recipe.mix, recipe.seed, stage, recipe.annotation)
    first = max(0, step - reach(stage))
    groups = _drawn(data, range(first, ENDLESS), desk)
    for number, batch in enumerate(echoed(groups, stage, before=step - first), step):
        yield data.crop(number, batch)


def _drawn(data: Batches, steps: Sequence[int], desk: Desk) -> Iterator[Batch]:
    """Yield what some steps draw, on the device that computes."""
    device = desk.engine.device
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=steps,
        num_workers=desk.workers,
        pin_memory=desk.engine.on_gpu,
    )
    for slices, masks in loader:
        yield (
            slices.to(device, non_blocking=True),
            masks.to(device, non_blocking=True),
        )


def _step(run: _Run, batch: Batch, engine: Engine, share: float) -> None:
    """Train on one batch and move the average."""
    torch.manual_seed(run.recipe.seed + 7919 * run.spent.steps)
    run.network.train()
    run.optimizer.param_groups[0]["lr"] = run.recipe.rate(share)
    slices, masks = batch
    with engine.autocast():
        logits = run.network(slices.to(memory_format=torch.channels_last))
    logits = logits.float()
    overlap = dice_loss(logits, masks)
    entropy = binary_cross_entropy_with_logits(logits, masks)
    run.optimizer.zero_grad(set_to_none=True)
    loss = overlap + run.recipe.cross_entropy * entropy
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimizer.step()
    run.losses.append(overlap.detach())
    _average(run)


@torch.no_grad()
def _average(run: _Run) -> None:
    """Move the average towards the weights; fast at first, so that it forgets them."""
    steps = run.spent.steps
    decay = min(run.recipe.average_decay, (1 + steps) / (10 + steps))
    pairs = zip(run.average.parameters(), run.network.parameters(), strict=True)
    for mean, live in pairs:
        mean.lerp_(live, 1 - decay)


def _keep(run: _Run, desk: Desk, stage: Stage) -> None:
    """Store the state, then publish the average with statistics of its own."""
    footprint = desk.footprint()
    progress = {
        "recipe": run.recipe.record(),
        "spent": asdict(run.spent),
        "footprint": asdict(footprint) if footprint else None,
    }
    desk.folder.mkdir(parents=True, exist_ok=True)
    write_state(desk.folder / STATE_FILE, _both(run), run.optimizer, progress)
    average = copy.deepcopy(run.average)
    inputs = _calibration_inputs(run.recipe, desk, stage)
    measure_statistics(average, inputs, desk.engine)
    desk.publish(average.eval(), run.spent, stage)


def _calibration_inputs(recipe: Recipe, desk: Desk, stage: Stage) -> Iterator[Tensor]:
    """Yield the slices of batches of their own seed."""
    seed = recipe.seed + CALIBRATION_SEED
    data = Batches(desk.bank, recipe.mix, seed, stage)
    groups = _drawn(data, range(recipe.calibration_batches), desk)
    for number, group in enumerate(groups):
        slices, _ = data.crop(number, group)
        yield slices.to(memory_format=torch.channels_last)


def _log(run: _Run, desk: Desk, stage: Stage, share: float) -> None:
    if run.spent.steps % LOGGED_STEPS:
        return
    mean = float(torch.stack(run.losses).mean())
    run.losses.clear()
    row = {
        "step": run.spent.steps,
        "minutes": round(run.spent.minutes, 3),
        "grid_px": stage.grid_px,
        "dice_loss": round(mean, 5),
        "learning_rate": run.recipe.rate(share),
        "emitted_g": "unknown" if run.spent.carbon_g is None else run.spent.carbon_g,
    }
    path = desk.folder / HISTORY_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys(), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    logger.info("step %(step)d, grid %(grid_px)d: Dice loss %(dice_loss).3f", row)


def _grams(footprint: Footprint | None) -> float | None:
    if footprint is None or footprint.cfp_kg is None:
        return None
    return footprint.cfp_kg * 1000
