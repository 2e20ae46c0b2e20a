"""The XNAT archive against the stand-in server: pulls, writes, rights and traps."""

import hashlib
import logging
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sessions import box_mask, write_pair
from standin import zips
from standin.server import Fault, StandIn
from xnat_project import (
    QUICK,
    RULES,
    WEIGHTS,
    add_session,
    archive_by,
    archive_of,
    breast_project,
    digests,
    drafted,
    drawn,
    files_of,
    opened,
    sent,
)

from plugin import seg
from plugin.errors import ArchiveError, InputError, LoginError
from plugin.exchange import HUMAN_FILE, store_human_mask
from plugin.masks import has_trainable_mask
from plugin.session import find_pair
from plugin.xnat import download
from plugin.xnat.answers import ForbiddenError
from plugin.xnat.target import XnatTarget
from plugin.xnat_archive import XnatArchive

pytestmark = pytest.mark.usefixtures("discreet")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with breast_project(tmp_path) as server:
        yield server


@pytest.fixture
def session_id(server: StandIn, tmp_path: Path) -> str:
    return add_session(server, tmp_path, "S1", "MR1")


def test_sessions_are_listed_by_id_in_one_request(
    server: StandIn, tmp_path: Path
) -> None:
    ids = [add_session(server, tmp_path, f"S{n}", f"MR{n}") for n in range(3)]
    archive = archive_of(server)
    before = len(server.requests)
    assert archive.sessions() == sorted(ids)
    assert len(server.requests) - before == 1


@pytest.mark.parametrize("checksums", [True, False])
def test_the_files_that_arrive_are_the_servers_own(
    server: StandIn, session_id: str, tmp_path: Path, *, checksums: bool
) -> None:
    server.checksums = checksums
    folder = archive_of(server).fetch(session_id, tmp_path / "w")
    assert digests(folder) == digests(tmp_path / "source" / "MR1")


def test_what_is_there_is_not_pulled_again(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server)
    archive.fetch(session_id, tmp_path / "w")
    before = len(server.requests)
    archive.fetch(session_id, tmp_path / "w")
    assert all("/resources/" not in r.path for r in server.requests[before:])


@pytest.mark.parametrize("is_longer", [True, False], ids=["longer", "other bytes"])
def test_what_an_earlier_run_left_damaged_is_pulled_again(
    server: StandIn, session_id: str, tmp_path: Path, *, is_longer: bool
) -> None:
    archive = archive_of(server)
    folder = archive.fetch(session_id, tmp_path / "w")
    damaged = files_of(folder)[0]
    data = damaged.read_bytes()
    other = bytes([data[-1] ^ 1])
    damaged.write_bytes(data + other if is_longer else data[:-1] + other)
    before = len(sent(server, "GET", "/files/"))
    archive.fetch(session_id, tmp_path / "w")
    assert digests(folder) == digests(tmp_path / "source" / "MR1")
    assert len(sent(server, "GET", "/files/")) - before == 1


