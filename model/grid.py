"""Run a study's cells, whatever computes them, as far as its allowance goes.

Proportions are taken in rising order: what a network makes of the pool after one
decides what it asks for in the next.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tqdm import tqdm

from model.cell import Lab, Task, finished, perform
from model.ensemble import combined
from model.errors import TrainingError
from model.experiment import Cell, Design, Pool, Selection, cells, order, select
from model.ranking import Evidence, Ranking
from model.selection import NETWORK_STRATEGIES
from model.trace import measures

logger = logging.getLogger(__name__)

Stop = Callable[[], str]
"""Says why no further cell may start, empty while one may."""


class Runner(Protocol):
    """Performs tasks; their results are on disk when it returns."""

    def __call__(self, tasks: Sequence[Task], lab: Lab, stop: Stop) -> None:
        """Perform all tasks, none that begins after ``stop`` says something."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """One cell as one strategy's; strategies with the same cases share it."""

    selection: Selection
    cell: Cell


@dataclass(frozen=True, slots=True)
class Grid:
    """A study as far as it got."""

    runs: tuple[Run, ...]
    """Those whose cells are finished."""
    missing: int
    """Trainings that were not done."""
    rankings: Mapping[str, Ranking]
    """File name -> the manifest that a selection was cut from."""
    stopped_by: str = ""
    """``hours`` or ``carbon``; empty when nothing stopped it."""


@dataclass(slots=True)
class Allowance:
    """How much a study may use: hours of this invocation, grams of CO2 in all."""

    hours: float | None = None
    carbon_g: float | None = None
    clock: Callable[[], float] = time.monotonic
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    def spent(self, lab: Lab, keys: Iterable[str]) -> str:
        """Say which limit is reached, empty when none is.

        Raises
        ------
        TrainingError
            If carbon is limited and the energy of a finished cell is unknown.
        """
        passed_h = (self.clock() - self.started_s) / 3600
        if self.hours is not None and passed_h >= self.hours:
            return "hours"
        if self.carbon_g is None:
            return ""
        records = [r for key in set(keys) if (r := lab.cells.record(key))]
        emitted_g = [_grams(record.footprint.cfp_kg) for record in records]
        return "carbon" if sum(emitted_g) >= self.carbon_g else ""


@dataclass(slots=True)
class _Progress:
    """What is known while a grid runs."""

    design: Design
    pool: Pool
    lab: Lab
    allowance: Allowance
    latest: dict[tuple[str, int], tuple[Selection, tuple[Cell, ...]]] = field(
        default_factory=dict
    )
    rankings: dict[str, Ranking] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    undone: set[str] = field(default_factory=set)
    unasked: int = 0
    """Trainings whose cases nobody can select yet."""

    @property
    def missing(self) -> int:
        """How many trainings are not done; one that strategies share counts once."""
        return len(self.undone) + self.unasked

    def stop(self) -> str:
        """Say which limit is reached by all cells of this grid so far."""
        return self.allowance.spent(self.lab, self.keys)


def run_grid(
    pool: Pool, design: Design, lab: Lab, runner: Runner, allowance: Allowance
) -> Grid:
    """Run every cell that is not finished; return what is, when done or stopped.

    Raises
    ------
    TrainingError
        If carbon is limited and the energy of a finished cell is unknown.
    """
    progress = _Progress(design, pool, lab, allowance)
    for proportion in sorted(set(design.proportions)):
        stage = _stage(proportion, progress)
        tasks = _tasks(stage, progress)
        progress.keys += [task.cell.key for task in tasks]
        open_tasks = [task for task in tasks if not finished(task, lab)]
        logger.info(
            "%.0f %%: %d trainings, %d of them to do",
            100 * proportion,
            len(tasks),
            len(open_tasks),
        )
        if open_tasks and not progress.stop():
            runner(open_tasks, lab, progress.stop)
        done = {task.cell.key for task in tasks if finished(task, lab)}
        progress.runs += [run for run in stage if run.cell.key in done]
        progress.undone |= {task.cell.key for task in tasks} - done
    stopped_by = progress.stop() if progress.missing else ""
    runs, rankings = tuple(progress.runs), progress.rankings
    return Grid(runs, progress.missing, rankings, stopped_by)


