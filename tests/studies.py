"""Small studies: stored cases with BAG features, and a lab whose cells take moments."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from bag_pools import candidate
from cases import GRID_PX, case_info, filled_store, small_network
from report_inputs import used

from model.calibration import Calibration
from model.carbon import Footprint
from model.cell import Lab, Task
from model.cell_store import CellRecord, CellStore
from model.chart import png
from model.comparison import comparisons
from model.dataset import CaseStore, Fold
from model.engine import Engine
from model.experiment import Cell, Design, Pool, Selection, pool_of
from model.grid import Allowance, Grid, Run, Runner, Stop, one_by_one, run_grid
from model.prediction_figures import prediction_rows
from model.progress import TrainConfig
from model.ranking import Candidate
from model.results import read_study
from model.study import CaseMeans, Result, Study
from model.study_files import Document
from model.table import rows
from plugin.reports.experiment import StudyFindings

CONFIG = TrainConfig(
    grid_px=GRID_PX, epochs=2, batch=8, folds=2, learning_rate=0.02, deterministic=True
)


def names(count: int) -> tuple[str, ...]:
    return tuple(f"s{at:02d}" for at in range(count))


def candidates(count: int) -> list[Candidate]:
    rng = np.random.default_rng(0)
    return [
        candidate(name, float(rng.uniform(5, 90)), float(rng.uniform(60, 160)))
        for name in names(count)
    ]


def filled(root: Path, count: int) -> CaseStore:
    return filled_store(root / "cases", names(count))


def lab_at(root: Path, store: CaseStore) -> Lab:
    cells = CellStore(root / "cells")
    return Lab(store, cells, Engine("cpu", "fp32"), network=small_network)


def pool(design: Design, count: int) -> Pool:
    infos = {name: case_info(name) for name in names(count)}
    return pool_of(candidates(count), infos, design)


CASES = 14
GRID = Design(("random", "bag", "uncertainty"), (0.3, 0.6), (0,), CONFIG)
"""Ten cells: uncertainty begins with bag's."""


def whole(store_root: Path, folder: Path, runner: Runner = one_by_one) -> Grid:
    lab = lab_at(folder, CaseStore(store_root))
    return run_grid(pool(GRID, CASES), GRID, lab, runner, Allowance())


def table(store: CaseStore, folder: Path) -> list[object]:
    """The study's rows without what depends on the clock."""
    lab, made = lab_at(folder, store), pool(GRID, CASES)
    grid = run_grid(made, GRID, lab, refuse, Allowance())
    study = read_study(grid, made, lab, minutes_per_slice=1.0)
    return [replace(row, duration_s=0.0) for row in rows(study)]


def refuse(tasks: Sequence[Task], lab: Lab, stop: Stop) -> None:
    raise AssertionError(f"{len(tasks)} finished trainings would be done again")


def records(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every finished training, with what changes when it is written again."""
    found = {path: path.stat() for path in folder.rglob("cell.json")}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


DESIGN = Design(("random", "bag"), (0.25, 0.5), (0, 1), CONFIG)
POOL = pool(DESIGN, 60)  # 12 patients in the common test set
EVERYONE = tuple(POOL.patients())
SLICES = dict.fromkeys(POOL.infos, 4)

DiceOf = Callable[[str, float, int, int], float]
"""Strategy, proportion, seed, number of the case -> Dice."""


def case_means(case: str, dice: float, *, slices: int = 4) -> CaseMeans:
    return CaseMeans(case, slices, dice, dice, dice, dice, 2.0, 4.0, 5 - dice, dice)


def result(
    strategy: str,
    proportion: float,
    seed: int,
    dice: Callable[[int], float],
    *,
    footprint: Footprint | None = None,
) -> Result:
    count = round(proportion * len(EVERYONE))
    start = seed if strategy == "random" else 10
    cases = EVERYONE[start : start + count]
    others = tuple(case for case in EVERYONE if case not in cases)
    tested = (*others, *POOL.common)
    key = f"{strategy}-{proportion}-{seed}"
    record = CellRecord(
        key=key,
        fold=0,
        seed=seed,
        train=cases[1:],
        validation=cases[:1],
        epochs=2,
        best_epoch=1,
        stopped_by="epochs",
        validation_dice=0.9,
        calibration=Calibration(1.0, 0.0, 0.0),
        footprint=footprint or used(3.6e6),
        engine="torch-cpu-fp32",
    )
    return Result(
        Run(
            Selection(strategy, proportion, seed, cases, others),
            Cell(key, Fold(0, cases[1:], cases[:1]), CONFIG),
        ),
        record,
        {case: case_means(case, dice(at)) for at, case in enumerate(tested)},
        {case: np.full((4, 7), dice(at)) for at, case in enumerate(tested)},
    )


def study(
    dice: DiceOf,
    strategies: tuple[str, ...] = ("random", "bag"),
    seeds: Iterable[int] = DESIGN.seeds,
) -> Study:
    results = tuple(
        result(s, p, seed, partial(dice, s, p, seed))
        for s in strategies
        for p in DESIGN.proportions
        for seed in seeds
    )
    return Study(POOL, results, 0, SLICES, 0.5, {})


def noise(at: int, seed: int = 0) -> float:
    return float(np.random.default_rng([at, seed]).normal(0, 0.01))


def findings(made: Study, *, failures: dict[str, str]) -> StudyFindings:
    """Return what the report of a study shows."""
    document = Document(
        version="0",
        design=replace(
            DESIGN, seeds=tuple(sorted({r.record.seed for r in made.results}))
        ),
        engine="torch-cpu-fp32",
        features="boundary",
        data="synthetic, by hand",
        minutes_per_slice=0.5,
        candidates=POOL.candidates,
        sources={},
        common=POOL.common,
        cells=tuple(result.record.key for result in made.results),
    )
    box = np.zeros((5, 16, 16), bool)
    box[1:4, 4:12, 4:12] = True
    image = np.linspace(0, 1, box.size, dtype=np.float32).reshape(box.shape)
    picture = png(prediction_rows(image, box, {"random": box, "bag": ~box}))
    return StudyFindings(
        study=made,
        document=document,
        rows=rows(made),
        comparisons=comparisons(made),
        predictions={"25%, s01": picture},
        failures=failures,
    )
