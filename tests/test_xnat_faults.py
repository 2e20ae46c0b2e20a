"""What can go wrong between us and XNAT: said clearly, nothing half done, mended."""

import errno
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sessions import untrained_segmenter
from standin.faults import PATIENT
from standin.server import Fault, StandIn
from synthetic import SECRETS
from xnat_project import (
    HASTY,
    RULES,
    WEIGHTS,
    add_session,
    archive_by,
    archive_of,
    breast_project,
    digests,
    drafted,
    files_of,
    sent,
)

from model.dataset import CaseStore
from plugin.errors import ArchiveError, LoginError, exit_code
from plugin.gather import gather
from plugin.pipeline import RESULT_FILE
from plugin.segment import Delivery, segment_archive
from plugin.xnat.answers import ForbiddenError, PassingError, StatusError
from plugin.xnat_archive import XnatArchive

pytestmark = pytest.mark.usefixtures("discreet")

LISTING = r"/scans/ALL/files$"
ZIP = r"/resources/\d+/files$"
FILE = r"/resources/\d+/files/."
ROI_PUT = r"/roi/.*/collections/"
FAULTS = {
    "a 500": (Fault(status=500), "status 500"),
    "a 503": (Fault(status=503), "status 503"),
    "a login page with status 200": (Fault(html_login=True), "web page"),
    "a connection cut in the middle": (Fault(cut_after_bytes=300), "cut off|no zip"),
    "a truncated answer": (Fault(truncate=300), "300 bytes|no JSON"),
    "other bytes of the same length": (Fault(corrupt=True), "another digest|no JSON"),
}
PLACES = {"the listing": LISTING, "a scan's zip": ZIP, "single files": FILE}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with breast_project(tmp_path) as server:
        yield server


@pytest.fixture
def session_id(server: StandIn, tmp_path: Path) -> str:
    return add_session(server, tmp_path, "S1", "MR1")


def whole(folder: Path, tmp_path: Path) -> bool:
    """Tell whether exactly the session's files are there, each as it was."""
    source = tmp_path / "source" / "MR1"
    same = digests(folder) == digests(source)
    return same and len(files_of(folder)) == len(files_of(source))


def no_zip(server: StandIn) -> None:
    """Have every file asked for alone."""
    server.faults.append(Fault(path=ZIP, times=99, status=500))


def test_error_pages_of_the_stand_in_name_the_planted_patient() -> None:
    assert PATIENT in SECRETS


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_does_no_harm(
    server: StandIn, session_id: str, tmp_path: Path, name: str, place: str
) -> None:
    archive = archive_of(server)
    fault = replace(FAULTS[name][0], path=PLACES[place], method="GET", times=2)
    server.faults.append(fault)
    if place == "single files":
        no_zip(server)
    assert whole(archive.fetch(session_id, tmp_path / "w"), tmp_path)
    assert fault.times == 0, "the fault has struck"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_stays_is_named_and_leaves_no_half_file(
    server: StandIn, session_id: str, tmp_path: Path, name: str
) -> None:
    archive, (fault, said) = archive_of(server), FAULTS[name]
    no_zip(server)
    server.faults.append(replace(fault, path=FILE, method="GET", times=999))
    with pytest.raises(PassingError, match=said) as caught:
        archive.fetch(session_id, tmp_path / "w")
    assert exit_code(caught.value) == 7
    assert not files_of(tmp_path / "w")
    server.faults.clear()
    assert whole(archive.fetch(session_id, tmp_path / "w"), tmp_path)


