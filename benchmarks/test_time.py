"""What each step after the network is worth: Dice, ends, and false area, by phantom.

    python -m benchmarks.test_time CHECKPOINT.safetensors --cases 40

Every phantom is segmented once as it is and once mirrored; all refinements of
``model.refine`` are then tried on the same probabilities.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.checkpoint import end_slices
from model.checkpoint import Checkpoint, read_checkpoint
from model.engine import Engine
from model.inference import THRESHOLD, predict
from model.metrics import overlap
from model.phantom import draw_patient, draw_site, make_case
from model.preprocess import mask_to_stack, to_stack
from model.refine import Refinement, mirror_image, refine

ENGINE = Engine("cpu", "fp32")
NOTHING = Refinement()
STEPS: Mapping[str, Refinement] = {
    "nothing": NOTHING,
    "mirror averaged": Refinement(mirrored=True),
    "smooth 2 mm": Refinement(smooth_mm=2.0),
    "smooth 4 mm": Refinement(smooth_mm=4.0),
    "smooth 8 mm": Refinement(smooth_mm=8.0),
    "islands removed": Refinement(islands=True),
    "holes filled": Refinement(holes=True),
    "smooth 4 mm, islands, holes": Refinement(smooth_mm=4.0, islands=True, holes=True),
    "all, mirror averaged": Refinement(
        mirrored=True, smooth_mm=4.0, islands=True, holes=True
    ),
}
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One phantom: its truth, and what the network says both ways."""

    seed: int
    truth: Mask
    plain: NDArray[np.float32]
    mirrored: NDArray[np.float32]
    slice_mm: float

    @property
    def flip_dice(self) -> float:
        """Return how far the network agrees with its mirror image."""
        return overlap(self.plain >= THRESHOLD, self.mirrored >= THRESHOLD).dice


@dataclass(frozen=True, slots=True)
class Score:
    """One phantom under one refinement."""

    dice: float
    ends_dice: float | None
    """Of the slices around the breast's ends, as ``benchmarks.checkpoint`` has them."""
    false_share: float | None
    """Of the area of the slices without breast."""


def segment(seed: int, network: nn.Module, grid_px: int) -> Case:
    """Draw the phantom of a seed and let the network see it both ways."""
    rng = np.random.default_rng(seed)
    site = draw_site(rng, slices=40, matrix_px=160)
    phantom = make_case(draw_patient(rng), site, seed=seed)
    pre, post = phantom.phases[:2]
    stack = to_stack(pre, post, grid_px=grid_px)
    look = partial(predict, network=network, engine=ENGINE)
    both = pre.with_array((phantom.right | phantom.left).astype(np.uint8))
    return Case(
        seed,
        mask_to_stack(both, stack),
        look(stack.voxels),
        mirror_image(look, stack.voxels),
        stack.placement.slice_mm,
    )


def score(case: Case, steps: Refinement) -> Score:
    """Return a phantom's scores under one refinement."""
    averaged = (case.plain + case.mirrored) / np.float32(2)
    probability = averaged if steps.mirrored else case.plain
    alone = replace(steps, mirrored=False)
    found = refine(probability, case.slice_mm, alone) >= THRESHOLD
    filled = np.array([plane.any() for plane in case.truth])
    ends = end_slices(filled, case.slice_mm)
    return Score(
        dice=overlap(found, case.truth).dice,
        ends_dice=overlap(found[ends], case.truth[ends]).dice if ends.any() else None,
        false_share=float(found[~filled].mean()) if not filled.all() else None,
    )


def summary(scores: Sequence[Score]) -> dict[str, float]:
    """Return the headline of one refinement."""
    dice = [s.dice for s in scores]
    ends = [s.ends_dice for s in scores if s.ends_dice is not None]
    false = [s.false_share for s in scores if s.false_share is not None]
    return {
        "dice_mean": float(np.mean(dice)),
        "dice_p5": float(np.percentile(dice, 5)),
        "ends_dice_mean": float(np.mean(ends)),
        "false_area_percent": 100 * float(np.mean(false)),
    }


def report(cases: Sequence[Case], checkpoint: Checkpoint, out: Path) -> None:
    """Print one line per refinement, and write all scores as JSON."""
    print("| refinement | Dice mean | Dice 5 % | ends | false area, % |")
    print("|---|---|---|---|---|")
    scores = {name: [score(c, s) for c in cases] for name, s in STEPS.items()}
    for name, row in scores.items():
        line = summary(row)
        print(f"| {name} | " + " | ".join(f"{v:.4f}" for v in line.values()) + " |")
    flips = [c.flip_dice for c in cases]
    print(f"flip Dice: median {np.median(flips):.3f}, lowest {min(flips):.3f}")
    document = {
        "weights_sha256": checkpoint.manifest.weights_sha256,
        "flip_dice": {c.seed: c.flip_dice for c in cases},
        "scores": {name: [asdict(s) for s in row] for name, row in scores.items()},
    }
    out.write_text(json.dumps(document, indent=1) + "\n")


@click.command()
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--cases", default=40, show_default=True, help="Phantoms to draw.")
@click.option("--seed", default=940000, show_default=True, help="Of the first one.")
@click.option("--out", default="test_time.json", type=click.Path(path_type=Path))
def main(weights: Path, cases: int, seed: int, out: Path) -> None:
    """Try every refinement on the phantoms of the seeds."""
    checkpoint = read_checkpoint(weights)
    grid_px = checkpoint.manifest.grid_px
    numbers = range(seed, seed + cases)
    found = [segment(number, checkpoint.network, grid_px) for number in numbers]
    report(found, checkpoint, out)


if __name__ == "__main__":
    main()