def check_measured(lab: Lab) -> None:
    """Check that this machine measures what a cell uses, so that carbon can be limited.

    Raises
    ------
    TrainingError
        If a device in use has no meter.
    """
    if not measures(lab.meters()):
        raise _unmeasured("a device in use whose energy cannot be measured")


def one_by_one(tasks: Sequence[Task], lab: Lab, stop: Stop) -> None:
    """Perform tasks in this process, one after the other."""
    for task in tqdm(tasks, desc="cells", disable=None):
        if stop():
            return
        perform(task, lab)


def _stage(proportion: float, progress: _Progress) -> list[Run]:
    """Return the runs of one proportion; those that lack their evidence are missing."""
    design, runs = progress.design, []
    for strategy in design.strategies:
        for seed in design.seeds:
            ranking = _ranking(strategy, seed, progress)
            if ranking is None:
                progress.unasked += _folds(design)
                continue
            progress.rankings[_file_name(strategy, seed, proportion)] = ranking
            selection = select(progress.pool, ranking, strategy, proportion)
            selection = replace(selection, seed=seed)
            trained = cells(progress.pool, selection, design, str(progress.lab.engine))
            progress.latest[strategy, seed] = (selection, trained)
            runs += [Run(selection, cell) for cell in trained]
    return runs


def _ranking(strategy: str, seed: int, progress: _Progress) -> Ranking | None:
    """Return the ranking of the next stage, None while its evidence is not there."""
    before, trained = progress.latest.get((strategy, seed), (None, ()))
    seen: Mapping[str, Evidence] | None = None
    if strategy in NETWORK_STRATEGIES and before is not None:
        seen = _evidence(trained, progress)
        if seen is None:
            return None
    return order(
        progress.pool, progress.design, strategy, seed, before=before, seen=seen
    )


def _evidence(
    trained: Sequence[Cell], progress: _Progress
) -> dict[str, Evidence] | None:
    """Return what an ensemble of cells makes of every case of the pool."""
    cell_store = progress.lab.cells
    cases = tuple(progress.pool.patients())
    if not all(finished(Task(c, (), cases), progress.lab) for c in trained):
        return None
    keys = [cell.key for cell in trained]
    return {
        case: combined([cell_store.look(key, case) for key in keys], keys)
        for case in cases
    }


def _tasks(stage: Sequence[Run], progress: _Progress) -> list[Task]:
    """Return each cell once, with all that any strategy wants of it."""
    last = max(progress.design.proportions)
    everyone = tuple(progress.pool.patients())
    tasks: dict[str, Task] = {}
    for run in stage:
        asks = run.selection.strategy in NETWORK_STRATEGIES
        looks = everyone if asks and run.selection.proportion < last else ()
        tests = (*run.selection.unselected, *progress.pool.common)
        known = tasks.get(run.cell.key, Task(run.cell, tests))
        tasks[run.cell.key] = replace(known, looks=known.looks or looks)
    return list(tasks.values())


def _folds(design: Design) -> int:
    return design.config.folds if design.only_fold is None else 1


def _file_name(strategy: str, seed: int, proportion: float) -> str:
    if strategy not in NETWORK_STRATEGIES:
        return f"{strategy}-{seed}.json"
    return f"{strategy}-{seed}-{proportion:g}.json"


def _grams(cfp_kg: float | None) -> float:
    if cfp_kg is None:
        raise _unmeasured("a finished cell whose energy could not be measured")
    return 1000 * cfp_kg


def _unmeasured(found: str) -> TrainingError:
    return TrainingError(
        "carbon limit",
        found=found,
        needed="NVML for each GPU in use, readable RAPL for a CPU",
        mend="limit the study by hours instead",
    )
