"""Masks sent to real peers: once, unchanged, verified, and every refusal told."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orthanc import Orthanc, free_port, orthanc
from pydicom.uid import ImplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_ECHO
from scp_peers import PATIENT, PATIENT_ID, Authority, study
from sessions import untrained_segmenter, write_pair
from storage_peers import dcmqrscp, scripted, storescp

from plugin.errors import ConfigError
from plugin.pipeline import SEG_FILE, segment_session
from plugin.queue.causes import LastingError, PassingError, cause_of
from plugin.sending.answers import Meaning, meaning
from plugin.sending.association import Offer, associated
from plugin.sending.deliver import NOT_ASKED, deliver, echo
from plugin.sending.destination import (
    ClientTls,
    Destination,
    Verify,
    destinations_for,
)
from plugin.sending.limits import Limits
from plugin.sending.query import find, find_context

pytestmark = pytest.mark.peer

QUICK = Limits(connect_s=2, stall_s=2, answer_s=2, confirm_s=1)
STORED = "Received Store"
"""What both of DCMTK's servers log for each C-STORE request."""


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real DICOM-SEG of ours."""
    folder = tmp_path_factory.mktemp("mask")
    write_pair(folder / "images")
    segment_session("S1", folder / "images", folder / "out", untrained_segmenter())
    return folder / "out" / SEG_FILE


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("pacs") / "orthanc") as server:
        yield server


def at(server: Orthanc, **settings: object) -> Destination:
    given = {"name": "pacs", "ae_title": server.ae_title, "host": "127.0.0.1"}
    return Destination(port=server.port, **given | settings)  # type: ignore[arg-type]


def after_meta(data: bytes) -> bytes:
    """Return the bytes of the dataset: what follows the file meta information."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


# --- arriving, once and unchanged ---


def test_a_mask_arrives_unchanged_and_is_confirmed(pacs: Orthanc, mask: Path) -> None:
    done = deliver([mask], at(pacs), calling_ae="BRS")
    assert (done.sent, done.already) == ((uid_of(mask),), ())
    assert done.is_confirmed
    assert done.notes == ()
    (stored,) = pacs.instances(SOPInstanceUID=uid_of(mask))
    assert after_meta(pacs.file(stored)) == after_meta(mask.read_bytes())


def test_what_is_there_is_not_sent_again(tmp_path: Path, mask: Path) -> None:
    with dcmqrscp(tmp_path / "peer") as peer:
        first = deliver([mask], peer.destination(), calling_ae="BRS")
        again = deliver([mask], peer.destination(), calling_ae="BRS")
        assert peer.said(STORED) == 1
    assert (first.sent, again.already) == ((uid_of(mask),), (uid_of(mask),))
    assert again.sent == ()
    assert again.is_confirmed


def test_only_what_is_missing_of_a_study_is_sent(tmp_path: Path) -> None:
    files = sorted(study(tmp_path / "study", slices=4).iterdir())
    with dcmqrscp(tmp_path / "peer") as peer:
        deliver(files[:1], peer.destination(), calling_ae="BRS")
        rest = deliver(files, peer.destination(), calling_ae="BRS")
        assert peer.said(STORED) == 4
        assert peer.said("Association Received (localhost:BRS") == 2
    assert rest.already == (uid_of(files[0]),)
    assert len(rest.sent) == 3


