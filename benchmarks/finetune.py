"""What the default checkpoint saves a site: fine-tuned on few cases, or from nothing.

    python -m benchmarks.finetune model/weights/default.safetensors

One synthetic site of a style that pretraining never drew images its patients. The
checkpoint is fine-tuned on 4 of them, and a new network trained on 12, both as ``brs``
does it; both are tested on the same other patients, and so is the checkpoint as it is.
Energy is what the machine's counters say; processor time stands beside it.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from torch import nn

from benchmarks.options import count_option
from model.checkpoint import read_checkpoint
from model.dataset import CaseInfo, CaseStore, Fold
from model.energy_log import EnergyLog
from model.engine import Engine, choose_engine
from model.network import new_network
from model.phantom import make_case
from model.power import find_meters, gpu_uuids
from model.preprocess import mask_to_stack, to_stack
from model.progress import TrainConfig
from model.synthetic.families import STYLES, draw_unseen_patient
from model.train import Bench, fit
from model.validation import held_out

SEED = 950_000
SCRATCH = TrainConfig(
    batch=4,
    epochs=13,
    coarse_epochs=6,
    calibration_slices=64,
    mirror=True,
    schedule="cosine",
)
"""As ``brs demo`` trains from nothing."""
FINETUNE = replace(SCRATCH, batch=8, epochs=6, coarse_epochs=0, learning_rate=1e-4)


@dataclass(frozen=True, slots=True)
class Row:
    """One way to weights for the site, and what they are worth there."""

    way: str
    cases: int
    dice_mean: float
    dice_min: float
    """Over the tested patients, volumetric."""
    processor_s: float
    energy_kwh: float | None


@dataclass(frozen=True, slots=True)
class Size:
    """How many patients a site has, and how finely they are imaged."""

    train: int
    check: int
    test: int
    slices: int
    matrix_px: int


@dataclass(frozen=True, slots=True)
class Site:
    """The stored cases of one site, by what they are for."""

    store: CaseStore
    train: tuple[str, ...]
    check: tuple[str, ...]
    """Choose the best epoch."""
    test: tuple[str, ...]
    engine: Engine


def image_site(style: str, size: Size, where: Path, grid: int) -> Site:
    """Draw the site's scanner once, and store its patients on the network's grid."""
    store = CaseStore(where)
    scanner = STYLES[style](np.random.default_rng(SEED), size.slices, size.matrix_px)
    first, last = size.train, size.train + size.check
    names = [f"case-{number:03d}" for number in range(last + size.test)]
    for number, name in enumerate(names):
        _, patient = draw_unseen_patient(np.random.default_rng([SEED, number]))
        case = make_case(patient, scanner, seed=SEED + number)
        pre, post = case.phases[:2]
        stack = to_stack(pre, post, grid_px=grid)
        both = pre.with_array((case.right | case.left).astype(np.uint8))
        where_px = stack.placement
        info = CaseInfo(
            *(name, name, name, name, "human", len(stack.voxels), grid),
            mm_per_px=where_px.mm_per_px,
            slice_mm=where_px.slice_mm,
        )
        store.put(info, stack.voxels, mask_to_stack(both, stack))
    return Site(
        store,
        train=tuple(names[:first]),
        check=tuple(names[first:last]),
        test=tuple(names[last:]),
        engine=choose_engine(training=True),
    )


def trained(
    way: str, network: nn.Module, cases: Sequence[str], site: Site, config: TrainConfig
) -> Row:
    """Train ``network`` on the cases, and test it."""
    fold = Fold(0, tuple(cases), site.check)
    log = EnergyLog(find_meters(gpus=gpu_uuids([torch.device(site.engine.device)])))
    before = time.process_time()
    with TemporaryDirectory() as place, log:
        folder = Path(place)
        fit(network, fold, config, Bench(site.store, folder, site.engine))
    spent_s = time.process_time() - before
    return tested(way, network, len(cases), site, spent_s, log.footprint().energy_kwh)


def tested(
    way: str,
    network: nn.Module,
    cases: int,
    site: Site,
    processor_s: float,
    energy_kwh: float | None,
) -> Row:
    """Return the row of a network that is ready."""
    found = held_out(network.eval(), site.test, site.store, site.engine)
    dice = [case.dice for case in found.cases]
    row = Row(way, cases, float(np.mean(dice)), min(dice), processor_s, energy_kwh)
    print(json.dumps(asdict(row)), flush=True)
    return row


@click.command()
@click.argument("weights", type=click.Path(exists=True, path_type=Path))
@click.option("--style", type=click.Choice(list(STYLES)), default="any contrast")
@count_option("--few", 4, "Cases to fine-tune on.")
@count_option("--many", 12, "Cases to train from nothing on.")
@count_option("--check", 2, "Cases that choose the epoch.")
@count_option("--test", 8, "Cases to test on.")
@count_option("--slices", 24, "Slices of every case.")
@count_option("--matrix", 160, "Rows and columns of a slice.")
@count_option("--epochs", 0, "Of both trainings; 0 takes the demo's and 6.")
@count_option("--grid", 0, "Of the network's input; 0 takes the checkpoint's own.")
@click.option("--out", default="finetune.json", type=click.Path(path_type=Path))
def main(weights: Path, style: str, out: Path, **counts: int) -> None:
    """Compare a fine-tuned checkpoint with a network trained from nothing."""
    checkpoint = read_checkpoint(weights)
    grid = counts["grid"] or checkpoint.manifest.grid_px
    few = counts["few"]
    size = Size(*(counts[k] for k in ("many", "check", "test", "slices", "matrix")))
    tuning, config = (
        replace(c, grid_px=grid, epochs=counts["epochs"] or c.epochs)
        for c in (FINETUNE, SCRATCH)
    )
    with TemporaryDirectory() as place:
        site = image_site(style, size, Path(place), grid)
        start = tested("the checkpoint", checkpoint.network, 0, site, 0.0, None)
        tuned = trained(
            "fine-tuned", checkpoint.network, site.train[:few], site, tuning
        )
        scratch = trained("from nothing", new_network(seed=0), site.train, site, config)
    document = {
        "weights_sha256": checkpoint.manifest.weights_sha256,
        "style": style,
        "grid_px": grid,
        "engine": str(site.engine),
        "configs": {"fine-tuned": asdict(tuning), "from nothing": asdict(config)},
        "rows": [asdict(row) for row in (start, tuned, scratch)],
    }
    out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
