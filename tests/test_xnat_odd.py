"""What real projects hold: odd ids, odd sessions, many of them, and other logins."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sessions import box_mask, untrained_segmenter
from standin import zips
from standin.server import StandIn
from synthetic import pre_plan, slices, write
from xnat_project import (
    WEIGHTS,
    add_session,
    archive_of,
    breast_project,
    digests,
    drafted,
    drawn,
    files_of,
    opened,
)

from plugin import seg
from plugin.masks import trainable_mask
from plugin.segment import Delivery, segment_archive
from plugin.xnat.roi import label_of

pytestmark = pytest.mark.usefixtures("discreet")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with breast_project(tmp_path) as server:
        yield server


@pytest.fixture
def session_id(server: StandIn, tmp_path: Path) -> str:
    return add_session(server, tmp_path, "S1", "MR1")


def test_two_thousand_sessions_are_listed_in_one_request(server: StandIn) -> None:
    for number in range(2000):
        server.add_session("BREAST", subject=f"S{number}", label=f"MR{number}")
    archive = archive_of(server)
    before = len(server.requests)
    assert len(archive.sessions()) == 2000
    assert archive.read(archive.sessions()[-1], "result.json") is None
    assert len(server.requests) - before == 2


@pytest.mark.parametrize("scan_id", ["5-MR1", "a b", "ü#?&", "1.2.3"])
def test_a_scan_of_any_id_is_pulled(
    server: StandIn, tmp_path: Path, scan_id: str
) -> None:
    write(slices(pre_plan()), tmp_path / "source")
    files = {path.name: path.read_bytes() for path in files_of(tmp_path / "source")}
    session = server.add_session("BREAST", subject="S", label="ODD")
    server.add_scan(session, scan_id, files=files, uid="1.2.3")
    folder = archive_of(server).fetch(session, tmp_path / "w")
    assert digests(folder) == digests(tmp_path / "source")


def test_a_session_that_cannot_be_used_has_its_reason_and_stops_no_other(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    hidden = add_session(server, tmp_path, "S2", "HIDDEN")
    server.state.unreadable.add(hidden)
    write(slices(pre_plan()), tmp_path / "alone")
    halves = server.add_session(
        "BREAST", subject="S3", label="HALF", dicom=tmp_path / "alone"
    )
    empty = server.add_session("BREAST", subject="S4", label="EMPTY")
    server.add_project("OTHER", members=("alice",))
    shared = server.add_session("OTHER", subject="S", label="O")
    server.share_session(shared, "BREAST")
    delivery = Delivery(tmp_path / "out", tmp_path / "work")
    items = segment_archive(archive_of(server), untrained_segmenter(), delivery)
    assert {item.session_id: item.outcome for item in items} == {
        session_id: "segmented",
        **dict.fromkeys((hidden, halves, empty, shared), "failed"),
    }
    reasons = {item.session_id: item.reason for item in items}
    assert "may not do this (403)" in reasons[hidden]
    assert "post-contrast" in reasons[halves]
    assert "none of MR with DICOM files" in reasons[empty]
    assert "shared from project OTHER" in reasons[shared]


def test_a_zip_that_points_outside_writes_nothing_there(
    server: StandIn,
    session_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside = zips._member
    monkeypatch.setattr(
        zips, "_member", lambda *a: f"x/files/../../../../../{inside(*a)}"
    )
    before = {path for path in files_of(tmp_path) if "xnat" not in path.parts}
    folder = archive_of(server).fetch(session_id, tmp_path / "w")
    assert digests(folder) == digests(tmp_path / "source")
    new = {path for path in files_of(tmp_path) if "xnat" not in path.parts} - before
    assert all(path.is_relative_to(folder) for path in new)


def test_no_other_login_or_folder_of_the_machine_is_used(
    server: StandIn,
    session_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """xnatpy and requests read these; a workstation may mean another server by them."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login bob password bob-secret\n")
    netrc.chmod(0o600)
    for name, value in {
        "NETRC": str(netrc),
        "XNATPY_HOST": "http://127.0.0.1:9",
        "XNATPY_USER": "bob",
        "XNATPY_PASS": "bob-secret",
        "XNAT_DATA": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    folder = archive_of(server).fetch(session_id, tmp_path / "w")
    assert digests(folder) == digests(tmp_path / "source")
    assert {request.user for request in server.requests} <= {"alice", "guest"}


def test_a_label_is_of_one_session_one_series_and_one_set_of_weights(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    draft = drafted(archive_of(server), session_id, tmp_path)
    label = label_of(session_id, draft, WEIGHTS)
    assert label == label_of(session_id, draft, WEIGHTS)
    assert label.startswith(f"BRS_{session_id}_")
    assert label_of("XNAT_E00002", draft, WEIGHTS) != label
    assert label_of(session_id, draft, "1" * 64) != label


def test_the_newest_of_a_sessions_human_masks_is_learnt(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server)
    session = opened(archive, session_id, tmp_path / "w")
    older = box_mask(session)
    newer = older.with_array(np.roll(older.array, 1, axis=0))
    for label, mask, year in (("SEG_B", newer, "2026"), ("SEG_A", older, "2025")):
        human = drawn(session, mask)
        human.add_new("InstanceCreationDate", "DA", f"{year}0101")
        server.add_collection(session_id, label, seg.to_bytes(human), user="alice")
    found = trainable_mask(archive, session, tmp_path / "m")
    np.testing.assert_array_equal(found.volume.array, newer.array)
