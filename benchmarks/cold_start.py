"""Cold-start BAG against true-mask BAG over phantoms: rank correlation and error.

    python -m benchmarks.cold_start --cases 200 --seed 0

The boundary sees only the pre-contrast phase; the truth is measured on the phantom's
own masks by the same rule. Writes one JSON file with the summary and every case.
"""

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from scipy.stats import spearmanr

from model.bag import BagFeatures, measure
from model.boundary import find_region
from model.errors import RegionError
from model.phantom import draw_patient, draw_site, make_case
from model.preprocess import mask_to_stack, to_stack

logger = logging.getLogger(__name__)

FEATURES = ("nearest_point_mm", "sternal_size_mm", "breast_size_mm", "volume_ml")


@dataclass(frozen=True, slots=True)
class Case:
    """One phantom, measured twice."""

    seed: int
    true: BagFeatures
    found: BagFeatures | None
    """None when the boundary refused the volume."""
    refusal: str
    flags: tuple[str, ...]
    dice: float | None
    cpu_s: float
    """Of the boundary and its features, on this machine."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one feature of the boundary's regions follows that of the true masks."""

    feature: str
    cases: int
    """Those in which both masks show the feature."""
    spearman: float
    median_error: float
    median_absolute_error: float
    p95_absolute_error: float


@dataclass(frozen=True, slots=True)
class Size:
    """How large the phantoms are drawn; None is the drawn site's own protocol."""

    slices: int | None
    matrix_px: int | None
    grid_px: int


def run_case(seed: int, size: Size) -> Case:
    """Draw the phantom of a seed and measure it with and without its masks."""
    rng = np.random.default_rng(seed)
    site = draw_site(rng, slices=size.slices, matrix_px=size.matrix_px)
    phantom = make_case(draw_patient(rng), site, seed=seed)
    pre, post = phantom.phases[:2]
    stack = to_stack(pre, post, grid_px=size.grid_px)
    both = (phantom.right | phantom.left).astype(np.uint8)
    mask = mask_to_stack(pre.with_array(both), stack)
    true = measure(mask, stack.placement, source="annotation")
    start = time.process_time()
    try:
        region = find_region(stack.voxels[:, 0], stack.placement)
    except RegionError as error:
        spent = time.process_time() - start
        return Case(seed, true, None, str(error), (), None, spent)
    found = measure(
        region.mask,
        stack.placement,
        source="boundary",
        confidence=region.confidence,
    )
    spent = time.process_time() - start
    dice = 2 * (region.mask & mask).sum() / (region.mask.sum() + mask.sum())
    return Case(seed, true, found, "", region.flags, float(dice), spent)


def agreement(cases: Sequence[Case], feature: str) -> Agreement:
    """Return how well one feature agrees, in its own unit."""
    pairs = [
        (getattr(case.true, feature), getattr(case.found, feature))
        for case in cases
        if case.found is not None
    ]
    both = np.array([pair for pair in pairs if None not in pair], float)
    errors = both[:, 1] - both[:, 0]
    return Agreement(
        feature=feature,
        cases=len(both),
        spearman=float(spearmanr(both[:, 0], both[:, 1]).statistic),
        median_error=float(np.median(errors)),
        median_absolute_error=float(np.median(np.abs(errors))),
        p95_absolute_error=float(np.percentile(np.abs(errors), 95)),
    )


def as_table(rows: Sequence[Agreement]) -> str:
    """Return the agreements as fixed-width text."""
    header = "feature           cases  Spearman  median error  |error|  95 %"
    lines = [
        f"{row.feature:<17} {row.cases:>5}  {row.spearman:>8.3f}"
        f"  {row.median_error:>+12.1f}  {row.median_absolute_error:>7.1f}"
        f"  {row.p95_absolute_error:>4.1f}"
        for row in rows
    ]
    return "\n".join([header, *lines])


@click.command()
@click.option("--cases", default=200, show_default=True, help="Phantoms to draw.")
@click.option("--seed", default=0, show_default=True, help="Seed of the first one.")
@click.option("--slices", type=int, help="Slices of every phantom, for a quick run.")
@click.option("--matrix", type=int, help="Rows and columns, for a quick run.")
@click.option("--grid", default=256, show_default=True, help="Network grid in px.")
@click.option("--out", default="cold_start.json", type=click.Path(path_type=Path))
def main(
    cases: int, seed: int, slices: int | None, matrix: int | None, grid: int, out: Path
) -> None:
    """Compare cold-start features with those of true masks over drawn phantoms."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    size = Size(slices, matrix, grid)
    done = []
    for number in range(seed, seed + cases):
        done.append(run_case(number, size))
        logger.info("case %d of %d", len(done), cases)
    rows = [agreement(done, feature) for feature in FEATURES]
    dices = [case.dice for case in done if case.dice is not None]
    summary = {
        "cases": cases,
        "first_seed": seed,
        **asdict(size),
        "refused": sum(case.found is None for case in done),
        "median_dice": float(np.median(dices)),
        "median_cpu_s": float(np.median([case.cpu_s for case in done])),
        "agreement": [asdict(row) for row in rows],
    }
    document = {"summary": summary, "cases": [asdict(case) for case in done]}
    out.write_text(json.dumps(document, indent=1) + "\n")
    print(as_table(rows))
    print(
        f"refused {summary['refused']}, median Dice {summary['median_dice']:.3f}, "
        f"{summary['median_cpu_s']:.2f} s CPU a case"
    )


if __name__ == "__main__":
    main()
