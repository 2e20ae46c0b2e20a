"""Is a strategy better than chance: paired tests and effects.

Only seeds and folds that both were trained with are compared. Pairs are patients that
both were tested on, each averaged over folds and seeds. P values are corrected (Holm)
over all strategies and proportions compared with one baseline on one test set. They
say how far other patients would show the same, not how far other trainings would: for
that stand the seeds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from model.statistics import LEAST_PAIRS, Paired, holm, paired
from model.study import (
    COMMON,
    TEST_SETS,
    UNSELECTED,
    Result,
    Study,
    by_patient,
    by_seed,
    groups,
    mean_of,
    minutes,
    tested_cases,
    total_footprint,
)
from model.verdict import Comparison

BASELINES = ("random", "stratified-random")


def comparisons(study: Study) -> tuple[Comparison, ...]:
    """Return every strategy against every baseline that the study holds."""
    found: list[Comparison] = []
    for test in TEST_SETS:
        for baseline in BASELINES:
            found += _corrected(_family(test, baseline, study))
    return tuple(found)


def headline_test(study: Study) -> str:
    """Return the test set that verdicts rest on: the common one, if it can tell."""
    infos = study.pool.infos
    patients = {infos[case].patient_key for case in study.pool.common}
    return COMMON if len(patients) >= LEAST_PAIRS else UNSELECTED


def _family(
    test: str, baseline: str, study: Study
) -> list[tuple[Comparison, float | None]]:
    """Return the comparisons corrected together, each with its HD95's p."""
    of = groups(study)
    pairs = [
        _matched(of[proportion, strategy], of[proportion, baseline])
        for proportion, strategy in of
        if strategy != baseline and (proportion, baseline) in of
    ]
    return [
        _compare(ours, theirs, test, study)
        for ours, theirs in pairs
        if any(tested_cases(result, test, study.pool) for result in ours)
    ]


def _matched(
    ours: Sequence[Result], theirs: Sequence[Result]
) -> tuple[list[Result], list[Result]]:
    """Return the results of those seeds and folds that both were trained with."""
    both = set(map(_training, ours)) & set(map(_training, theirs))
    return (
        [result for result in ours if _training(result) in both],
        [result for result in theirs if _training(result) in both],
    )


def _training(result: Result) -> tuple[int, int]:
    return result.run.selection.seed, result.record.fold


def _compare(
    ours: Sequence[Result], theirs: Sequence[Result], test: str, study: Study
) -> tuple[Comparison, float | None]:
    dice = _paired(ours, theirs, test, "dice", study)
    hd95 = _paired(ours, theirs, test, "hd95_mm", study)
    better = _seed_signs(ours, theirs, test, study)
    comparison = Comparison(
        test=test,
        proportion=ours[0].proportion,
        strategy=ours[0].strategy,
        baseline=theirs[0].strategy,
        pairs=dice.pairs,
        dice=dice.difference,
        p=dice.p,
        p_holm=None,
        rank_biserial=dice.rank_biserial,
        seeds_better=sum(better),
        seeds=len(better),
        same_cases=_cells(ours) == _cells(theirs),
        hd95_mm=hd95.difference,
        hd95_p_holm=None,
        energy_kwh=_energy_difference(ours, theirs),
        annotation_minutes=minutes(ours, study) - minutes(theirs, study),
        minutes_saved=_minutes_saved(ours, theirs, test, study),
    )
    return comparison, hd95.p


def _corrected(
    family: Sequence[tuple[Comparison, float | None]],
) -> list[Comparison]:
    dice = iter(holm([one.p for one, _ in family if one.p is not None]))
    hd95 = iter(holm([p for _, p in family if p is not None]))
    return [
        replace(
            one,
            p_holm=None if one.p is None else next(dice),
            hd95_p_holm=None if p is None else next(hd95),
        )
        for one, p in family
    ]


def _paired(
    ours: Iterable[Result],
    theirs: Iterable[Result],
    test: str,
    metric: str,
    study: Study,
) -> Paired:
    """Compare on the patients that both were tested on."""
    keys, values, _ = by_patient(ours, test, metric, study.pool)
    others = dict(zip(*by_patient(theirs, test, metric, study.pool)[:2], strict=True))
    both = [
        (value, others[key])
        for key, value in zip(keys, values, strict=True)
        if key in others
    ]
    if not both:
        return Paired(0, None, None, None)
    first, second = np.array(both).T
    return paired(first, second)


def _seed_signs(
    ours: Sequence[Result], theirs: Sequence[Result], test: str, study: Study
) -> list[bool]:
    """Say for each seed whether its mean Dice is higher."""
    mine, others = by_seed(ours), by_seed(theirs)
    return [
        mean_of(mine[seed], test, "dice", study.pool)
        > mean_of(others[seed], test, "dice", study.pool)
        for seed in mine
        if seed in others
    ]


def _cells(group: Iterable[Result]) -> set[str]:
    return {result.record.key for result in group}


def _energy_difference(
    ours: Sequence[Result], theirs: Sequence[Result]
) -> float | None:
    totals = [total_footprint(group).energy_kwh for group in (ours, theirs)]
    if None in totals:
        return None
    mine, others = (
        (total or 0.0) / len(_cells(group))
        for total, group in zip(totals, (ours, theirs), strict=True)
    )
    return mine - others


def _minutes_saved(
    ours: Sequence[Result], theirs: Sequence[Result], test: str, study: Study
) -> float | None:
    """Return the minutes less that ours needs for the baseline's mean Dice."""
    target = mean_of(theirs, test, "dice", study.pool)
    curve = [
        (minutes(group, study), mean_of(group, test, "dice", study.pool))
        for (_, strategy), group in groups(study).items()
        if strategy == ours[0].strategy
        and any(tested_cases(result, test, study.pool) for result in group)
    ]
    needed = minutes_for(curve, target)
    return None if needed is None else minutes(theirs, study) - needed


def minutes_for(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    """Return where a curve of (minutes, Dice), minutes rising, first reaches a Dice.

    Between two points it is a line; before the first nothing is known, so a target
    below that takes the first one's minutes. None where it is never reached.
    """
    if curve and curve[0][1] >= target:
        return curve[0][0]
    for (start, low), (end, high) in pairwise(curve):
        if high >= target:
            return start + (target - low) / (high - low) * (end - start)
    return None
