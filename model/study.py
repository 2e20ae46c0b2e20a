"""From finished cells to the tables of a study: means, intervals, comparisons.

Two test sets stand side by side. ``unselected`` is the paper's: the pool's cases that a
selection left over, other ones for every strategy, proportion and seed. ``common`` is
the same for all. A case's value is its mean over folds and seeds; patients are drawn
and paired, because they are what is independent.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from model.carbon import Footprint, add
from model.cell_store import CellRecord
from model.experiment import Pool, annotated_slices
from model.grid import Run

UNSELECTED, COMMON = "unselected", "common"
TEST_SETS = (UNSELECTED, COMMON)
SLICE_METRICS = (
    "dice",
    "iou",
    "precision",
    "recall",
    "hausdorff_px",
    "hausdorff_mm",
    "hd95_mm",
)
METRICS = (*SLICE_METRICS, "volume_dice")

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CaseMeans:
    """One cell's scores of one case."""

    case_id: str
    slices: int
    """Slices with breast in the reference: the weight of their means."""
    dice: float
    iou: float
    precision: float
    recall: float
    hausdorff_px: float
    hausdorff_mm: float
    hd95_mm: float
    volume_dice: float


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run: its training and its scores by case."""

    run: Run
    record: CellRecord
    scores: Mapping[str, CaseMeans]
    slices: Mapping[str, Values]
    """Case -> the slice metrics of each of its slices with breast, (slices, 7)."""

    @property
    def strategy(self) -> str:
        """The strategy that selected its cases."""
        return self.run.selection.strategy

    @property
    def proportion(self) -> float:
        """The share of the pool's patients that was selected."""
        return self.run.selection.proportion


@dataclass(frozen=True, slots=True)
class Study:
    """A grid's results, and what is needed to read them."""

    pool: Pool
    results: tuple[Result, ...]
    missing: int
    breast_slices: Mapping[str, int]
    """Case -> slices that its annotator drew on."""
    minutes_per_slice: float
    """What a site assumes that drawing one slice takes."""
    votes: Mapping[tuple[str, float, int], Mapping[str, float]]
    """Strategy, proportion, seed -> case -> volumetric Dice of the folds' vote."""


def groups(study: Study) -> dict[tuple[float, str], list[Result]]:
    """Return the results of every proportion and strategy, proportions rising."""
    found: dict[tuple[float, str], list[Result]] = defaultdict(list)
    for result in sorted(study.results, key=lambda result: result.proportion):
        found[result.proportion, result.strategy].append(result)
    return dict(found)


def tested_cases(result: Result, test: str, pool: Pool) -> tuple[str, ...]:
    """Return the cases of one test set that a cell has scores for."""
    chosen = pool.common if test == COMMON else result.run.selection.unselected
    return tuple(case for case in chosen if case in result.scores)


def by_patient(
    group: Iterable[Result], test: str, metric: str, pool: Pool
) -> tuple[list[str], Values, Values]:
    """Return patient keys, a metric's mean of each, and their slices.

    A patient's value is the mean over cases, folds and seeds that tested it, weighted
    by slices; the slices are the mean over these.
    """
    sums: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for result in group:
        for case in tested_cases(result, test, pool):
            scores = result.scores[case]
            patient = pool.infos[case].patient_key
            sums[patient].append((getattr(scores, metric), scores.slices))
    keys = sorted(sums)
    weights = [fmean(n for _, n in sums[key]) for key in keys]
    values = [
        sum(v * n for v, n in sums[key]) / sum(n for _, n in sums[key]) for key in keys
    ]
    return keys, np.array(values), np.array(weights)


def mean_of(group: Sequence[Result], test: str, metric: str, pool: Pool) -> float:
    """Return a metric's mean over the slices of a test set."""
    _, values, weights = by_patient(group, test, metric, pool)
    return float((values * weights).sum() / weights.sum())


def by_seed(group: Iterable[Result]) -> dict[int, list[Result]]:
    """Return the results of each seed."""
    found: dict[int, list[Result]] = defaultdict(list)
    for result in group:
        found[result.run.selection.seed].append(result)
    return dict(found)


def total_footprint(group: Sequence[Result]) -> Footprint:
    """Return what the cells of a group emitted, each counted once."""
    cells = {result.record.key: result.record.footprint for result in group}
    return add(tuple(cells.values()))


def minutes(group: Sequence[Result], study: Study) -> float:
    """Return the minutes that drawing a selection takes, the mean over seeds."""
    drawn = [annotated_slices(s, study.breast_slices) for s in selections_of(group)]
    return fmean(drawn) * study.minutes_per_slice


def selections_of(group: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return the cases that each seed selected."""
    return [own[0].run.selection.cases for own in by_seed(group).values()]
