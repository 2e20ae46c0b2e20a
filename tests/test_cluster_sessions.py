"""Sessions on a cluster: the ranking and masks of one process, a worker lost or not."""

import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from calling import brs
from campaign import SIZE
from click.testing import CliRunner
from sessions import untrained_checkpoint

from model.checkpoint import write_checkpoint
from model.phantom import draw_patient, make_case
from plugin.cli import cli
from plugin.cluster import Crew, crew_at
from plugin.commands.elsewhere import Assignment, measured_at
from plugin.demo import draw_scanner
from plugin.errors import ConfigError
from plugin.folder_archive import FolderArchive
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.pipeline import SEG_FILE
from plugin.rank import Measured, RankOptions, measure_pool
from plugin.rules import DceRules

NAMES = ("a", "b", "c")
EXACT = ("--engine", "torch", "--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module")
def imaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of three phantoms, and of a session that holds nothing."""
    root = tmp_path_factory.mktemp("imaged")
    rng = np.random.default_rng(0)
    scanner = draw_scanner(rng, SIZE)
    for seed, name in enumerate(NAMES):
        case = make_case(draw_patient(rng), scanner, seed=seed)
        style = VendorStyle.SEPARATE_SERIES
        folder = root / name
        write_session(case, folder, style=style, session_id=name, distractors=False)
    (root / "broken").mkdir()
    return root


@pytest.fixture
def archive(imaged: Path, tmp_path: Path) -> FolderArchive:
    return FolderArchive(shutil.copytree(imaged, tmp_path / "archive"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    made = untrained_checkpoint()
    path = tmp_path / "c.safetensors"
    write_checkpoint(made.network, made.manifest, path)
    return path


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with crew_at("local:2") as crew:
        crew.client.wait_for_workers(2, timeout=60)
        yield crew


@pytest.fixture
def address(crew: Crew) -> str:
    return str(crew.client.scheduler.address)


def test_two_workers_rank_as_one_process(
    archive: FolderArchive, address: str, tmp_path: Path
) -> None:
    command = ("rank", "--archive", archive.root, "--checkpoint", "none", "--output")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    counted = brs(*command, alone)
    assert brs(*command, shared, "--cluster", address) == counted | {
        "report": str(shared / "report.html")
    }
    assert counted["failed"] == 1
    for name in ("ranking.json", "ranking.csv", "failures.json"):
        assert (shared / name).read_bytes() == (alone / name).read_bytes()
    assert "unknown" in (shared / "carbon.csv").read_text()


@pytest.mark.slow
def test_two_workers_draw_the_masks_of_one_process(
    archive: FolderArchive, weights: Path, address: str, tmp_path: Path
) -> None:
    shutil.rmtree(archive.root / "c")
    command = ("segment", "--archive", archive.root, "--checkpoint", weights, *EXACT)
    counted = brs(*command, "--output", tmp_path / "alone")
    alone = masks(archive)
    for path in archive.root.glob("*/BRS/*"):
        path.unlink()
    found = brs(*command, "--output", tmp_path / "shared", "--cluster", address)
    assert found == counted
    assert found["segmented"] == 2
    assert masks(archive) == alone
    batches = [(tmp_path / n / "batch.json").read_bytes() for n in ("alone", "shared")]
    assert batches[0] == batches[1]


def masks(archive: FolderArchive) -> dict[str, bytes]:
    found = archive.root.glob(f"*/BRS/{SEG_FILE}")
    return {path.parent.parent.name: path.read_bytes() for path in found}


def measured_once_killed(marker: Path, assignment: Assignment, name: str) -> Measured:
    """Measure in a worker; the first that comes to ``b`` is killed at it."""
    if name == "b" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return measured_at(assignment, name)


def test_a_worker_killed_at_a_session_changes_no_ranking(
    archive: FolderArchive, crew: Crew, tmp_path: Path
) -> None:
    settings = {"rules": DceRules(), "strategy": "bag"}
    assignment = Assignment(
        str(archive.root), None, tmp_path / "there", None, "", settings, alone=False
    )
    marker = tmp_path / "killed"
    work = partial(measured_once_killed, marker, assignment)
    here = measure_pool(archive, NAMES, tmp_path / "here", RankOptions())
    options = RankOptions(elsewhere=partial(crew.map, work, label="measuring"))
    there = measure_pool(archive, NAMES, tmp_path / "there", options)
    assert marker.exists()
    assert there.candidates == here.candidates
    assert there.failures == here.failures == {}
    assert all((there.overlays[name] == here.overlays[name]).all() for name in NAMES)


def test_a_pacs_that_moves_images_to_one_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRS_DICOM_PORT", "11112")
    command = ("rank", "--archive", "dicom://PACS@127.0.0.1:1", "--state", tmp_path)
    with pytest.raises(ConfigError, match=r"C-MOVE.*leave BRS_DICOM_PORT unset"):
        brs(*command, "--output", tmp_path, "--cluster", "local:1")


def test_a_folder_of_one_study_is_not_for_a_cluster(tmp_path: Path) -> None:
    command = ["segment", "--input", tmp_path, "--output", tmp_path, "--cluster", "x"]
    run = CliRunner().invoke(cli, [str(word) for word in command])
    assert run.exit_code == 2
    assert "--cluster needs an --archive, and no --input" in run.stderr
