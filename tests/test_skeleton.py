"""The walking skeleton: DICOM -> rank -> train -> DICOM-SEG -> the same again.

Two phantoms of 16 slices (a second patient, because one must be held out), 24 steps
of the real network, in well under a minute. Every commit keeps this green.
"""

import json
from pathlib import Path

import pydicom
import pytest
from calling import brs
from peers import dicom_errors

from plugin.demo import Cohort, DemoOptions, annotate, make_cohort
from plugin.pipeline import SEG_FILE

COHORT = DemoOptions(cases=2, slices=16, matrix_px=96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("skeleton")


@pytest.fixture(scope="module")
def cohort(folder: Path) -> Cohort:
    return make_cohort(folder, COHORT)


@pytest.fixture(scope="module")
def checkpoint(folder: Path, cohort: Cohort) -> Path:
    annotate(cohort, cohort.archive.sessions())
    result = brs(
        *("train", "--archive", cohort.archive.root, "--output", folder / "train"),
        *("--grid", 48, "--batch", 2, "--epochs", 3, "--fold", 0),
    )
    assert result["cases"] == 2
    # Where it was trained its engine is proven, for every machine of the kind.
    assert list(cohort.archive.root.glob("BRS/engines/*.json"))
    return Path(result["checkpoint"])


@pytest.mark.slow
def test_sessions_are_ranked_with_reasons(folder: Path, cohort: Cohort) -> None:
    result = brs(
        *("rank", "--archive", cohort.archive.root, "--output", folder / "rank"),
        *("--checkpoint", "none"),
    )
    assert (result["ranked"], result["failed"]) == (2, 0)
    lines = (folder / "rank" / "ranking.csv").read_text().splitlines()
    assert lines[0].startswith("rank,case_id,patient_key,reason")
    assert "represents" in lines[1]


@pytest.mark.slow
def test_the_trained_network_ranks_by_its_doubt_and_tells_what_moved(
    folder: Path, cohort: Cohort, checkpoint: Path
) -> None:
    result = brs(
        *("rank", "--archive", cohort.archive.root, "--output", folder / "doubt"),
        *("--strategy", "uncertainty", "--cache", folder / "cache"),
    )
    assert result["ranked"] == 2
    ranking = json.loads((folder / "doubt" / "ranking.json").read_text())
    seen = [candidate["evidence"] for candidate in ranking["candidates"]]
    sums = json.loads(checkpoint.with_suffix(".json").read_text())["weights_sha256"]
    assert [one["checkpoints"] for one in seen] == [[sums]] * 2
    assert [pick["case_id"] for pick in ranking["picks"]] == [
        candidate["case_id"]
        for candidate in sorted(
            ranking["candidates"], key=lambda c: -c["evidence"]["disagreement"]
        )
    ]
    moved = (folder / "doubt" / "rank_change.csv").read_text().splitlines()
    assert len(moved) == 1 + 2


@pytest.mark.slow
@pytest.mark.peer
def test_a_trained_checkpoint_writes_valid_segmentations_once(
    folder: Path, cohort: Cohort, checkpoint: Path
) -> None:
    root = cohort.archive.root
    command = ("segment", "--archive", root, "--checkpoint", checkpoint)
    first = brs(*command, "--output", folder / "masks")
    assert first["segmented"] == 2
    files = {path: path.read_bytes() for path in root.glob(f"*/BRS/{SEG_FILE}")}
    pushed = [json.loads(p.read_text()) for p in root.glob("*/BRS/result.json")]
    assert len(files) == sum(result["verdict"] != "hold" for result in pushed)
    for path in (folder / "masks").glob(f"*/{SEG_FILE}"):
        assert dicom_errors(path) == []
        assert "SourceImageSequence" not in pydicom.dcmread(path)

    again = brs(*command, "--output", folder / "masks")
    assert (again["segmented"], again["unchanged"]) == (0, 2)
    assert {p: p.read_bytes() for p in root.glob(f"*/BRS/{SEG_FILE}")} == files
