"""The folder archive: what is a session, what is a mask, and verified writes."""

from pathlib import Path

import pytest
from sessions import annotate, archive_with

from plugin.archive import open_archive
from plugin.errors import ArchiveError, ConfigError
from plugin.folder_archive import FolderArchive


def test_sessions_are_the_folders_but_ours_and_hidden_ones(tmp_path: Path) -> None:
    for name in ("b", "a", "BRS", ".trash", "é (1)"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert open_archive(str(tmp_path)).sessions() == ["a", "b", "é (1)"]


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"nowhere: found no such folder"):
        FolderArchive(tmp_path / "nowhere")


@pytest.mark.parametrize("uri", ["dicom://AET@host:104", "s3://x"])
def test_archives_that_cannot_be_opened_yet_say_so(uri: str) -> None:
    with pytest.raises(ConfigError, match="cannot open"):
        open_archive(uri)


@pytest.mark.parametrize("session_id", ["x", "..", "../b", "a/b", "."])
def test_a_session_never_leads_out_of_the_archive(
    tmp_path: Path, session_id: str
) -> None:
    (tmp_path / "archive" / "a" / "b").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    with pytest.raises(ArchiveError, match="no such folder"):
        FolderArchive(tmp_path / "archive").fetch(session_id, tmp_path)


def test_resources_come_back_and_missing_ones_are_none(tmp_path: Path) -> None:
    archive = archive_with(tmp_path, "a")
    archive.write("a", "result.json", b"{}")
    archive.write(None, "ranking.csv", b"rank")
    assert archive.read("a", "result.json") == b"{}"
    assert (tmp_path / "BRS" / "ranking.csv").read_bytes() == b"rank"
    assert archive.read("a", "other") is None


def test_a_write_that_cannot_be_stored_is_an_error(tmp_path: Path) -> None:
    archive = archive_with(tmp_path, "a")
    (tmp_path / "a" / "BRS").write_text("a file where the resource should be")
    with pytest.raises(ArchiveError, match=r"result\.json of a"):
        archive.write("a", "result.json", b"{}")


def test_masks_are_segmentations_wherever_they_lie(tmp_path: Path) -> None:
    archive = archive_with(tmp_path, "a")
    assert archive.mask_paths("a", tmp_path) == []
    annotate(archive, "a")
    (tmp_path / "a" / "pre" / "mask.nii.gz").write_bytes(b"not at the top: ignored")
    (tmp_path / "a" / "notes.dcm").write_text("no DICOM")
    found = archive.mask_paths("a", tmp_path)
    assert [path.name for path in found] == ["human.dcm"]
