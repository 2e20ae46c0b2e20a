"""`brs experiment` as it is typed: planned, run, limited, told and replayed."""

import json
from pathlib import Path
from typing import Any

import pytest
from calling import brs
from cases import small_network
from click.testing import CliRunner
from phantom_archive import imaged, lines

from model import cell
from model.errors import TrainingError
from model.study_files import Document
from model.verdict import SIGNIFICANCE
from plugin.cli import cli
from plugin.folder_archive import FolderArchive
from plugin.version import VERSION

PAPER = ("random", "nearest-point", "breast-size", "hybrid")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a network that takes moments, on a machine without meters."""
    monkeypatch.setattr(cell, "new_network", lambda *, seed: small_network(seed))
    monkeypatch.setattr(cell, "find_meters", lambda **_: ())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> FolderArchive:
    made = FolderArchive(tmp_path_factory.mktemp("archive"))
    return imaged(made, 11, 11, slices=10, matrix_px=32)


def study(archive: FolderArchive, output: Path, *more: object) -> dict[str, Any]:
    return brs(
        *("experiment", "--archive", archive.root, "--output", output),
        *("--fold", 0, "--folds", 2, "--grid", 32, "--device", "cpu", *more),
    )


@pytest.mark.slow
def test_the_paper_s_strategies_on_58_patients_are_told_and_replayed(
    tmp_path: Path,
) -> None:
    (tmp_path / "archive").mkdir()
    many = imaged(FolderArchive(tmp_path / "archive"), 58, 58, slices=10, matrix_px=32)
    output = tmp_path / "study"
    options = ("--strategies", ",".join(PAPER), "--proportions", "0.1,0.3")
    how = ("--epochs", 2, "--learning-rate", 0.02, "--deterministic")
    found = study(many, output, *options, *how)
    assert (found["cases"], found["missing"], found["compared"]) == (58, 0, 6)
    trained = {path: path.stat().st_mtime_ns for path in output.rglob("cell.json")}
    assert len(trained) == found["trainings"] <= 8
    table = [r for r in lines(output / "comparisons.csv") if r["test"] == "common"]
    assert {(r["pairs"], r["seeds"]) for r in table} == {("12", "1")}
    report = (output / "report.html").read_text()
    for row in table:
        assert row["verdict"] == told(row)
        share = f"{float(row['proportion']):.0%}"
        assert f"{row['strategy']} at {share}: {row['verdict']}" in report
    assert "1 seed: the luck of the training is not excluded" in report
    before = (output / "comparisons.csv").read_bytes()
    replay = ("--replay", output / "experiment.json")
    assert study(many, output, "--strategies", "bag", *replay) == found
    assert (output / "comparisons.csv").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


def told(row: dict[str, str]) -> str:
    if float(row["p_holm"]) >= SIGNIFICANCE:
        return "not distinguishable"
    gain = float(row["dice"])
    if gain * float(row["rank_biserial"]) <= 0:
        return "not distinguishable"
    return "better" if gain > 0 else "worse"


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


def test_a_study_is_planned_limited_and_run(
    archive: FolderArchive, tmp_path: Path
) -> None:
    options = ("--strategies", "random,bag", "--proportions", 0.99, "--epochs", 1)
    told = (*options, "--test-share", 0, "--features", "annotation")
    left = study(archive, tmp_path, *told, "--plan")
    assert (left["trainings"], left["finished"]) == (1, 0)
    assert left["energy_kwh"] == "unknown"
    none = study(archive, tmp_path, *told, "--hours", 0)
    assert (none["trainings"], none["missing"]) == (0, 1)
    assert (none["stopped_by"], none["verdict"]) == (
        "hours",
        "No training is finished.",
    )
    with pytest.raises(TrainingError, match="limit the study by hours instead"):
        study(archive, tmp_path, *told, "--carbon-limit-g", 1)
    found = study(archive, tmp_path, *told)
    # All are selected by either strategy: one training, and no one left to test.
    assert (found["cases"], found["trainings"], found["missing"]) == (11, 1, 0)
    assert found["verdict"].startswith("Nobody was left to test on")
    document = Document.from_json((tmp_path / "experiment.json").read_text())
    assert {c.features.source for c in document.candidates} == {"annotation"}


def test_the_emission_factor_is_replayed_and_the_version_is_the_one_that_ran(
    archive: FolderArchive, tmp_path: Path
) -> None:
    options = ("--strategies", "random", "--proportions", 0.99, "--epochs", 1)
    told = (*options, "--test-share", 0, "--features", "annotation")
    study(archive, tmp_path / "a", *told, "--emission-factor", 0.05)
    made = tmp_path / "a" / "experiment.json"
    older = json.loads(made.read_text())
    assert older["factor_kg_per_kwh"] == 0.05
    made.write_text(json.dumps(older | {"version": "0.0.1"}))
    study(archive, tmp_path / "b", "--replay", made)
    again = Document.from_json((tmp_path / "b" / "experiment.json").read_text())
    assert (again.factor_kg_per_kwh, again.version) == (0.05, VERSION)
    (carbon, *_) = lines(tmp_path / "b" / "carbon.csv")
    assert float(carbon["factor"]) == 0.05
