"""What is worth adding to the paper's trainer: each idea measured against it as it is.

    python -m benchmarks.trainer_options --output FOLDER

One synthetic site of a style that pretraining never drew. From nothing, three of five
folds train on 12 patients each, and fine-tuning of the default checkpoint on 4; all are
tested on the same 8 other patients. Interrupted, the same command goes on. Options that
the program has not are in ``benchmarks.trainer_ideas``.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.finetune import FINETUNE, SCRATCH, Site, Size, image_site
from benchmarks.options import DEFAULT_WEIGHTS, count_option
from benchmarks.trainer_ideas import Recent, augmented, with_entropy
from model.atomic import write_atomically
from model.batches import open_feed
from model.checkpoint import read_checkpoint
from model.dataset import Fold, epoch_order, patient_folds
from model.energy_log import EnergyLog
from model.ensemble import voted
from model.inference import predict_logits
from model.metrics import overlap
from model.network import BreastFcn, new_network
from model.passes import calibrate
from model.power import find_meters, gpu_uuids
from model.progress import TrainConfig
from model.train import Bench, fit

STYLE = "any contrast"
FOLDS = 5
COST = "cost"
NORM_SLICES = 64

Mask = NDArray[np.bool_]
Masks = dict[str, Mask]
Idea = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train: how, from where, and with which stages left as they are."""

    config: TrainConfig
    idea: Idea = nullcontext
    tuned: bool = False
    frozen: tuple[str, ...] = ()


PAPER = TrainConfig(batch=4, epochs=SCRATCH.epochs)
"""The paper's, but for small batches and few epochs: the site is small."""
WAYS: Mapping[str, Way] = {
    "from nothing": Way(PAPER),
    "from nothing, cosine": Way(replace(PAPER, schedule="cosine")),
    "from nothing, mirror": Way(replace(PAPER, mirror=True)),
    "from nothing, calibrated": Way(replace(PAPER, calibration_slices=64)),
    "from nothing, coarse epochs": Way(replace(PAPER, coarse_epochs=6)),
    "from nothing, all four": Way(SCRATCH),
    "from nothing, all four, augmented": Way(SCRATCH, augmented),
    "from nothing, all four, Dice + BCE": Way(SCRATCH, with_entropy),
    "fine-tuned": Way(FINETUNE, tuned=True),
    "fine-tuned, augmented": Way(FINETUNE, augmented, tuned=True),
    "fine-tuned, Dice + BCE": Way(FINETUNE, with_entropy, tuned=True),
    "fine-tuned, first stages frozen": Way(
        FINETUNE, tuned=True, frozen=("conv1", "bn1", "layer1", "layer2")
    ),
}
"""The first of each kind is what the others are compared with; without it a kind has
no table. BatchNorm's statistics
of frozen stages are measured anew like all others."""
KINDS = ("from nothing", "fine-tuned")
VOTING = ("from nothing, all four", "fine-tuned")
"""Ways whose folds also vote together."""
AVERAGED = ", last epochs averaged"
VOTED = ", folds vote"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training took; an energy of None is unknown."""

    processor_s: float
    energy_kwh: float | None

    @property
    def values(self) -> NDArray[np.float64]:
        """Return both as an array; what is unknown is not a number."""
        return np.array([self.processor_s, self.energy_kwh or np.nan])


@dataclass(frozen=True, slots=True)
class Trial:
    """Where trainings are done, and where their masks are kept."""

    site: Site
    folder: Path
    start: Path
    """The checkpoint that is fine-tuned."""
    few: int
    """Patients of fine-tuning, one of which chooses the epoch."""
    epochs: int
    """Of every training; 0 takes each way's own."""
    ways: tuple[str, ...] = tuple(WAYS)

    def path(self, name: str, fold: int) -> Path:
        """Return where the masks of a way and fold lie."""
        return self.folder / f"{name.replace(' ', '-').replace(',', '')}-{fold}.npz"


def run(name: str, fold: int, trial: Trial) -> None:
    """Train one way on one fold, and keep its masks of the test patients."""
    way, site, recent = WAYS[name], trial.site, Recent()
    cases = site.train[: trial.few] if way.tuned else site.train
    plan = patient_folds({c: c for c in cases}, folds=FOLDS, seed=0)[fold]
    network = first_network(way, fold, trial.start)
    config = replace(
        way.config,
        grid_px=site.store.info(cases[0]).grid_px,
        epochs=trial.epochs or way.config.epochs,
        seed=fold,
    )
    log = EnergyLog(find_meters(gpus=gpu_uuids([torch.device(site.engine.device)])))
    started = process_time()
    with TemporaryDirectory() as place, log, way.idea(), recent.watching():
        fit(network, plan, config, Bench(site.store, Path(place), site.engine))
    cost = Cost(process_time() - started, log.footprint().energy_kwh)
    keep(trial.path(name, fold), masks_of(network, site), cost)
    network.load_state_dict(recent.mean())
    measure_norms(network, plan, site)
    keep(trial.path(name + AVERAGED, fold), masks_of(network, site), cost)


