"""How well a checkpoint segments synthetic patients that pretraining never saw.

    python -m benchmarks.checkpoint weights.safetensors --cases 200

Styles and anatomies are those of ``model.synthetic.families``; the images come from
``model.phantom``, another renderer than the one that draws training slices. Per case,
over the whole volume: Dice, Dice of the slices around the breast's ends, and the area
found on breast-free slices. Features of the found masks are set against those of the
true ones. Writes JSON, and a contact sheet if asked. The network runs in PyTorch's
fp32, or faster by OpenVINO, as `brs segment` does it on a CPU.
"""

import json
import logging
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from model.bag import measure
from model.checkpoint import Checkpoint, read_checkpoint, read_weights
from model.engine import Engine
from model.inference import THRESHOLD, Runner, predict
from model.openvino_runner import OpenVinoRunner
from model.phantom import make_case
from model.preprocess import Placement, SliceStack, mask_to_stack, to_stack
from model.processors import THREADS
from model.synthetic.families import STYLES, draw_unseen_patient

logger = logging.getLogger(__name__)

END_MM = 15.0
"""How far around the first and the last breast slice the ends reach."""
FEATURES = ("nearest_point_mm", "breast_size_mm", "nearest_point_px", "breast_size_px")
SHOWN = 6
LEAST_CASES = 3


@dataclass(frozen=True, slots=True)
class Scored:
    """One unseen phantom."""

    seed: int
    style: str
    anatomy: str
    dice: float
    end_dice: float | None
    """Over the slices around both ends; None when none lies in the image."""
    false_share: float | None
    """Area found on breast-free slices as a share of these; None without any."""
    true: dict[str, float | None]
    found: dict[str, float | None]


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One phantom on the network's grid."""

    stack: SliceStack
    truth: NDArray[np.bool_]
    found: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Size:
    """How finely the phantoms are imaged."""

    slices: int
    matrix_px: int
    grid_px: int


def segment(
    seed: int, style: str, size: Size, tools: tuple[nn.Module | Runner, Engine]
) -> tuple[Study, str]:
    """Draw the phantom of a seed, segment it, and name its anatomy."""
    rng = np.random.default_rng([seed, 7])
    anatomy, patient = draw_unseen_patient(rng)
    site = STYLES[style](rng, size.slices, size.matrix_px)
    case = make_case(patient, site, seed=seed)
    pre, post = case.phases[0], case.phases[1]
    stack = to_stack(pre, post, grid_px=size.grid_px)
    both = (case.right | case.left).astype(np.uint8)
    truth = mask_to_stack(pre.with_array(both), stack)
    network, engine = tools
    found = predict(stack.voxels, network, engine) >= THRESHOLD
    return Study(stack, truth, found), anatomy


def score(seed: int, style: str, anatomy: str, study: Study) -> Scored:
    """Return the scores of one study."""
    truth, found = study.truth, study.found
    filled = np.asarray(truth.any(axis=(1, 2)), bool)
    ends = end_slices(filled, study.stack.placement.slice_mm)
    empty = found[~filled]
    return Scored(
        seed=seed,
        style=style,
        anatomy=anatomy,
        dice=dice(truth, found),
        end_dice=dice(truth[ends], found[ends]) if ends.any() else None,
        false_share=float(empty.mean()) if len(empty) else None,
        true=_features(truth, study.stack.placement),
        found=_features(found, study.stack.placement),
    )