def test_where_no_digest_is_kept_a_page_of_the_right_length_is_no_image(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    server.checksums = False
    page = {"1.dcm": b"<html>Please log in</html>".ljust(500)}
    server.add_scan(session_id, "9", files=page, uid="1.2.3")
    with pytest.raises(PassingError, match="a file of no DICOM"):
        archive_of(server).fetch(session_id, tmp_path / "w")


def test_a_zip_lies_beside_its_files_and_not_in_a_temporary_folder(
    server: StandIn,
    session_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session is larger than many a /tmp."""
    archive = archive_of(server)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
        folder = archive.fetch(session_id, tmp_path / "w")
    assert whole(folder, tmp_path)
    assert [r for r in sent(server, "GET", "/resources/") if r.path.endswith("/files")]


@pytest.mark.parametrize("path", [r"/scans$", LISTING, FILE])
def test_no_answer_is_waited_for_without_end(
    server: StandIn, session_id: str, tmp_path: Path, path: str
) -> None:
    archive = archive_of(server, patience=HASTY)
    no_zip(server)
    server.faults.append(Fault(path=path, method="GET", times=1, delay_s=60.0))
    began = time.monotonic()
    assert whole(archive.fetch(session_id, tmp_path / "w"), tmp_path)
    assert time.monotonic() - began < 30


def test_a_server_that_stays_silent_is_given_up(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server, patience=HASTY)
    server.faults.append(Fault(path=r"/scans$", times=99, delay_s=60.0))
    with pytest.raises(PassingError, match="ReadTimeout"):
        archive.fetch(session_id, tmp_path / "w")


def test_a_redirect_is_named(server: StandIn, session_id: str, tmp_path: Path) -> None:
    server.faults.append(Fault(path=r"/scans$", status=302))
    with pytest.raises(StatusError, match="redirects to"):
        archive_of(server).fetch(session_id, tmp_path / "w")


def test_a_login_is_tried_again_while_the_server_is_away(server: StandIn) -> None:
    server.faults.append(Fault(path="^/$", times=2, cut_after_bytes=0))
    assert archive_of(server).sessions() == []


def test_a_session_that_ends_while_files_are_pulled_is_renewed_once(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server)
    server.faults.append(
        Fault(path=ZIP, status=500, beside=server.state.accounts.sessions.clear)
    )
    assert whole(archive.fetch(session_id, tmp_path / "w"), tmp_path)
    assert len(sent(server, "PUT", "/data/services/auth")) == 2
    assert server.open_sessions == 1


def test_a_token_that_ends_while_files_are_pulled_is_named_and_a_new_one_goes_on(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    token = server.issue_token("alice")
    server.faults.append(
        Fault(path=ZIP, status=500, beside=lambda: server.expire_token(token[0]))
    )
    with pytest.raises(LoginError, match=r"token expired \(401\)") as caught:
        archive_by(server, token).fetch(session_id, tmp_path / "w")
    assert exit_code(caught.value) == 7
    assert digests(tmp_path / "w") <= digests(tmp_path / "source")
    archive = archive_by(server, server.issue_token("alice"))
    assert whole(archive.fetch(session_id, tmp_path / "w"), tmp_path)


def test_a_training_set_is_not_what_was_read_before_the_token_ended(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    """Sessions behind the end are not unreadable: training without them is wrong."""
    add_session(server, tmp_path, "S2", "MR2")
    token = server.issue_token("alice")
    archive = archive_by(server, token)
    server.faults.append(
        Fault(path="/assessors", times=99, beside=lambda: server.expire_token(token[0]))
    )
    with pytest.raises(LoginError):
        gather(archive, CaseStore(tmp_path / "c"), tmp_path, grid_px=32, rules=RULES)


@pytest.mark.parametrize(
    "fault", [Fault(drop_upload=True), Fault(status=502), Fault(status=401)]
)
def test_an_upload_that_is_cut_is_sent_again(
    server: StandIn, session_id: str, fault: Fault
) -> None:
    archive = archive_of(server)
    struck = replace(fault, path=r"/files/r", method="PUT", times=1)
    server.faults.append(struck)
    archive.write(session_id, "r", b"data" * 1000)
    assert struck.times == 0
    assert archive.read(session_id, "r") == b"data" * 1000


@pytest.mark.parametrize("checksums", [True, False])
def test_an_upload_that_was_answered_with_200_and_not_stored_is_found_out(
    server: StandIn, session_id: str, *, checksums: bool
) -> None:
    server.checksums = checksums
    archive = archive_of(server)
    archive.write(session_id, "r", b"old!")
    server.faults.append(Fault(path=r"/files/r", method="PUT", html_login=True))
    with pytest.raises(ArchiveError, match="other bytes when looked at again"):
        archive.write(session_id, "r", b"new!")
    archive.write(session_id, "r", b"new!")
    assert archive.read(session_id, "r") == b"new!"


@pytest.mark.parametrize(
    "fault",
    [Fault(drop_upload=True), Fault(status=500), Fault(status=401)],
)
def test_a_mask_on_its_way_to_the_viewer_is_sent_again(
    server: StandIn, session_id: str, tmp_path: Path, fault: Fault
) -> None:
    archive = archive_of(server)
    draft = drafted(archive, session_id, tmp_path)
    server.faults.append(replace(fault, path=ROI_PUT, method="PUT", times=1))
    assert archive.publish(session_id, draft, WEIGHTS)
    (path,) = archive.mask_paths(session_id, tmp_path / "masks")
    assert path.read_bytes() == draft.read_bytes()


def test_a_mask_that_the_viewer_did_not_take_is_found_out_and_taken_later(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server)
    draft = drafted(archive, session_id, tmp_path)
    server.faults.append(Fault(path=ROI_PUT, method="PUT", html_login=True))
    with pytest.raises(ArchiveError, match="another mask when read back"):
        archive.publish(session_id, draft, WEIGHTS)
    assert not archive.mask_paths(session_id, tmp_path / "masks")
    assert archive.publish(session_id, draft, WEIGHTS)
    assert len(archive.mask_paths(session_id, tmp_path / "masks")) == 1


def segmented(archive: XnatArchive, folder: Path) -> str:
    delivery = Delivery(folder / "out", folder / "work")
    return segment_archive(archive, untrained_segmenter(), delivery)[0].outcome


@pytest.mark.slow
def test_a_result_is_whole_or_not_there_and_the_next_run_completes_it(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server)
    server.faults.append(
        Fault(path=r"/files/mask.nii.gz", method="PUT", status=500, times=99)
    )
    with pytest.raises(ArchiveError, match="status 500") as caught:
        segmented(archive, tmp_path)
    assert exit_code(caught.value) == 7
    assert archive.read(session_id, RESULT_FILE) is None
    assert not sent(server, "PUT", "/roi/")
    server.faults.clear()
    assert segmented(archive, tmp_path / "again") == "segmented"
    assert archive.read(session_id, RESULT_FILE)
    assert segmented(archive, tmp_path / "third") == "unchanged"


def test_a_collaborator_is_refused_before_any_image_is_pulled(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match="member for a session") as caught:
        segmented(archive_of(server, "bob"), tmp_path)
    assert exit_code(caught.value) == 7
    assert not sent(server, "GET", "/scans")


def test_a_collaborator_is_refused_for_session_and_project(
    server: StandIn, session_id: str
) -> None:
    archive = archive_of(server, "bob")
    assert archive.sessions() == [session_id]
    for owner in (None, session_id):
        with pytest.raises(ForbiddenError, match="member for a session"):
            archive.prepare(owner)


def test_a_disk_that_is_too_small_is_named_before_anything_is_pulled(
    server: StandIn,
    session_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("plugin.xnat.download.shutil.disk_usage", lambda _: usage)
    with pytest.raises(ArchiveError, match=r"0\.0 GB free"):
        archive_of(server).fetch(session_id, tmp_path / "w")
    assert not sent(server, "GET", "/resources/")


def test_a_disk_that_fills_up_is_named(
    server: StandIn,
    session_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("plugin.xnat.download._store", full)
    with pytest.raises(ArchiveError, match="No space left") as caught:
        archive_of(server).fetch(session_id, tmp_path / "w")
    assert exit_code(caught.value) == 7


def test_a_heartbeat_that_is_refused_ends_nothing_and_prints_nothing(
    server: StandIn,
) -> None:
    """xnatpy's own ends its thread with a traceback that quotes the server."""
    token = server.issue_token("alice")
    joined = archive_by(server, token)._joined
    server.expire_token(token[0])
    joined._keepalive_event.set()
    deadline = time.monotonic() + 10
    while joined._keepalive_event.is_set() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sent(server, "GET", "/data/JSESSION")[-1].status == 401
    assert joined._keepalive_thread.is_alive()


def test_closing_after_the_token_ended_leaves_no_heartbeat_behind(
    server: StandIn,
) -> None:
    token = server.issue_token("alice")
    archive = archive_by(server, token)
    heart = archive._joined._keepalive_thread
    server.expire_token(token[0])
    archive.close()
    heart.join(10)
    assert not heart.is_alive()
