"""`brs experiment` on phantoms: gathered, trained, tested, told, and done again."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import small_network
from click.testing import CliRunner
from studies import CONFIG

from model import cell
from model.comparison import SIGNIFICANCE
from model.engine import Engine
from model.errors import LeakageError
from model.experiment import Design
from model.phantom import draw_patient, draw_site, make_case
from model.study_files import Document
from plugin.cli import cli
from plugin.errors import ConfigError
from plugin.exchange import store_human_mask
from plugin.experiment import ExperimentOptions, plan_experiment, run_experiment
from plugin.folder_archive import FolderArchive
from plugin.nifti import write_nifti
from plugin.rules import DceRules
from plugin.session import open_session

CASES, ANNOTATED = 12, 11
DESIGN = Design(("random", "bag", "uncertainty"), (0.5, 0.8), (0,), CONFIG)
OPTIONS = ExperimentOptions(
    design=DESIGN, engine=Engine("cpu", "fp32"), network=small_network
)
TABLES = ("table.csv", "comparisons.csv", "scores.csv")


def imaged(
    made: FolderArchive, cases: int, annotated: int, *, slices: int, matrix_px: int
) -> FolderArchive:
    """Add phantoms as NIfTI sessions, so many annotated with their true masks."""
    rng = np.random.default_rng(0)
    for number in range(cases):
        site = draw_site(rng, slices=slices, matrix_px=matrix_px)
        case = make_case(draw_patient(rng), site, seed=number)
        folder = made.root / f"P{number:02d}"
        folder.mkdir()
        for name, phase in zip(("pre", "post"), case.phases, strict=False):
            write_nifti(phase, folder / f"{name}.nii.gz")
        if number < annotated:
            session = open_session(folder.name, folder, DceRules())
            mask = (case.right | case.left).astype(np.uint8)
            truth = case.phases[0].with_array(mask).match_geometry(session.pre)
            store_human_mask(made, session, truth)
    return made


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> FolderArchive:
    made = FolderArchive(tmp_path_factory.mktemp("archive"))
    return imaged(made, CASES, ANNOTATED, slices=12, matrix_px=64)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def done(
    archive: FolderArchive, work: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("study")
    run_experiment(archive, output, work, OPTIONS)
    return output


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_training_and_every_test_has_its_line(done: Path) -> None:
    cells = lines(done / "cells.csv")
    # Three strategies at two shares with two folds each.
    assert len(cells) == 12
    # Eleven annotated, two of them common; of nine 50 % is five (folds need five).
    trained = {(r["proportion"], int(r["train"]) + int(r["validation"])) for r in cells}
    assert trained == {("0.5", 5), ("0.8", 7)}
    of = {
        strategy: [r["key"] for r in cells if r["strategy"] == strategy]
        for strategy in DESIGN.strategies
    }
    assert of["uncertainty"][:2] == of["bag"][:2], "it begins with geometry"
    left_over = {r["key"]: 9 - int(r["train"]) - int(r["validation"]) for r in cells}
    scores = lines(done / "scores.csv")
    assert len(scores) == sum(count + 2 for count in left_over.values())


def test_every_cell_has_its_carbon(done: Path) -> None:
    keys = {row["key"] for row in lines(done / "cells.csv")}
    assert {row["fold"] for row in lines(done / "carbon.csv")} == {*keys, "total"}


def test_the_table_holds_both_test_sets(done: Path) -> None:
    rows = lines(done / "table.csv")
    assert len(rows) == 2 * 2 * 3
    assert {row["test_patients"] for row in rows if row["test"] == "common"} == {"2"}
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)


def test_strategies_know_the_boundary_alone(done: Path) -> None:
    document = Document.from_json((done / "experiment.json").read_text())
    assert {c.features.source for c in document.candidates} == {"boundary"}


def test_a_study_of_few_patients_claims_nothing(done: Path) -> None:
    verdicts = {row["verdict"] for row in lines(done / "comparisons.csv")}
    assert verdicts <= {"unknown", "same"}
    assert "Too few test patients to tell" in (done / "report.html").read_text()


@pytest.mark.slow
def test_a_study_of_58_patients_tells_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    many = imaged(FolderArchive(tmp_path / "archive"), 58, 58, slices=10, matrix_px=32)
    design = Design(("random", "breast-size"), (0.3,), (0, 1, 2), CONFIG, 0)
    options = replace(OPTIONS, design=design)
    run_experiment(many, tmp_path / "study", tmp_path / "work", options)
    shared = [
        row
        for row in lines(tmp_path / "study/comparisons.csv")
        if row["test"] == "common"
    ]
    assert [(row["pairs"], row["seeds"]) for row in shared] == [("12", "3")]
    report = (tmp_path / "study/report.html").read_text()
    for row in shared:
        assert row["verdict"] == told(float(row["p_holm"]), float(row["dice"]))
        assert f"breast-size at {float(row['proportion']):.0%}: {row['verdict']}" in (
            report
        )
    assert "Too few" not in report
    assert "luck" not in report


def told(p: float, gain: float) -> str:
    if p >= SIGNIFICANCE:
        return "not distinguishable"
    return "better" if gain > 0 else "worse"


def test_a_finished_study_writes_the_same_tables_without_training(
    archive: FolderArchive, work: Path, done: Path
) -> None:
    before = {name: (done / name).read_bytes() for name in TABLES}
    records = {path: path.stat().st_mtime_ns for path in done.rglob("cell.json")}
    run_experiment(archive, done, work, OPTIONS)
    assert {name: (done / name).read_bytes() for name in TABLES} == before
    assert {path: path.stat().st_mtime_ns for path in records} == records


def test_its_document_replays_it(
    archive: FolderArchive, work: Path, done: Path, tmp_path: Path
) -> None:
    document = Document.from_json((done / "experiment.json").read_text())
    other = replace(OPTIONS, design=replace(DESIGN, seeds=(9,)), replayed=document)
    run_experiment(archive, tmp_path, work, other)
    timed = {"duration_s", "energy_kwh", "cfp_kg"}
    for name in TABLES:
        first, again = (
            [{k: v for k, v in row.items() if k not in timed} for row in lines(at)]
            for at in (done / name, tmp_path / name)
        )
        assert again == first, name
    assert (tmp_path / "experiment.json").read_text() == (
        done / "experiment.json"
    ).read_text()


def test_a_changed_case_is_not_replayed(
    archive: FolderArchive, work: Path, done: Path, tmp_path: Path
) -> None:
    text = (done / "experiment.json").read_text()
    document = Document.from_json(text)
    case = next(iter(document.sources))
    other = replace(document, sources={**document.sources, case: "before"})
    with pytest.raises(ConfigError, match="1 cases that are gone or changed"):
        run_experiment(archive, tmp_path, work, replace(OPTIONS, replayed=other))


def test_a_planted_twin_ends_the_study_before_anything_is_trained(
    archive: FolderArchive, tmp_path: Path
) -> None:
    for source, name in (("P00", "P00"), ("P01", "P01"), ("P00", "TWIN")):
        shutil.copytree(archive.root / source, tmp_path / "archive" / name)
    twins = FolderArchive(tmp_path / "archive")
    with pytest.raises(LeakageError, match="P00 and TWIN; needed"):
        run_experiment(twins, tmp_path / "out", tmp_path / "work", OPTIONS)
    assert not (tmp_path / "out").exists()


def test_a_plan_counts_what_is_left(
    archive: FolderArchive, work: Path, done: Path, tmp_path: Path
) -> None:
    geometry = replace(OPTIONS, design=replace(DESIGN, strategies=("random", "bag")))
    keys = {
        row["key"]
        for row in lines(done / "cells.csv")
        if row["strategy"] != "uncertainty"
    }
    fresh = plan_experiment(archive, tmp_path, work, geometry)
    assert (fresh.trainings, fresh.finished) == (len(keys), 0)
    assert fresh.hours > 0
    assert fresh.disk_gb == pytest.approx(len(keys) * 0.132)
    assert plan_experiment(archive, done, work, geometry).hours == 0
    # What uncertainty will ask for is not known, only how much: two folds more.
    asked = plan_experiment(archive, tmp_path, work, OPTIONS)
    assert asked.trainings == len(keys) + 2
    assert not (tmp_path / "cells").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--strategies", "best", "'best' is none of bag"),
        ("--proportions", "30", "30 is not above 0 and at most 1"),
        ("--seeds", "one", "invalid literal"),
    ],
)
def test_a_list_that_cannot_be_is_refused(option: str, value: str, said: str) -> None:
    run = CliRunner().invoke(
        cli, ["experiment", "--archive", "a", "--output", "o", option, value]
    )
    assert run.exit_code == 2
    assert said in run.stderr


def test_the_command_plans_and_runs(
    archive: FolderArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell, "new_network", lambda *, seed: small_network(seed))
    command = [
        *("experiment", "--archive", str(archive.root)),
        *("--output", str(tmp_path), "--strategies", "random,bag"),
        *("--proportions", "0.99", "--fold", "0", "--grid", "32"),
        *("--epochs", "1", "--test-share", "0", "--features", "annotation"),
    ]
    plan = CliRunner().invoke(cli, [*command, "--plan"], catch_exceptions=False)
    left = json.loads(plan.stdout.splitlines()[-1])
    assert (left["trainings"], left["finished"]) == (1, 0)
    run = CliRunner().invoke(cli, command, catch_exceptions=False)
    found = json.loads(run.stdout.splitlines()[-1])
    # All are selected by either strategy: one training, and no one left to test.
    assert (found["cases"], found["trainings"], found["missing"]) == (11, 1, 0)
    assert found["verdict"].startswith("Nobody was left to test on")
    document = Document.from_json((tmp_path / "experiment.json").read_text())
    assert {c.features.source for c in document.candidates} == {"annotation"}
