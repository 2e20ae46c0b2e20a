"""The table of a study: one row a test set, proportion and strategy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from model.experiment import Pool
from model.picking import LENGTHS_MM, ROBUST_STEPS, places_of, points
from model.statistics import Interval, interval
from model.study import (
    METRICS,
    TEST_SETS,
    Result,
    Study,
    by_patient,
    by_seed,
    groups,
    mean_of,
    minutes,
    selections_of,
    tested_cases,
)


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
    vote_dice: float | None
    """Mean volumetric Dice of the folds' vote; None where one fold was trained."""
    bag_gap: float
    """Mean distance of the pool's cases to the nearest selected one, robust SD."""
    seed_sd: float | None
    """Of the mean Dice between seeds; None with one."""
    energy_kwh: float | None
    """Mean of a training; None unless all were measured."""
    cfp_kg: float | None
    duration_s: float
    epochs: float
    annotation_minutes: float


def rows(study: Study) -> tuple[Row, ...]:
    """Return one row a test set, proportion and strategy, in this order."""
    return tuple(
        _row(test, proportion, strategy, group, study)
        for test in TEST_SETS
        for (proportion, strategy), group in groups(study).items()
        if any(tested_cases(result, test, study.pool) for result in group)
    )


def bag_gap(pool: Pool, cases: Sequence[str]) -> float:
    """Return how far the pool's cases are from the nearest of ``cases``, on average.

    City blocks in the plane of nearest point and breast size, in robust SD of each.
    """
    where = points(pool.candidates, tuple(LENGTHS_MM)) / ROBUST_STEPS
    chosen = places_of(pool.candidates, cases)
    gaps = np.abs(where[:, None] - where[chosen]).sum(axis=2)
    return float(gaps.min(axis=1).mean())


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
        vote_dice=_vote_dice(group, test, study),
        bag_gap=fmean(bag_gap(study.pool, s) for s in selections_of(group)),
        seed_sd=stdev(seeds) if len(seeds) > 1 else None,
        energy_kwh=_mean(part.energy_kwh for part in parts),
        cfp_kg=_mean(part.cfp_kg for part in parts),
        duration_s=fmean(part.duration_s for part in parts),
        epochs=fmean(result.record.epochs for result in group),
        annotation_minutes=minutes(group, study),
    )


def _vote_dice(group: Sequence[Result], test: str, study: Study) -> float | None:
    found: list[float] = []
    for result in group:
        of = result.run.selection
        votes = study.votes.get((of.strategy, of.proportion, of.seed), {})
        cases = tested_cases(result, test, study.pool)
        found += [votes[case] for case in cases if case in votes]
    return fmean(found) if found else None


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean, None where one is unknown."""
    found = list(values)
    known = [value for value in found if value is not None]
    return fmean(known) if len(known) == len(found) else None
