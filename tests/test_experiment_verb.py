"""`brs experiment` on phantoms: gathered, trained, tested, told, and done again."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cases import small_network
from phantom_archive import imaged, lines
from studies import CONFIG

from model.engine import Engine
from model.errors import LeakageError
from model.experiment import Design
from model.study_files import Document
from plugin.errors import ConfigError
from plugin.experiment import ExperimentOptions, plan_experiment, run_experiment
from plugin.folder_archive import FolderArchive

CASES, ANNOTATED = 12, 11
DESIGN = Design(("random", "bag", "uncertainty"), (0.5, 0.8), (0,), CONFIG)
OPTIONS = ExperimentOptions(
    design=DESIGN, engine=Engine("cpu", "fp32"), network=small_network
)
TABLES = ("table.csv", "comparisons.csv", "scores.csv")


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