def dice(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Return the volumetric Dice; 1 when both are empty."""
    total = int(truth.sum() + found.sum())
    return 2 * int((truth & found).sum()) / total if total else 1.0


def end_slices(filled: NDArray[np.bool_], slice_mm: float) -> NDArray[np.bool_]:
    """Return the slices within ``END_MM`` of where the breast begins or ends.

    An end that the image cuts off is none.
    """
    near = np.zeros_like(filled)
    reach = max(1, round(END_MM / slice_mm))
    for edge in np.flatnonzero(np.diff(filled.astype(int))) + 1:
        near[max(edge - reach, 0) : edge + reach] = True
    return near


def summary(scored: Sequence[Scored]) -> dict[str, float | int]:
    """Return the headline of some cases."""
    dices = np.array([s.dice for s in scored])
    ends = [s.end_dice for s in scored if s.end_dice is not None]
    false = [s.false_share for s in scored if s.false_share is not None]
    return {
        "cases": len(scored),
        "dice_mean": float(dices.mean()),
        "dice_p5": float(np.percentile(dices, 5)),
        "cases_with_ends": len(ends),
        "end_dice_mean": _mean(ends),
        "cases_with_empty_slices": len(false),
        "false_area_percent": 100 * _mean(false),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def agreement(scored: Sequence[Scored], feature: str) -> dict[str, float | int]:
    """Return how one feature of the found masks follows that of the true ones.

    Only the number of cases where fewer than three show the feature in both masks.
    """
    pairs = [(s.true[feature], s.found[feature]) for s in scored]
    both = np.array([pair for pair in pairs if None not in pair], float)
    if len(both) < LEAST_CASES:
        return {"cases": len(both)}
    errors = both[:, 1] - both[:, 0]
    return {
        "cases": len(both),
        "spearman": float(spearmanr(both[:, 0], both[:, 1]).statistic),
        "median_error": float(np.median(errors)),
        "median_absolute_error": float(np.median(np.abs(errors))),
    }


def _features(mask: NDArray[np.bool_], placement: Placement) -> dict[str, float | None]:
    if not mask.any():
        return dict.fromkeys(FEATURES)
    features = measure(mask, placement, source="checkpoint")
    return {name: getattr(features, name) for name in FEATURES}


def contact_sheet(studies: Sequence[Study]) -> Image.Image:
    """Return one row a study: spread slices, truth in green and found in red."""
    return Image.fromarray(np.vstack([_row(study) for study in studies]))


def _row(study: Study) -> NDArray[np.uint8]:
    spread = np.linspace(0, len(study.truth) - 1, SHOWN + 2).round().astype(int)[1:-1]
    grey = np.clip(np.sqrt(np.clip(study.stack.voxels[spread, 1], 0, 1.4)) / 1.2, 0, 1)
    tiles = np.repeat((255 * grey[..., None]).astype(np.uint8), 3, axis=3)
    tiles[_edge(study.truth[spread])] = (0, 200, 0)
    tiles[_edge(study.found[spread])] = (255, 60, 60)
    return np.hstack(list(tiles))


def _edge(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = masks.copy()
    for axis in (1, 2):
        inner &= np.roll(masks, 1, axis) & np.roll(masks, -1, axis)
    return masks & ~inner


@click.command()
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--cases", default=20, show_default=True, help="Phantoms to draw.")
@click.option("--seed", default=0, show_default=True, help="Seed of the first one.")
@click.option(
    "--slices", default=40, show_default=True, help="Slices of every phantom."
)
@click.option("--matrix", default=192, show_default=True, help="Rows and columns.")
@click.option(
    "--grid", type=int, help="Network grid in px; the checkpoint's own if not given."
)
@click.option("--workers", default=2, show_default=True, help="Processes.")
@click.option(
    "--openvino", type=click.Choice(["fp32", "bf16"]), help="Run by OpenVINO so."
)
@click.option("--sheet", type=click.Path(path_type=Path), help="Contact sheet, PNG.")
@click.option("--out", default="checkpoint.json", type=click.Path(path_type=Path))
def main(
    weights: Path,
    cases: int,
    seed: int,
    openvino: str | None,
    sheet: Path | None,
    out: Path,
    **size: int | None,
) -> None:
    """Score a checkpoint on styles and anatomies that it was never trained on."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    checkpoint = read_checkpoint(weights)
    shape = Size(
        size["slices"] or 0,
        size["matrix"] or 0,
        size["grid"] or checkpoint.manifest.grid_px,
    )
    scored: list[Scored] = []
    studies: list[Study] = []
    with ProcessPoolExecutor(size["workers"], initializer=_be_one_of_many) as pool:
        numbers = range(seed, seed + cases)
        jobs = [(weights, openvino, number, shape) for number in numbers]
        for found, study in pool.map(_case, jobs):
            scored.append(found)
            logger.info("%d %s: Dice %.3f", found.seed, found.style, found.dice)
            if len(studies) < len(STYLES):
                studies.append(study)
    _report(scored, checkpoint, shape, out)
    if sheet is not None:
        contact_sheet(studies).save(sheet)


def _be_one_of_many() -> None:
    os.environ[THREADS] = "1"
    torch.set_num_threads(1)


def _case(job: tuple[Path, str | None, int, Size]) -> tuple[Scored, Study]:
    """Score the phantom of one seed; styles take turns."""
    weights, openvino, seed, size = job
    style = list(STYLES)[seed % len(STYLES)]
    study, anatomy = segment(seed, style, size, _tools(weights, openvino))
    return score(seed, style, anatomy, study), study


@cache
def _tools(weights: Path, openvino: str | None) -> tuple[nn.Module | Runner, Engine]:
    """Return the network and what runs it; ``openvino`` is a precision, or None."""
    if openvino is None:
        return read_checkpoint(weights).network, Engine("cpu", "fp32")
    engine = Engine("cpu", openvino, "openvino")
    return OpenVinoRunner(read_weights(weights)[0], engine), engine


def _report(
    scored: Sequence[Scored], checkpoint: Checkpoint, size: Size, out: Path
) -> None:
    styles = {
        s.style: summary([t for t in scored if t.style == s.style]) for s in scored
    }
    anatomies = {
        s.anatomy: summary([t for t in scored if t.anatomy == s.anatomy])
        for s in scored
    }
    rows = {"all": summary(scored), **styles, **anatomies}
    features = {name: agreement(scored, name) for name in FEATURES}
    document = {
        "weights_sha256": checkpoint.manifest.weights_sha256,
        "size": asdict(size),
        "all": rows["all"],
        "styles": styles,
        "anatomies": anatomies,
        "features": features,
        "cases": [asdict(s) for s in scored],
    }
    out.write_text(json.dumps(document, indent=1) + "\n")
    for name, row in rows.items():
        values = "  ".join(f"{k} {v:.3f}" for k, v in row.items())
        print(f"{name:<28}{values}")
    print(json.dumps(features, indent=1))


if __name__ == "__main__":
    main()
