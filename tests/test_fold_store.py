from pathlib import Path

import pytest

from plugin.errors import ArchiveError
from plugin.fold_store import keep_fold, recall_fold
from plugin.folder_archive import FolderArchive

FILES = {
    "fold-1.safetensors": b"weights",
    "fold-1.history.csv": b"history",
    "validation-1/cases.csv": b"cases",
    "fold-1.json": b"manifest",
}


def fold_in(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "fold-1.safetensors"


def archive_in(folder: Path) -> FolderArchive:
    folder.mkdir()
    return FolderArchive(folder)


class Refusing(FolderArchive):
    """An archive whose login ended."""

    def read(self, session_id: str | None, name: str) -> bytes | None:
        raise ArchiveError("XNAT", found="401", needed="a login", mend="log in")


def test_another_machine_finds_a_finished_fold(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive")
    assert keep_fold(archive, fold_in(tmp_path / "one"))
    recall_fold(archive, tmp_path / "two" / "fold-1.safetensors")
    for name, data in FILES.items():
        assert (tmp_path / "two" / name).read_bytes() == data


def test_a_fold_that_is_here_is_not_replaced(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive")
    keep_fold(archive, fold_in(tmp_path / "one"))
    path = fold_in(tmp_path / "two")
    path.write_bytes(b"newer")
    recall_fold(archive, path)
    assert path.read_bytes() == b"newer"


def test_a_fold_that_was_never_finished_is_not_recalled(tmp_path: Path) -> None:
    recall_fold(archive_in(tmp_path / "archive"), tmp_path / "fold-1.safetensors")
    assert not (tmp_path / "fold-1.json").exists()


def test_a_refused_push_is_said_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "archive").mkdir()
    archive = Refusing(tmp_path / "archive")
    assert not keep_fold(archive, fold_in(tmp_path / "one"))
    recall_fold(archive, tmp_path / "fold-2.safetensors")
    assert "kept in the output" in caplog.text
