"""Segmenting an archive: once each, failures recorded, held masks kept back."""

import json
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner
from sessions import (
    annotate,
    archive_with,
    delivery,
    opened,
    untrained_checkpoint,
    untrained_segmenter,
)

from model.carbon import as_footprint
from model.checkpoint import write_checkpoint
from plugin.cli import cli
from plugin.folder_archive import FolderArchive
from plugin.pipeline import RESULT_FILE, SEG_FILE, Segmenter
from plugin.segment import segment_archive, tally


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return untrained_segmenter()


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    archive = archive_with(tmp_path / "archive", "a", "b")
    (archive.root / "broken").mkdir()
    (archive.root / "broken" / "notes.txt").write_text("no images here")
    return archive


def test_a_bad_session_is_recorded_and_the_batch_goes_on(
    archive: FolderArchive, segmenter: Segmenter, tmp_path: Path
) -> None:
    items = segment_archive(archive, segmenter, delivery(tmp_path / "out"))
    assert [item.outcome for item in items] == ["segmented", "segmented", "failed"]
    assert "needed" in items[2].reason
    counts = {"segmented": 2, "failed": 1, "unchanged": 0}
    assert counts.items() <= tally(items).items()
    batch = json.loads((tmp_path / "out" / "batch.json").read_text())
    assert [item["session_id"] for item in batch] == ["a", "b", "broken"]


class Counter:
    """A device that draws 2 Wh between its first reading and all later ones."""

    device, source = "gpu 0", "nvml"

    def __init__(self) -> None:
        self.joules = [7200.0, 0.0]

    def power_w(self) -> float | None:
        return None

    def energy_j(self) -> float | None:
        return self.joules.pop() if len(self.joules) > 1 else self.joules[0]

    def processes(self) -> int | None:
        return None


def test_a_segmented_study_tells_its_energy(
    archive: FolderArchive, segmenter: Segmenter, tmp_path: Path
) -> None:
    """Equation (6): 0.002 kWh at 0.475 kg CO2 per kWh."""
    metered = replace(segmenter, meters=(Counter(),))
    segment_archive(archive, metered, delivery(tmp_path / "out"), sessions=["a"])
    kept = json.loads((archive.root / "a" / "BRS" / RESULT_FILE).read_text())
    found = as_footprint(kept["footprint"])
    assert found.energy_kwh == pytest.approx(0.002)
    assert found.cfp_kg == pytest.approx(0.475 * 0.002)
    assert (found.method, found.devices) == ("nvml-counter", ("gpu 0",))
    assert found.coverage == 1.0
    assert found.duration_s > 0


def test_a_second_run_changes_nothing(
    archive: FolderArchive, segmenter: Segmenter, tmp_path: Path
) -> None:
    segment_archive(archive, segmenter, delivery(tmp_path / "out"), sessions=["a"])
    resource = archive.root / "a" / "BRS"
    before = {
        p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in resource.iterdir()
    }
    items = segment_archive(
        archive, segmenter, delivery(tmp_path / "out2"), sessions=["a"]
    )
    assert items[0].outcome == "unchanged"
    after = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in resource.iterdir()}
    assert after == before
    assert set(after) == {
        "segmentation.dcm",
        "mask.nii.gz",
        "preview.png",
        "mask.json",
        "result.json",
    }


def test_a_mask_that_was_lost_half_way_is_made_again_with_the_same_bytes(
    archive: FolderArchive, segmenter: Segmenter, tmp_path: Path
) -> None:
    segment_archive(archive, segmenter, delivery(tmp_path / "out"), sessions=["a"])
    resource = archive.root / "a" / "BRS"
    first = (resource / SEG_FILE).read_bytes()
    (resource / RESULT_FILE).unlink()
    (resource / SEG_FILE).write_bytes(first[: len(first) // 2])
    items = segment_archive(
        archive, segmenter, delivery(tmp_path / "out2"), sessions=["a"]
    )
    assert items[0].outcome == "segmented"
    assert (resource / SEG_FILE).read_bytes() == first


def test_other_weights_give_another_instance(
    archive: FolderArchive, segmenter: Segmenter, tmp_path: Path
) -> None:
    path = archive.root / "a" / "BRS" / SEG_FILE
    segment_archive(archive, segmenter, delivery(tmp_path / "out"), sessions=["a"])
    first = pydicom.dcmread(path).SOPInstanceUID
    other = untrained_segmenter(seed=1)
    segment_archive(archive, other, delivery(tmp_path / "out2"), sessions=["a"])
    assert pydicom.dcmread(path).SOPInstanceUID != first


def test_a_held_mask_is_kept_out_of_the_session(
    archive: FolderArchive, tmp_path: Path
) -> None:
    silent = untrained_segmenter(says=False)
    items = segment_archive(archive, silent, delivery(tmp_path / "out"), sessions=["a"])
    assert items[0].verdict == "hold"
    pushed = [p.name for p in (archive.root / "a" / "BRS").iterdir()]
    assert pushed == [RESULT_FILE]
    assert (tmp_path / "out" / "a" / SEG_FILE).exists()


def test_annotated_sessions_can_be_left_alone(
    archive: FolderArchive, segmenter: Segmenter, tmp_path: Path
) -> None:
    annotate(archive, "a")
    items = segment_archive(
        archive,
        segmenter,
        delivery(tmp_path / "out"),
        sessions=["a", "b"],
        skip_annotated=True,
    )
    assert [item.session_id for item in items] == ["b"]


def test_one_folder_is_segmented_without_an_archive(
    archive: FolderArchive, tmp_path: Path
) -> None:
    checkpoint = untrained_checkpoint()
    path = tmp_path / "c.safetensors"
    write_checkpoint(checkpoint.network, checkpoint.manifest, path)
    source = archive.root / "a"
    run = CliRunner().invoke(
        cli,
        [
            *("segment", "--input", str(source), "--output", str(tmp_path / "out")),
            *("--checkpoint", str(path), "--precision", "fp32"),
        ],
        catch_exceptions=False,
    )
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["files"] == ["mask.nii.gz", "preview.png", "segmentation.dcm"]
    record = json.loads((tmp_path / "out" / RESULT_FILE).read_text())
    session = opened(archive, "a")
    assert record["pair"]["pre_series_uid"] == session.pair.pre.series_uid
    assert record["right_ml"] > 0
    assert not (source / "BRS").exists()
