"""From finished cells to the tables of a study: means, intervals, comparisons.

Two test sets stand side by side. ``unselected`` is the paper's: the pool's cases that a
selection left over, other ones for every strategy, proportion and seed. ``common`` is
the same for all. A case's value is its mean over folds and seeds; patients are drawn
and paired, because they are what is independent.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from model.carbon import Footprint, add
from model.cell import Lab
from model.cell_store import CellRecord, Scored
from model.experiment import Pool
from model.grid import Grid, Run
from model.statistics import Interval, interval

UNSELECTED, COMMON = "unselected", "common"
TEST_SETS = (UNSELECTED, COMMON)
METRICS = (
    "dice",
    "iou",
    "precision",
    "recall",
    "hausdorff_px",
    "hausdorff_mm",
    "hd95_mm",
    "volume_dice",
)
"""All but the last are means over the slices with breast in the reference."""


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


@dataclass(frozen=True, slots=True)
class Row:
    """A strategy at a proportion on one test set: a row of the paper's Table 2."""

    test: str
    proportion: float
    strategy: str
    patients: int
    """Selected, so annotated; the mean over seeds."""
    cells: int
    test_patients: int
    metrics: Mapping[str, Interval]
    seed_sd: float | None
    """Of the mean Dice between seeds; None with one."""
    energy_kwh: float | None
    """Mean of a training; None unless all were measured."""
    cfp_kg: float | None
    duration_s: float
    epochs: float
    annotation_minutes: float


Values = NDArray[np.float64]


def read_study(grid: Grid, pool: Pool, lab: Lab, *, minutes_per_slice: float) -> Study:
    """Return the study of a grid, from the files of its cells."""
    slices = {case: breast_slices(lab, case) for case in pool.infos}
    results = [_result(run, pool, lab) for run in grid.runs]
    done = tuple(result for result in results if result is not None)
    return Study(pool, done, grid.missing, slices, minutes_per_slice)


def breast_slices(lab: Lab, case_id: str) -> int:
    """Return on how many slices of a stored case there is breast."""
    return int(lab.store.mask(case_id).any(axis=(1, 2)).sum())


def means(tested: Scored) -> CaseMeans | None:
    """Return a case's means over slices with breast; None where there is no such."""
    positive = [score for score in tested.slices if score.reference_px > 0]
    if not positive:
        return None
    of_slices = {
        name: fmean(float(getattr(score, name)) for score in positive)
        for name in METRICS[:-1]
    }
    return CaseMeans(
        case_id=tested.case.case_id,
        slices=len(positive),
        volume_dice=tested.case.dice,
        **of_slices,
    )


def rows(study: Study) -> tuple[Row, ...]:
    """Return one row a test set, proportion and strategy, in this order."""
    return tuple(
        _row(test, proportion, strategy, group, study)
        for test in TEST_SETS
        for (proportion, strategy), group in groups(study).items()
        if any(tested_cases(result, test, study.pool) for result in group)
    )


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
    selections = {r.run.selection.seed: r.run.selection.cases for r in group}
    drawn = [sum(study.breast_slices[c] for c in s) for s in selections.values()]
    return fmean(drawn) * study.minutes_per_slice


def _result(run: Run, pool: Pool, lab: Lab) -> Result | None:
    key, record = run.cell.key, lab.cells.record(run.cell.key)
    if record is None:
        return None
    cases = (*run.selection.unselected, *pool.common)
    found = {case: means(lab.cells.test(key, case)) for case in cases}
    scores = {case: scored for case, scored in found.items() if scored is not None}
    return Result(run, record, scores)


def _row(
    test: str, proportion: float, strategy: str, group: Sequence[Result], study: Study
) -> Row:
    metrics = {}
    for metric in METRICS:
        keys, values, weights = by_patient(group, test, metric, study.pool)
        metrics[metric] = interval(values, weights)
    seeds = [mean_of(own, test, "dice", study.pool) for own in by_seed(group).values()]
    parts = [result.record.footprint for result in group]
    return Row(
        test=test,
        proportion=proportion,
        strategy=strategy,
        patients=len(group[0].run.selection.cases),
        cells=len(group),
        test_patients=len(keys),
        metrics=metrics,
        seed_sd=stdev(seeds) if len(seeds) > 1 else None,
        energy_kwh=_mean(part.energy_kwh for part in parts),
        cfp_kg=_mean(part.cfp_kg for part in parts),
        duration_s=fmean(part.duration_s for part in parts),
        epochs=fmean(result.record.epochs for result in group),
        annotation_minutes=minutes(group, study),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean, None where one is unknown."""
    found = list(values)
    known = [value for value in found if value is not None]
    return fmean(known) if len(known) == len(found) else None
