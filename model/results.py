"""From the files of finished cells to a study."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from model.cell import Lab
from model.cell_store import Scored
from model.ensemble import voted
from model.experiment import Pool, Selection
from model.grid import Grid, Run
from model.metrics import overlap
from model.study import SLICE_METRICS, CaseMeans, Result, Study, Values


def read_study(grid: Grid, pool: Pool, lab: Lab, *, minutes_per_slice: float) -> Study:
    """Return the study of a grid, from the files of its cells."""
    drawn = {case: breast_slices(lab, case) for case in pool.infos}
    known: dict[str, dict[str, Scored]] = defaultdict(dict)
    results = []
    for run in grid.runs:
        of_cell = known[run.cell.key]
        for case in (*run.selection.unselected, *pool.common):
            if case not in of_cell:
                of_cell[case] = lab.cells.test(run.cell.key, case)
        results.append(_result(run, of_cell, lab))
    votes = _votes(grid.runs, known, lab)
    return Study(pool, tuple(results), grid.missing, drawn, minutes_per_slice, votes)


def breast_slices(lab: Lab, case_id: str) -> int:
    """Return on how many slices of a stored case there is breast."""
    return int(lab.store.mask(case_id).any(axis=(1, 2)).sum())


def slice_values(scored: Scored) -> Values:
    """Return the metrics of a case's slices with breast, (slices, 7)."""
    positive = [score for score in scored.slices if score.reference_px > 0]
    values = [[getattr(score, name) for name in SLICE_METRICS] for score in positive]
    return np.array(values, float).reshape(-1, len(SLICE_METRICS))


def means(scored: Scored) -> CaseMeans | None:
    """Return a case's means over slices with breast; None where there is no such."""
    values = slice_values(scored)
    if not len(values):
        return None
    of_slices = dict(zip(SLICE_METRICS, values.mean(axis=0).tolist(), strict=True))
    return CaseMeans(
        case_id=scored.case.case_id,
        slices=len(values),
        volume_dice=scored.case.dice,
        **of_slices,
    )


def _result(run: Run, scored: Mapping[str, Scored], lab: Lab) -> Result:
    record = lab.cells.record(run.cell.key)
    if record is None:  # a grid holds finished cells
        raise LookupError(run.cell.key)
    found = {case: means(one) for case, one in scored.items()}
    return Result(
        run,
        record,
        {case: one for case, one in found.items() if one is not None},
        {case: slice_values(one) for case, one in scored.items()},
    )


def _votes(
    runs: Sequence[Run], known: Mapping[str, Mapping[str, Scored]], lab: Lab
) -> dict[tuple[str, float, int], dict[str, float]]:
    """Return the Dice of each cross-validation's vote, where it has several folds."""
    folds: dict[Selection, list[str]] = defaultdict(list)
    for run in runs:
        folds[run.selection].append(run.cell.key)
    return {
        (of.strategy, of.proportion, of.seed): {
            case: overlap(
                voted([known[key][case].mask for key in keys]), lab.store.mask(case)
            ).dice
            for case in known[keys[0]]
        }
        for of, keys in folds.items()
        if len(keys) > 1
    }
