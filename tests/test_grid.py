"""Cells and grids: trained once, tested on everyone left over, continued anywhere."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_inputs import used
from studies import (
    CASES,
    CONFIG,
    GRID,
    filled,
    lab_at,
    pool,
    records,
    refuse,
    table,
    whole,
)

from model import cell
from model.cell import Task, finished, perform
from model.dataset import CaseStore
from model.errors import StoreError, TrainingError
from model.experiment import Design, Pool, cells, order, select
from model.grid import Allowance, check_measured, one_by_one, run_grid
from model.power import Unmetered
from model.results import read_study

SCRIPT = """
import sys
from pathlib import Path
from studies import whole
whole(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    return filled(tmp_path_factory.mktemp("store"), CASES)


@pytest.fixture(scope="module")
def done(store: CaseStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    whole(store.root, folder)
    return folder


def some_task(made: Pool, design: Design = GRID) -> Task:
    chosen = select(made, order(made, design, "bag", 0), "bag", 0.3)
    first = cells(made, chosen, design, "torch-cpu-fp32")[0]
    return Task(first, (*chosen.unselected, *made.common))


def test_a_cell_is_tested_on_every_case_of_other_patients(
    store: CaseStore, tmp_path: Path
) -> None:
    lab, made = lab_at(tmp_path, store), pool(GRID, CASES)
    task = some_task(made)
    assert not finished(task, lab)
    perform(task, lab)
    assert finished(task, lab)
    record = lab.cells.record(task.cell.key)
    assert record is not None
    assert set(record.train) | set(record.validation) | set(task.tests) == set(
        made.infos
    )
    assert record.epochs == CONFIG.epochs
    tested = lab.cells.test(task.cell.key, task.tests[0])
    truth = store.mask(task.tests[0])
    dice = 2 * (tested.mask & truth).sum() / (tested.mask.sum() + truth.sum())
    assert tested.case.dice == pytest.approx(dice)


def test_further_tests_need_no_further_training(
    store: CaseStore, tmp_path: Path
) -> None:
    lab, made = lab_at(tmp_path, store), pool(GRID, CASES)
    task = some_task(made)
    perform(replace(task, tests=task.tests[:1]), lab)
    before = (lab.cells.folder(task.cell.key) / "cell.json").stat()
    perform(replace(task, looks=task.tests[:2]), lab)
    assert (lab.cells.folder(task.cell.key) / "cell.json").stat() == before
    assert finished(replace(task, looks=task.tests[:2]), lab)
    seen = lab.cells.look(task.cell.key, task.tests[1])
    assert seen.entropy is not None
    assert len(seen.embedding) == 32
    tested = lab.cells.test(task.cell.key, task.tests[1])
    assert np.array_equal(seen.masks[0], tested.mask)


def test_a_case_drawn_anew_is_tested_anew(store: CaseStore, tmp_path: Path) -> None:
    own = filled(tmp_path, CASES)
    lab, made = lab_at(tmp_path, own), pool(GRID, CASES)
    task = some_task(made)
    perform(task, lab)
    case = task.tests[0]
    changed = replace(own.info(case), source_key="drawn anew")
    own.put(changed, own.stack(case)[:], ~own.mask(case))
    assert not finished(task, lab)
    perform(task, lab)
    assert finished(task, lab)
    assert lab.cells.test(task.cell.key, case).case.dice < 0.9


def test_weights_that_were_deleted_are_missed_only_when_needed(
    store: CaseStore, tmp_path: Path
) -> None:
    lab, made = lab_at(tmp_path, store), pool(GRID, CASES)
    task = some_task(made)
    perform(task, lab)
    (lab.cells.folder(task.cell.key) / "weights.safetensors").unlink()
    perform(task, lab)
    with pytest.raises(StoreError, match="no weights beside a finished training"):
        perform(replace(task, looks=task.tests), lab)


def test_a_grid_runs_every_cell_once_and_knows_it_again(
    store: CaseStore, done: Path
) -> None:
    grid = whole(store.root, done)
    # 2 folds x 2 proportions x 3 strategies; uncertainty begins with bag's cells.
    assert (len(grid.runs), grid.missing) == (12, 0)
    assert len({run.cell.key for run in grid.runs}) == 10
    assert len(table(store, done)) == 2 * 2 * 3
    names = {"bag-0.json", "random-0.json"} | {
        f"uncertainty-0-{p}.json" for p in ("0.3", "0.6")
    }
    assert set(grid.rankings) == names
    first = {run.selection.cases for run in grid.runs if run.selection.proportion < 0.5}
    asked = grid.rankings["uncertainty-0-0.6.json"]
    assert asked.first in first
    assert all(c.evidence and c.evidence.members == 4 for c in asked.candidates)


def test_a_row_tells_the_vote_of_its_folds(store: CaseStore, done: Path) -> None:
    made, lab = pool(GRID, CASES), lab_at(done, store)
    grid = run_grid(made, GRID, lab, refuse, Allowance())
    study = read_study(grid, made, lab, minutes_per_slice=1.0)
    votes = study.votes["bag", 0.3, 0]
    keys = [r.cell.key for r in grid.runs if r.selection.strategy == "bag"][:2]
    case = made.common[0]
    # Two folds: a pixel is voted for when both masks hold it.
    both = np.logical_and(*(lab.cells.test(key, case).mask for key in keys))
    truth = store.mask(case)
    dice = 2 * (both & truth).sum() / (both.sum() + truth.sum())
    assert votes[case] == pytest.approx(dice)


def test_an_hour_less_than_needed_is_said_and_gone_on_from(
    store: CaseStore, done: Path, tmp_path: Path
) -> None:
    hours = iter([0, *range(100)])
    allowance = Allowance(hours=4, clock=lambda: 3600.0 * next(hours))
    lab, made = lab_at(tmp_path, store), pool(GRID, CASES)
    grid = run_grid(made, GRID, lab, one_by_one, allowance)
    assert grid.stopped_by == "hours"
    done_now = {run.cell.key for run in grid.runs}
    assert 0 < len(done_now) < 10
    assert len(done_now) + grid.missing == 10, "one that two strategies share is one"
    rest = whole(store.root, tmp_path)
    assert (len(rest.runs), rest.missing, rest.stopped_by) == (12, 0, "")
    assert table(store, tmp_path) == table(store, done)


@pytest.mark.parametrize("meters", [(), (Unmetered("GPU-1"),)])
def test_a_carbon_limit_without_a_meter_is_refused(
    store: CaseStore,
    tmp_path: Path,
    meters: tuple[Unmetered, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cell, "find_meters", lambda **_: meters)
    with pytest.raises(TrainingError, match="limit the study by hours"):
        check_measured(lab_at(tmp_path, store))


def test_carbon_is_summed_over_all_cells_each_once(
    store: CaseStore, done: Path, tmp_path: Path
) -> None:
    before, lab = lab_at(done, store), lab_at(tmp_path, store)
    keys = [path.parent.name for path in records(done)]
    emitted = used(3.6e6 / 475)  # one gram a cell
    for key in keys:
        record = before.cells.record(key)
        assert record is not None
        lab.cells.keep_record(replace(record, footprint=emitted))
    assert Allowance(carbon_g=10.001).spent(lab, keys * 2) == ""
    assert Allowance(carbon_g=9.999).spent(lab, keys * 2) == "carbon"


@pytest.mark.slow
def test_a_grid_killed_in_the_middle_ends_as_if_it_had_not_been(
    store: CaseStore, done: Path, tmp_path: Path
) -> None:
    script = [sys.executable, "-c", SCRIPT, str(store.root), str(tmp_path)]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(script, env=environment)
    deadline = time.monotonic() + 120
    while len(records(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the grid ended before the kill"
    before = records(tmp_path)
    assert 3 <= len(before) < 10
    whole(store.root, tmp_path)
    assert before.items() <= records(tmp_path).items(), "a cell was trained twice"
    assert table(store, tmp_path) == table(store, done)
    assert not list(tmp_path.rglob("*.part"))