def test_every_byte_is_hashed_once_a_run(
    server: StandIn,
    session_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[int] = []

    class Counting:
        def __init__(self) -> None:
            self._md5 = hashlib.md5(usedforsecurity=False)

        def update(self, data: bytes) -> None:
            hashed.append(len(data))
            self._md5.update(data)

        def hexdigest(self) -> str:
            return self._md5.hexdigest()

    monkeypatch.setattr(download, "_md5", Counting)
    archive = archive_of(server)
    folder = archive.fetch(session_id, tmp_path / "w")
    size = sum(path.stat().st_size for path in files_of(folder))
    assert sum(hashed) == size
    archive.fetch(session_id, tmp_path / "w")
    assert sum(hashed) == 2 * size


def test_a_session_may_be_named_by_its_label(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    assert digests(archive_of(server).fetch("MR1", tmp_path / "w"))


def test_an_alias_token_opens_the_archive_and_its_end_is_said(
    server: StandIn, session_id: str
) -> None:
    alias, secret = server.issue_token("alice")
    archive = XnatArchive(XnatTarget(server.url, "BREAST", alias, secret), QUICK)
    assert archive.sessions() == [session_id]
    server.expire_token(alias)
    with pytest.raises(LoginError, match="token expired"):
        archive.read(session_id, "result.json")


def test_xnatpy_which_names_the_token_logs_nothing(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "xnatpy")
    archive = archive_by(server, server.issue_token("alice"))
    archive.close()
    assert not [record for record in caplog.records if record.name == "xnatpy"]


def test_a_wrong_password_is_refused_at_once(server: StandIn) -> None:
    target = XnatTarget(server.url, "BREAST", "alice", "wrong")
    with pytest.raises(LoginError, match="login was refused"):
        XnatArchive(target, QUICK)


def test_one_session_is_used_and_closed(server: StandIn, session_id: str) -> None:
    archive = archive_of(server)
    archive.sessions()
    archive.read(session_id, "x")
    assert server.open_sessions == 1
    archive.close()
    assert server.open_sessions == 0
    assert not sent(server, "GET", "/xapi/schemas"), "a real server has dozens"


def test_a_session_that_ended_is_renewed_once(server: StandIn, session_id: str) -> None:
    archive = archive_of(server)
    server.faults.append(Fault(path=r"/data/experiments", status=401, times=1))
    assert archive.read(session_id, "x") is None


def test_a_written_file_is_there_and_replaced(server: StandIn, session_id: str) -> None:
    archive = archive_of(server)
    for owner in (None, session_id):
        archive.write(owner, "a b/c#.txt", b"one")
        archive.write(owner, "a b/c#.txt", b"two")
        assert archive.read(owner, "a b/c#.txt") == b"two"
    assert archive.read(session_id, "nothing") is None


def test_an_added_file_never_replaces_one(server: StandIn) -> None:
    first, second = (archive_of(server) for _ in range(2))
    assert first.add(None, "rounds/0001.json", b"first")
    assert not second.add(None, "rounds/0001.json", b"second")
    assert second.add(None, "rounds/0001.json", b"first")
    assert second.read(None, "rounds/0001.json") == b"first"


@pytest.mark.parametrize(("checksums", "read_back"), [(True, 0), (False, 1)])
def test_a_file_is_transferred_once_and_read_back_only_without_a_digest(
    server: StandIn, session_id: str, *, checksums: bool, read_back: int
) -> None:
    server.checksums = checksums
    archive = archive_of(server)
    archive.write(session_id, "a b/weights", b"one")
    assert len(sent(server, "PUT", "/files/")) == 1
    assert len(sent(server, "GET", "/files/")) == read_back
    archive.write(session_id, "a b/weights", b"one")
    assert len(sent(server, "PUT", "/files/")) == 1
    assert len(sent(server, "GET", "/files/")) == 2 * read_back


def test_a_member_may_fill_sessions_but_not_the_project(
    server: StandIn, session_id: str
) -> None:
    archive = archive_of(server, "mary")
    archive.prepare(session_id)
    with pytest.raises(ForbiddenError, match="owner for the project itself"):
        archive.prepare(None)


def test_a_shared_session_is_refused_with_its_owner(
    server: StandIn, tmp_path: Path
) -> None:
    server.add_project("OTHER", members=("alice",))
    write_pair(tmp_path / "o")
    shared = server.add_session("OTHER", subject="S", label="O", dicom=tmp_path / "o")
    server.share_session(shared, "BREAST")
    archive = archive_of(server)
    assert shared in archive.sessions()
    with pytest.raises(ArchiveError, match="shared from project OTHER"):
        archive.fetch(shared, tmp_path / "w")


def test_a_session_without_dicom_says_so(server: StandIn, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    empty = server.add_session(
        "BREAST", subject="S", label="EMPTY", dicom=tmp_path / "none"
    )
    with pytest.raises(InputError, match="none of MR with DICOM files"):
        archive_of(server).fetch(empty, tmp_path / "w")


def test_a_mask_becomes_a_collection_once(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server)
    draft = drafted(archive, session_id, tmp_path)
    assert archive.publish(session_id, draft, WEIGHTS)
    puts = [r for r in server.requests if r.method == "PUT" and "/roi/" in r.path]
    assert archive.publish(session_id, draft, WEIGHTS)
    again = [r for r in server.requests if r.method == "PUT" and "/roi/" in r.path]
    assert len(puts) == len(again) == 1
    (path,) = archive.mask_paths(session_id, tmp_path / "masks")
    assert path.read_bytes() == draft.read_bytes()
    assert not has_trainable_mask(archive, session_id, tmp_path / "m")


def test_without_the_viewer_plugin_nothing_is_published(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    server.plugins.discard("ohifViewerPlugin")
    archive = archive_of(server)
    assert not archive.publish(session_id, tmp_path / "never-read", WEIGHTS)


def test_a_user_without_the_right_to_collections_publishes_nothing(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server, "bob")
    assert not archive.publish(session_id, tmp_path / "never-read", WEIGHTS)


def test_a_label_that_another_session_holds_is_a_clear_refusal(
    server: StandIn, session_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(server)
    draft = drafted(archive, session_id, tmp_path)
    monkeypatch.setattr("plugin.xnat.roi.label_of", lambda *_: "BRS_same")
    archive.publish(session_id, draft, WEIGHTS)
    other = add_session(server, tmp_path, "S2", "MR2")
    second = drafted(archive, other, tmp_path / "other")
    with pytest.raises(ArchiveError, match="belongs to another session"):
        archive.publish(other, second, WEIGHTS)


def test_a_scan_without_uid_is_found_before_the_upload(
    server: StandIn, tmp_path: Path
) -> None:
    first = add_session(server, tmp_path, "S1", "MR1")
    other = add_session(server, tmp_path, "S2", "MR2")
    archive = archive_of(server)
    draft = drafted(archive, first, tmp_path)
    with pytest.raises(ArchiveError, match="no scan has as UID"):
        archive.publish(other, draft, WEIGHTS)
    assert not [r for r in server.requests if r.method == "PUT" and "/roi/" in r.path]


def test_a_mask_saved_in_the_viewer_is_training_material(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server)
    session = opened(archive, session_id, tmp_path / "w")
    human = drawn(session)
    server.add_collection(
        session_id, "SEG_20260131_1200", seg.to_bytes(human), user="alice"
    )
    assert has_trainable_mask(archive, session_id, tmp_path / "m")


def test_a_mask_imported_into_the_resource_is_found(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    archive = archive_of(server)
    session = opened(archive, session_id, tmp_path / "w")
    store_human_mask(archive, session, box_mask(session))
    assert archive.read(session_id, HUMAN_FILE)
    assert has_trainable_mask(archive, session_id, tmp_path / "m")


def test_names_from_the_server_never_become_paths(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    folder = archive_of(server).fetch(session_id, tmp_path / "w")
    assert all(p.name.endswith(".dcm") and len(p.name) == 28 for p in files_of(folder))


def test_only_the_pair_is_pulled_in_full(server: StandIn, tmp_path: Path) -> None:
    from synthetic import Plan, slices, write

    folder = tmp_path / "six"
    for phase in range(6):
        plan = Plan(number=5 + phase, description=f"t1 dyn {phase}", phase=phase)
        write(slices(plan), folder / str(phase))
    session = server.add_session("BREAST", subject="S6", label="SIX", dicom=folder)
    archive = archive_of(server)
    find_pair(archive, session, tmp_path / "w", RULES)
    pulled = files_of(tmp_path / "w")
    assert len(pulled) == 2 * 12
    archive.release(session, tmp_path / "w")
    assert not files_of(tmp_path / "w")


# VmHWM: ru_maxrss would begin with what the test's own process had at the fork.
MEMORY = """
import re, sys
from pathlib import Path
from plugin.xnat.client import Patience
from plugin.xnat.target import XnatTarget
from plugin.xnat_archive import XnatArchive

def peak_kib():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])

host, session_id, work = sys.argv[1:]
archive = XnatArchive(XnatTarget(host, "BREAST", "alice", "alice-secret"), Patience())
archive.sessions()
before = peak_kib()
archive.fetch(session_id, Path(work))
print(peak_kib() - before)
"""


BIG_MIB = 160
"""Well above what is stated, so that a body held whole is found out."""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 16], ids=["one file", "a zip of many"])
def test_pulling_takes_less_memory_than_the_docs_state(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    session = add_session(server, tmp_path, "S1", "BIG")
    image = files_of(tmp_path / "source")[0].read_bytes()
    big = image + bytes((BIG_MIB << 20) // count)
    files = {f"{number}.dcm": big for number in range(count)}
    monkeypatch.setattr(zips, "COMPRESSION", zipfile.ZIP_STORED)
    server.add_scan(session, "99", xsi_type="xnat:mrScanData", files=files, uid="1.2.3")
    script = [sys.executable, "-c", MEMORY, server.url, session, str(tmp_path / "w")]
    run = subprocess.run(script, capture_output=True, text=True, check=True)
    assert sum(p.stat().st_size for p in files_of(tmp_path / "w")) > BIG_MIB << 20
    assert int(run.stdout) < stated_mib() << 10


def stated_mib() -> int:
    """Return what the how-to promises an administrator."""
    text = (Path(__file__).parents[1] / "docs" / "how-to" / "xnat.md").read_text()
    (stated,) = re.findall(r"pulling takes less than (\d+) MiB of memory", text)
    return int(stated)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shrinks", [0.0, 1e12], ids=["fast files", "slow files"])
def test_a_compressed_zip_is_left_where_files_come_faster(
    server: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: int,
    shrinks: float,
) -> None:
    session = add_session(server, tmp_path, "S1", "MR1")  # two scans of twelve files
    monkeypatch.setattr(zips, "COMPRESSION", method)
    monkeypatch.setattr(download, "PROBE_BYTES", 1)
    monkeypatch.setattr(download, "SHRINKS", shrinks)
    archive_of(server).fetch(session, tmp_path / "w")
    assert digests(tmp_path / "w") == digests(tmp_path / "source")
    by_file = {r.path for r in sent(server, "GET", "/files/")}
    is_left = method == zipfile.ZIP_DEFLATED and shrinks == 0.0
    assert (len(by_file) == 24) == is_left
