"""Share of mask voxels on the wrong side of the mid-line, over phantoms.

    python -m benchmarks.sides --cases 16 --seed 61000

Each drawn patient is imaged as she is, rolled, shifted, and with one breast; each of
these also askew by 10 degrees about the anterior-posterior axis. The mask's two sides
are known; their union is split by one column for all slices, and by the line that
``model.sides`` draws through the slices.
"""

from collections.abc import Callable
from dataclasses import replace

import click
import numpy as np
from numpy.typing import NDArray

from model.front import front_rows, midline, profile
from model.phantom import Patient, PhantomCase, Side, draw_patient, draw_site, make_case
from model.sides import MIN_SLICES, find_mid_columns, split

ASKEW_DEG = 10.0
Mask = NDArray[np.bool_]
Change = Callable[[Patient, np.random.Generator], Patient]


def _rolled(patient: Patient, rng: np.random.Generator) -> Patient:
    return replace(patient, roll_deg=float(rng.choice([-1, 1]) * rng.uniform(4, 10)))


def _shifted(patient: Patient, rng: np.random.Generator) -> Patient:
    return replace(patient, shift_x_mm=float(rng.choice([-1, 1]) * rng.uniform(12, 28)))


def _one_sided(patient: Patient, rng: np.random.Generator) -> Patient:
    side = list(Side)[int(rng.integers(2))]
    return replace(patient, mastectomy=side, lesion=None, implants=())


KINDS: dict[str, Change] = {
    "as drawn": lambda patient, _: replace(patient, mastectomy=None),
    "rolled 4-10 degrees": _rolled,
    "shifted 12-28 mm": _shifted,
    "one breast": _one_sided,
}


def image(seed: int, change: Change) -> PhantomCase:
    """Draw the patient of a seed, change her, and image her."""
    rng = np.random.default_rng(seed)
    site = draw_site(rng, slices=40, matrix_px=160)
    patient = change(draw_patient(rng), np.random.default_rng([seed, 1]))
    return make_case(patient, site, seed=seed)


def askew(mask: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return the mask with every slice moved along a slanted mid-line."""
    slice_mm, _, column_mm = spacing_mm
    off_mm = (np.arange(len(mask)) - len(mask) / 2) * slice_mm
    steps = np.rint(np.tan(np.deg2rad(ASKEW_DEG)) * off_mm / column_mm).astype(int)
    return np.stack([np.roll(m, s, axis=1) for m, s in zip(mask, steps, strict=True)])


def one_column(mask: Mask) -> int:
    """Return the mid column of the volume as a whole."""
    rows = mask.shape[1]
    line = profile(front_rows(mask), min_slices=MIN_SLICES, depth_px=rows)
    return round(midline(line, depth_px=rows))


def wrong_share(right: Mask, left: Mask, cuts: NDArray[np.intp] | int) -> float:
    """Return the share of voxels that a cut gives to the other side."""
    union = right | left
    found, other = split(union, cuts)
    return float(((found & left) | (other & right)).sum() / union.sum())


def compare(case: PhantomCase, *, is_askew: bool = False) -> tuple[float, float]:
    """Return the wrong shares of one column and of the line."""
    spacing_mm = case.phases[0].spacing
    right, left = case.right, case.left
    if is_askew:
        right, left = askew(right, spacing_mm), askew(left, spacing_mm)
    union = right | left
    line = find_mid_columns(union, spacing_mm)
    return (
        wrong_share(right, left, one_column(union)),
        wrong_share(right, left, line),
    )


@click.command()
@click.option("--cases", default=16, show_default=True, help="Phantoms of each kind.")
@click.option("--seed", default=61000, show_default=True, help="Of the first one.")
def main(cases: int, seed: int) -> None:
    """Print mean and worst wrong share in per cent, before and after."""
    print("kind, askew: one column mean (worst), line mean (worst), in %")
    for name, change in KINDS.items():
        images = [image(seed + k, change) for k in range(cases)]
        for is_askew in (False, True):
            shares = np.array([compare(c, is_askew=is_askew) for c in images]) * 100
            (before, after), (worst, worst_after) = shares.mean(0), shares.max(0)
            print(
                f"{name}, {ASKEW_DEG if is_askew else 0:g} degrees: "
                f"{before:.3f} ({worst:.2f}), {after:.3f} ({worst_after:.2f})"
            )


if __name__ == "__main__":
    main()
