"""A round's two files, in every archive that keeps a project: the first one counts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rounds import ROUND, opening
from xnat_project import archive_of, breast_project

from model.errors import StoreError
from plugin.archive import Archive
from plugin.errors import ArchiveError
from plugin.folder_archive import FolderArchive
from plugin.rounds.store import Rounds, keep_opening, keep_record, read_rounds


@pytest.fixture(params=["folder", "xnat"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    if request.param == "folder":
        yield FolderArchive(tmp_path)
        return
    with breast_project(tmp_path) as server:
        opened = archive_of(server)
        yield opened
        opened.close()


def test_the_first_opening_and_the_first_record_count(archive: Archive) -> None:
    assert read_rounds(archive) == Rounds((), None, None)
    first, other = opening(), replace(opening(), asked=("s9",))
    assert keep_opening(archive, first) == first
    assert keep_opening(archive, other) == first
    assert read_rounds(archive) == Rounds((), None, first)
    keep_record(archive, ROUND)
    keep_record(archive, ROUND)  # the same again, as after a lost answer
    with pytest.raises(ArchiveError, match="round 1: found the record of another"):
        keep_record(archive, replace(ROUND, patients=7))
    second = opening(2)
    assert keep_opening(archive, second) == second
    assert read_rounds(archive) == Rounds((ROUND,), first, second)


def test_a_record_without_its_opening_is_refused(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path)
    keep_record(archive, ROUND)
    with pytest.raises(StoreError, match=r"without rounds/0001\.open\.json"):
        read_rounds(archive)
