"""What ranking costs: one session from its stored stack to its features.

    python -m benchmarks.ranking

How the order's cost grows with the pool is one of the axes of `benchmarks.scaling`.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks.measure import Limit, Result, Way, compare, publish, timed
from benchmarks.options import count_option, out_option, repeats_option
from benchmarks.study import draw_study
from model.bag import BagFeatures, measure
from model.boundary import find_region
from model.preprocess import Placement, to_stack

GRID_PX = 256
HALF = 0.5


def measured(path: Path, placement: Placement) -> BagFeatures:
    """Return the features of a stored stack, as `brs rank` measures them."""
    stored = np.load(path, mmap_mode="r")
    region = find_region(stored[:, 0].astype(np.float32), placement)
    return measure(region.mask, placement, source="boundary")


def rate(session: Result, read_s: float) -> tuple[str, ...]:
    """Return how many sessions a second are measured, and what share is reading."""
    took_s = session.timings[-1].median_s
    share = read_s / took_s
    return (
        f"{1 / took_s:.3g} sessions a second, {1_000 * took_s:.0f} s for 1,000, in one"
        f" process by the body's boundary; {share:.1%} of that is reading, so"
        f" {'reading' if share > HALF else 'computing'} is what limits it",
        "Reading DICOM comes on top, and with a checkpoint's masks the network",
    )


@click.command()
@count_option("--slices", 160, "Slices of the session that is measured.")
@repeats_option(3)
@out_option
def main(slices: int, repeats: int, out: Path) -> None:
    """Time one session."""
    stack = to_stack(*draw_study(slices=slices, matrix_px=512).phases[:2])
    with TemporaryDirectory() as place:
        path = Path(place) / "stack.npy"
        np.save(path, stack.voxels.astype(np.float16))
        read_s = min(timed(lambda: np.load(path)) for _ in range(3))
        session = compare(
            "one session from its stored stack to its features",
            [Way("brs", lambda: measured(path, stack.placement))],
            repeats=repeats,
            work=f"{slices} slices of {GRID_PX} x {GRID_PX} px, float16",
            limit=Limit("reading the stack, page cache warm", read_s),
        )
    publish(replace(session, notes=rate(session, read_s)), out, "ranking-session")


if __name__ == "__main__":
    main()