def measure_norms(network: nn.Module, plan: Fold, site: Site) -> None:
    """Measure BatchNorm's statistics for weights that were never trained with."""
    order = epoch_order([site.store.info(c) for c in plan.train], seed=0, epoch=0)
    feed = open_feed(site.store, plan.train, site.engine)
    calibrate(network, order[:NORM_SLICES], feed)


def first_network(way: Way, fold: int, start: Path) -> BreastFcn:
    """Return what a way starts with, its frozen stages without gradients."""
    network = read_checkpoint(start).network if way.tuned else new_network(seed=fold)
    for stage in way.frozen:
        network.fcn.backbone[stage].requires_grad_(False)  # noqa: FBT003
    return network


def masks_of(network: nn.Module, site: Site) -> Masks:
    """Return the network's masks of the site's test patients."""
    network.eval()
    return {
        case: predict_logits(site.store.stack(case), network, site.engine) >= 0
        for case in site.test
    }


def keep(path: Path, masks: Masks, cost: Cost) -> None:
    """Write the masks of a way and fold, and what its training cost."""
    whole = io.BytesIO()
    np.savez_compressed(whole, **masks | {COST: cost.values})  # type: ignore[arg-type]
    write_atomically(path, whole.getvalue())


def table(trial: Trial, folds: Sequence[int]) -> Iterator[str]:
    """Yield every way's Dice, and what it gains on the first of its kind by fold."""
    yield "| way | Dice by fold | mean | gain | processor time, s | energy, Wh |"
    yield "|---|---|---|---|---|---|"
    for kind in (kind for kind in KINDS if kind in trial.ways):
        plain, _ = results(trial, kind, folds)
        for name in (n for n in trial.ways if n.startswith(kind)):
            for way in (name, name + AVERAGED):
                yield row(way, *results(trial, way, folds), plain)
            if name in VOTING:
                _, cost = results(trial, name, folds)
                voted_dice = np.array([vote_dice(trial, name, folds)])
                yield row(name + VOTED, voted_dice, cost * len(folds), plain)


def row(
    way: str,
    dices: NDArray[np.float64],
    cost: NDArray[np.float64],
    plain: NDArray[np.float64],
) -> str:
    """Return one line; the gain is the mean over folds, with its lowest and highest."""
    gains = dices - plain
    told = f"{gains.mean():+.4f} ({gains.min():+.4f} to {gains.max():+.4f})"
    each = ", ".join(f"{dice:.4f}" for dice in dices)
    energy = "unknown" if np.isnan(cost[1]) else f"{1e3 * cost[1]:.1f}"
    return (
        f"| {way} | {each} | {dices.mean():.4f} | {told} | {cost[0]:.0f} | {energy} |"
    )


def results(
    trial: Trial, way: str, folds: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each fold's mean Dice over the test patients, and the mean cost."""
    kept = [np.load(trial.path(way, fold)) for fold in folds]
    dices = [mean_dice(one, trial.site) for one in kept]
    return np.array(dices), np.mean([one[COST] for one in kept], axis=0)


def vote_dice(trial: Trial, way: str, folds: Sequence[int]) -> float:
    """Return the mean Dice of the masks on which most folds agree."""
    kept = [np.load(trial.path(way, fold)) for fold in folds]
    masks = {case: voted([one[case] for one in kept]) for case in trial.site.test}
    return mean_dice(masks, trial.site)


def mean_dice(masks: Mapping[str, Mask], site: Site) -> float:
    """Return the mean Dice of the test patients' masks."""
    found = [overlap(masks[case], site.store.mask(case)).dice for case in site.test]
    return float(np.mean(found))


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--checkpoint", default=DEFAULT_WEIGHTS, type=click.Path(path_type=Path))
@click.option("--only", type=click.Choice(list(WAYS)), multiple=True)
@count_option("--folds", 3, "Of five, that are trained.")
@count_option("--many", 15, "Patients of a training from nothing, three choose.")
@count_option("--few", 5, "Patients of a fine-tuning, one chooses.")
@count_option("--test", 8, "Patients to test on.")
@count_option("--slices", 24, "Slices of every patient.")
@count_option("--matrix", 128, "Rows and columns of a slice.")
@count_option("--epochs", 0, "Of every training; 0 takes the demo's and 6.")
@count_option("--grid", 64, "Rows and columns of the network's input.")
def main(output: Path, checkpoint: Path, only: tuple[str, ...], **counts: int) -> None:
    """Train every way on every fold; print the table."""
    output.mkdir(parents=True, exist_ok=True)
    size = Size(counts["many"], 0, counts["test"], counts["slices"], counts["matrix"])
    with TemporaryDirectory() as place:
        site = image_site(STYLE, size, Path(place), counts["grid"])
        ways = tuple(w for w in WAYS if w in only or not only)
        trial = Trial(site, output, checkpoint, counts["few"], counts["epochs"], ways)
        folds = range(counts["folds"])
        for fold in folds:
            for name in trial.ways:
                if not trial.path(name + AVERAGED, fold).exists():
                    run(name, fold, trial)
        text = "\n".join(table(trial, folds))
    (output / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
