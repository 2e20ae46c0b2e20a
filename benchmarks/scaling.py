"""How cost grows: with slices, with the matrix, with the pool, and with workers.

    python -m benchmarks.scaling

One run of a few minutes; every axis is a table and a figure, and says the exponent of
the power that fits: 1 is proportional, 0 is no growth. The network's grid is small:
what grows is asked, not how long a slice takes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks.measure import Result, Way, compare, publish
from benchmarks.options import DEFAULT_WEIGHTS, count_option, out_option, repeats_option
from benchmarks.ranking import measured
from benchmarks.scaling_figure import exponent, write_figure
from benchmarks.study import draw_study, write_study
from benchmarks.study_to_seg import weights_for
from model.bag import BagFeatures, TouchRule
from model.preprocess import to_stack
from model.ranking import Candidate
from model.selection import rank
from plugin.engines import Wish, open_checkpoint
from plugin.pipeline import Segmenter, segment_session
from plugin.proofs import Proofs

GRID_PX = 96
STRATEGY = "bag"
SLICES, MATRIX_PX = 32, 256
WORKERS = (1, 2, 4)
STUDIES = 4
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "scaling.png"


def segmenter(weights: Path, cache: Path) -> Segmenter:
    """Return the segmenter in fp32, which all CPUs have."""
    choice = open_checkpoint(weights, Wish(precision="fp32"), Proofs(cache))
    return Segmenter(choice.checkpoint, choice.engine)


def segmented(study: Path, output: Path, ready: Segmenter) -> None:
    """Segment one study in this process."""
    segment_session("bench", study, output, ready)


def study_ways(
    folder: Path, ready: Segmenter, sizes: Sequence[tuple[int, int]]
) -> list[tuple[float, Callable[[], object]]]:
    """Return runs of a study of each (slices, matrix), and which of them differs."""
    found: list[tuple[float, Callable[[], object]]] = []
    differs = 0 if len({slices for slices, _ in sizes}) > 1 else 1
    for size in sizes:
        place = folder / f"{size[0]}x{size[1]}"
        study = (
            place
            if place.exists()
            else write_study(place, slices=size[0], matrix_px=size[1])
        )
        run = partial(segmented, study, folder / "out", ready)
        found.append((size[differs], run))
    return found


def pool(features: BagFeatures, size: int) -> list[Candidate]:
    """Return so many patients, their nearest points and sizes drawn around one's."""
    rng = np.random.default_rng(size)
    near = np.abs(rng.normal(45, 20, size))
    large = np.abs(rng.normal(140, 25, size))
    return [
        Candidate(
            f"case{i:05d}", f"patient{i:05d}", _moved(features, near[i], large[i])
        )
        for i in range(size)
    ]


def _moved(features: BagFeatures, near_mm: float, size_mm: float) -> BagFeatures:
    values = {name: getattr(features, name) for name in BagFeatures.__slots__}
    changed = {"nearest_point_mm": near_mm, "breast_size_mm": size_mm}
    return BagFeatures(**{**values, "rule": TouchRule(), **changed})


def pool_ways(folder: Path, most: int) -> list[tuple[float, Callable[[], object]]]:
    """Return runs of ordering a pool of 10, 100, ... simulated sessions."""
    stack = to_stack(*draw_study(slices=SLICES, matrix_px=MATRIX_PX).phases[:2])
    path = folder / "stack.npy"
    np.save(path, stack.voxels.astype(np.float16))
    features = measured(path, stack.placement)
    sizes = [size for size in (10, 100, 1_000, 10_000) if size <= most]
    return [
        (size, partial(rank, pool(features, size), strategy=STRATEGY, seed=0))
        for size in sizes
    ]


def _work(study: Path, output: Path, weights: Path, cache: Path) -> None:
    segmented(study, output, segmenter(weights, cache))


def crew(study: Path, folder: Path, weights: Path, workers: int) -> None:
    """Segment some studies by so many processes, each of which starts and ends."""
    # A fork would inherit the threads of OpenVINO, and might wait for them for ever.
    with ProcessPoolExecutor(workers, get_context("spawn")) as processes:
        waiting = [
            processes.submit(_work, study, folder / f"w{n}", weights, folder / "cache")
            for n in range(STUDIES)
        ]
        for one in waiting:
            one.result()


def asked(
    question: str,
    unit: str,
    ways: Sequence[tuple[float, Callable[[], object]]],
    *,
    work: str,
    repeats: int,
) -> Result:
    """Return the cost at every size, and the exponent of its growth as a note."""
    found = compare(
        question,
        [Way(f"{size:g} {unit}", run) for size, run in ways],
        repeats=repeats,
        work=work,
    )
    sizes = [size for size, _ in ways]
    power = exponent(sizes, [timing.median_s for timing in found.timings])
    note = f"Cost grows with the power {power:.2f} of the number of {unit}"
    return replace(found, notes=(note,))


def axes(
    folder: Path, *, slices: int, matrix: int, most: int, repeats: int
) -> Iterator[tuple[str, Result]]:
    """Yield the result of every axis, the largest sizes given."""
    weights = weights_for(GRID_PX, DEFAULT_WEIGHTS, folder)
    ready = segmenter(weights, folder / "cache")
    whole = f"a study to its DICOM-SEG, warm, network grid {GRID_PX}"
    by_slices = [(n, MATRIX_PX) for n in (16, 32, 64, 128, 256) if n <= slices]
    yield (
        "slices",
        asked(
            "how cost grows with slices",
            "slices",
            study_ways(folder, ready, by_slices),
            work=f"{whole}, {MATRIX_PX} x {MATRIX_PX} px",
            repeats=repeats,
        ),
    )
    by_matrix = [(SLICES, n) for n in (128, 256, 512, 1024) if n <= matrix]
    yield (
        "matrix",
        asked(
            "how cost grows with the matrix",
            "rows",
            study_ways(folder, ready, by_matrix),
            work=f"{whole}, 2 x {SLICES} slices",
            repeats=repeats,
        ),
    )
    yield (
        "pool",
        asked(
            "how cost grows with the sessions of a pool",
            "sessions",
            pool_ways(folder, most),
            work=f"the whole order by '{STRATEGY}', simulated features",
            repeats=repeats,
        ),
    )
    study = write_study(folder / "one", slices=SLICES, matrix_px=MATRIX_PX)
    yield (
        "workers",
        asked(
            "how cost changes with workers",
            "workers",
            [(n, partial(crew, study, folder, weights, n)) for n in WORKERS],
            work=f"{STUDIES} studies, each worker a process that starts anew",
            repeats=1,
        ),
    )


@click.command()
@count_option("--slices", 128, "Slices of the largest study.")
@count_option("--matrix", 512, "Rows of the largest study.")
@count_option("--most", 10_000, "Sessions of the largest pool.")
@repeats_option(3)
@out_option
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, path_type=Path),
    default=FIGURE,
    help="Where the figure goes; docs/images/scaling.png by default.",
)
def main(out: Path, figure: Path, **sizes: int) -> None:
    """Measure all four axes and draw them."""
    results = {}
    with TemporaryDirectory() as place:
        for name, result in axes(Path(place), **sizes):
            publish(result, out, f"scaling-{name}")
            results[name] = result
    write_figure(results, figure)


if __name__ == "__main__":
    main()
