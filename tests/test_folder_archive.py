"""The folder archive: what is a session, what is a mask, and verified writes."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
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


def test_an_archive_that_cannot_be_opened_says_so() -> None:
    with pytest.raises(ConfigError, match="cannot open"):
        open_archive("s3://x")


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


def test_a_file_is_added_where_there_is_none_and_the_first_stays(
    tmp_path: Path,
) -> None:
    archive = archive_with(tmp_path, "a")
    assert archive.add(None, "rounds/0001.json", b"first")
    assert archive.add(None, "rounds/0001.json", b"first"), (
        "a repeated call does no harm"
    )
    assert not archive.add(None, "rounds/0001.json", b"second")
    assert archive.read(None, "rounds/0001.json") == b"first"
    assert [p.name for p in (tmp_path / "BRS" / "rounds").iterdir()] == ["0001.json"]


def test_of_many_who_add_at_once_one_does(tmp_path: Path) -> None:
    archive = archive_with(tmp_path)
    everyone = [f"runner {n}".encode() for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(partial(_added, archive.root), everyone))
    assert sum(told) == 1
    assert archive.read(None, "claim") == everyone[told.index(True)]


def _added(root: Path, data: bytes) -> bool:
    return FolderArchive(root).add(None, "claim", data)


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