def test_a_peer_that_cannot_be_asked_gets_the_same_bytes_and_it_is_said(
    tmp_path: Path, mask: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with storescp(tmp_path / "peer") as peer:
        there = peer.destination(verify=Verify.NONE)
        done = deliver([mask], there, calling_ae="BRS")
        (kept,) = peer.files.iterdir()
        assert after_meta(kept.read_bytes()) == after_meta(mask.read_bytes())
    assert not done.is_confirmed
    assert done.notes == (NOT_ASKED,)
    assert NOT_ASKED in caplog.text


def test_a_peer_without_queries_must_be_said_to_have_none(
    tmp_path: Path, mask: Path
) -> None:
    with storescp(tmp_path / "peer") as peer:
        with pytest.raises(LastingError, match="does not accept queries"):
            deliver([mask], peer.destination(), calling_ae="BRS")
        assert not list(peer.files.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from plugin.sending import deliver as module
from plugin.sending.destination import Destination

there = Destination("peer", "PEER", "127.0.0.1", int(sys.argv[2]))
module._Visit.confirm = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
module.deliver([Path(sys.argv[1])], there, calling_ae="BRS")
"""


def test_a_kill_between_sending_and_recording_sends_nothing_twice(
    tmp_path: Path, mask: Path
) -> None:
    with dcmqrscp(tmp_path / "peer") as peer:
        words = [sys.executable, "-c", KILLED, str(mask), str(peer.port)]
        killed = subprocess.run(words, check=False, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        done = deliver([mask], peer.destination(), calling_ae="BRS")
        assert peer.said(STORED) == 1
    assert done.already == (uid_of(mask),)


@pytest.mark.parametrize("shared", [True, False], ids=["lock folder", "own folder"])
def test_two_workers_do_not_send_the_same_at_once(
    tmp_path: Path, mask: Path, *, shared: bool
) -> None:
    locks = tmp_path / "locks" if shared else None
    outcomes: list[str] = []

    def work(path: Path) -> None:
        try:
            deliver([path], there, calling_ae="BRS", locks=locks)
        except PassingError as error:
            outcomes.append(error.cause)

    copy = tmp_path / "copy" / SEG_FILE
    copy.parent.mkdir()
    copy.write_bytes(mask.read_bytes())
    with storescp(tmp_path / "peer", "--sleep-after", "1") as peer:
        there = peer.destination(verify=Verify.NONE)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, (copy, mask if shared else copy)))
        assert peer.said(STORED) == 1
    assert outcomes == ["being-sent"]


def test_between_requests_nobody_else_takes_an_answer() -> None:
    # pynetdicom's own loop does, when the machine is busy: it is held still.
    offer = Offer("queries", [find_context()])
    with (
        scripted(stored=["1.2.3"]) as peer,
        associated(
            peer.destination, offer, calling_ae="BRS", limits=QUICK
        ) as association,
    ):
        for _ in range(3):
            found = find(association, peer.destination, "IMAGE", {})
            assert [row.SOPInstanceUID for row in found.rows] == ["1.2.3"]
            answer = (1, C_ECHO())
            association.dimse.msg_queue.put(answer)
            time.sleep(0.05)
            assert association.dimse.msg_queue.get(block=False) == answer


# --- refusals, and what they mean ---


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        (0xA700, True),
        (0xA7FF, True),
        (0x0110, True),
        (0x0213, True),
        (0xA900, False),
        (0xC000, False),
        (0xC123, False),
        (0x0122, False),
        (0x0124, False),
    ],
)
def test_a_failure_status_passes_or_lasts_by_its_family(
    mask: Path, status: int, *, passes: bool
) -> None:
    with (
        scripted(store_status=status) as peer,
        pytest.raises(PassingError if passes else LastingError) as caught,
    ):
        deliver([mask], peer.destination, calling_ae="BRS")
    cause = cause_of(caught.value)
    assert (cause.code, cause.passing) == (f"c-store-{status:04x}", passes)
    assert f"0x{status:04X}" in cause.text


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
def test_a_warning_counts_as_stored_and_is_said(mask: Path, status: int) -> None:
    with scripted(store_status=status) as peer:
        done = deliver([mask], peer.destination, calling_ae="BRS")
    assert done.sent == (uid_of(mask),)
    assert done.is_confirmed
    assert [f"0x{status:04X}" in note for note in done.notes] == [True]


@given(st.integers(0, 0xFFFF))
def test_every_status_has_one_meaning_and_only_zero_is_plain_success(
    status: int,
) -> None:
    found = meaning(status)
    assert (found is Meaning.DONE) == (status == 0)
    assert (found is Meaning.NOTED) >= (0xB000 <= status <= 0xBFFF)
    assert (found is Meaning.LASTING) >= (0xC000 <= status <= 0xCFFF)


def test_an_archive_that_indexes_late_is_waited_for(mask: Path) -> None:
    with scripted(late_finds=2) as peer:
        done = deliver([mask], peer.destination, calling_ae="BRS")
        # One query before, two too early, one that finds it.
        assert peer.queries == 4
    assert done.is_confirmed


def test_what_is_stored_and_never_shown_is_not_called_delivered(mask: Path) -> None:
    with (
        scripted(late_finds=1000) as peer,
        pytest.raises(PassingError, match="1 of 1 stored") as caught,
    ):
        deliver([mask], peer.destination, calling_ae="BRS", limits=QUICK)
    assert caught.value.cause == "not-confirmed"


def test_a_query_that_fails_sends_nothing(mask: Path) -> None:
    with scripted(find_status=0xA700) as peer:
        with pytest.raises(PassingError, match="C-FIND"):
            deliver([mask], peer.destination, calling_ae="BRS")
        assert peer.stored == []


def only_implicit(entity: AE) -> None:
    entity.remove_supported_context(SegmentationStorage)
    entity.add_supported_context(SegmentationStorage, ImplicitVRLittleEndian)


def test_a_peer_of_another_syntax_is_refused_rather_than_sent_other_bytes(
    mask: Path,
) -> None:
    with (
        scripted(also=only_implicit) as peer,
        pytest.raises(LastingError, match="Explicit VR Little Endian") as caught,
    ):
        deliver([mask], peer.destination, calling_ae="BRS")
    assert caught.value.cause == "not-supported"


def test_a_destination_that_is_down_may_come_back(mask: Path) -> None:
    there = Destination("pacs", "PEER", "127.0.0.1", free_port())
    with pytest.raises(PassingError) as caught:
        deliver([mask], there, calling_ae="BRS", limits=QUICK)
    assert caught.value.cause == "unreachable"
    assert "Connection refused" in echo(there, calling_ae="BRS", limits=QUICK)


def test_a_wrong_called_ae_title_lasts_and_names_its_mend(
    pacs: Orthanc, mask: Path
) -> None:
    with pytest.raises(LastingError, match="peer's AE title") as caught:
        deliver([mask], at(pacs, ae_title="OTHER"), calling_ae="BRS")
    assert caught.value.cause == "called-ae-unknown"
    assert echo(at(pacs), calling_ae="BRS") == ""


def test_an_unknown_calling_ae_title_lasts_and_names_its_mend(mask: Path) -> None:
    def strict(entity: AE) -> None:
        entity.require_calling_aet = ["SOMEBODY"]

    with (
        scripted(also=strict) as peer,
        pytest.raises(LastingError, match="make our AE title known") as caught,
    ):
        deliver([mask], peer.destination, calling_ae="BRS")
    assert caught.value.cause == "calling-ae-unknown"


def test_a_full_house_is_transient(mask: Path) -> None:
    def full(entity: AE) -> None:
        entity.maximum_associations = 1

    with scripted(also=full) as peer:
        entity = AE("OTHER")
        entity.add_requested_context(SegmentationStorage)
        first = entity.associate("127.0.0.1", peer.port)
        with pytest.raises(PassingError) as caught:
            deliver([mask], peer.destination, calling_ae="BRS")
        first.release()
    assert caught.value.cause == "peer-busy"


@pytest.mark.parametrize(
    "option", ["--refuse", "--abort-after", "--abort-during", "--sleep-during"]
)
def test_a_peer_that_refuses_aborts_or_sleeps_never_counts_as_delivered(
    tmp_path: Path, mask: Path, option: str
) -> None:
    words = (option, "6") if option == "--sleep-during" else (option,)
    with storescp(tmp_path / "peer", *words) as peer:
        there = peer.destination(verify=Verify.NONE)
        with pytest.raises((PassingError, LastingError)) as caught:
            deliver([mask], there, calling_ae="BRS", limits=QUICK)
    expected = "association-rejected" if option == "--refuse" else "no-answer"
    assert cause_of(caught.value).code == expected


def test_a_rejection_counts_though_the_peer_hung_up_before_it_was_looked_for(
    tmp_path: Path,
) -> None:
    # pynetdicom looks for the answer after this event; by then all has been said.
    late = (evt.EVT_REQUESTED, lambda _: time.sleep(0.5))
    offer = Offer("a query", [find_context()], handlers=[late])
    with storescp(tmp_path / "peer", "--refuse") as peer:
        there = peer.destination()
        with (
            pytest.raises(LastingError, match="a rejection"),
            associated(there, offer, calling_ae="BRS", limits=QUICK),
        ):
            pass


def test_what_is_no_dicom_file_is_refused_before_anybody_is_called(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.dcm").write_bytes(b"no DICOM")
    with pytest.raises(LastingError, match=r"x\.dcm"):
        deliver([tmp_path / "x.dcm"], at(Orthanc("", 1)), calling_ae="BRS")


def test_no_log_line_and_no_error_names_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    files = sorted(study(tmp_path / "study", slices=1).iterdir())
    said = []
    for status in (0, 0xB000, 0xC000):
        with scripted(store_status=status) as peer:
            try:
                deliver(files, peer.destination, calling_ae="BRS")
            except LastingError as error:
                said.append(str(error))
    text = caplog.text + "".join(said)
    assert "0xB000" in text
    assert "0xC000" in text
    assert not [word for word in (PATIENT, PATIENT_ID) if word in text]


# --- TLS ---


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("own") / "ca", "own")


def tls_storescp(own: Authority, pair: tuple[Path, Path]) -> list[str | Path]:
    certificate, key = pair
    return ["+tls", key, certificate, "+cf", own.certificate]


def client(own: Authority, pair: tuple[Path, Path]) -> ClientTls:
    return ClientTls(*pair, own.certificate)


def test_tls_delivers_with_certificates_of_the_authority(
    tmp_path: Path, mask: Path, own: Authority
) -> None:
    tls = client(own, own.sign("client"))
    with storescp(tmp_path / "peer", *tls_storescp(own, own.sign("server"))) as peer:
        there = peer.destination(verify=Verify.NONE, tls=tls)
        deliver([mask], there, calling_ae="BRS")
        (kept,) = peer.files.iterdir()
        assert after_meta(kept.read_bytes()) == after_meta(mask.read_bytes())
        plain = replace(there, tls=None)
        assert "no answer" in echo(plain, calling_ae="BRS", limits=QUICK)


def test_orthanc_takes_tls_too(tmp_path: Path, mask: Path, own: Authority) -> None:
    certificate, key = own.sign("orthanc")
    settings: dict[str, Any] = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(own.certificate),
    }
    with orthanc(tmp_path / "orthanc", **settings) as server:
        there = at(server, tls=client(own, own.sign("client")))
        assert deliver([mask], there, calling_ae="BRS").is_confirmed


@pytest.mark.parametrize(
    ("server", "cause", "says"),
    [
        ("expired", "tls-certificate", "expired"),
        ("foreign", "tls-certificate", "authority"),
        ("elsewhere", "tls-certificate", "mismatch"),
    ],
)
def test_a_peer_whose_certificate_is_not_right_gets_nothing(
    tmp_path: Path, mask: Path, own: Authority, server: str, cause: str, says: str
) -> None:
    pairs = {
        "expired": lambda: own.sign("expired", days=-1),
        "foreign": lambda: Authority(tmp_path / "foreign", "foreign").sign("foreign"),
        "elsewhere": lambda: own.sign("elsewhere", address="10.9.8.7"),
    }
    tls = client(own, own.sign(f"client-{server}"))
    with storescp(tmp_path / "peer", *tls_storescp(own, pairs[server]())) as peer:
        there = peer.destination(verify=Verify.NONE, tls=tls)
        with pytest.raises(LastingError, match=says) as caught:
            deliver([mask], there, calling_ae="BRS", limits=QUICK)
        assert not list(peer.files.iterdir())
    assert caught.value.cause == cause


def test_the_host_check_alone_can_be_switched_off(
    tmp_path: Path, mask: Path, own: Authority
) -> None:
    pair = own.sign("moved", address="10.9.8.7")
    tls = replace(client(own, own.sign("client-moved")), check_host=False)
    with storescp(tmp_path / "peer", *tls_storescp(own, pair)) as peer:
        there = peer.destination(verify=Verify.NONE, tls=tls)
        assert deliver([mask], there, calling_ae="BRS").sent


@pytest.mark.parametrize("kind", ["expired", "foreign"])
def test_a_peer_that_refuses_our_certificate_is_not_asked_for_ever(
    tmp_path: Path, mask: Path, own: Authority, kind: str
) -> None:
    foreign = Authority(tmp_path / "foreign", "foreign")
    pair = foreign.sign("x") if kind == "foreign" else own.sign("late", days=-1)
    server = tls_storescp(own, own.sign(f"server-{kind}"))
    with storescp(tmp_path / "peer", *server) as peer:
        there = peer.destination(verify=Verify.NONE, tls=client(own, pair))
        with pytest.raises(LastingError, match="our certificate") as caught:
            deliver([mask], there, calling_ae="BRS", limits=QUICK)
        assert not list(peer.files.iterdir())
    assert caught.value.cause == "tls-refused"


def test_tls_to_a_plain_port_says_so(tmp_path: Path, own: Authority) -> None:
    tls = client(own, own.sign("client-plain"))
    with storescp(tmp_path / "peer") as peer:
        there = peer.destination(tls=tls)
        said = echo(there, calling_ae="BRS", limits=QUICK)
    assert "TLS port" in said


def test_certificates_that_are_not_there_are_a_setting(tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    there = Destination("x", "PEER", "127.0.0.1", 104, tls=ClientTls(gone, gone, gone))
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        echo(there, calling_ae="BRS")


# --- which study goes where ---


A = Destination("a", "A", "127.0.0.1", 104, sources=("MR1", "MR2"))
B = Destination("b", "B", "127.0.0.1", 104, sources=("MR2",))
ALL = Destination("all", "ALL", "127.0.0.1", 104)


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["MR1"], "a all"),
        (["MR2"], "a b all"),
        (["MR2 "], "a b all"),
        (["MR3"], "all"),
        (["MR3", "MR1"], "a all"),
        ([], "all"),
    ],
)
def test_a_study_goes_where_its_source_says(sources: list[str], names: str) -> None:
    found = destinations_for(sources, (A, B, ALL))
    assert " ".join(each.name for each in found) == names


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "no spaces"},
        {"ae_title": "SEVENTEEN-LETTERS"},
        {"sources": ("",)},
        {"host": "a b"},
        {"port": 0},
        {"port": 65_536},
    ],
)
def test_a_destination_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(ALL, **wrong)  # type: ignore[arg-type]
