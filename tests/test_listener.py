import logging
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
    SegmentationStorage,
)
from pynetdicom import AE, _config
from pynetdicom.association import Association
from scp_peers import (
    PATIENT,
    PATIENT_ID,
    Authority,
    Sent,
    instance,
    send,
    storing,
    study,
    with_meta,
)
from synthetic import enhanced, legacy, phases

from plugin.errors import ConfigError
from plugin.jobs import Queue
from plugin.listener import Hooks, Listener
from plugin.receiving.identity import key
from plugin.receiving.landing import Landing
from plugin.receiving.settings import Caller, ListenerConfig, Others, TlsFiles
from plugin.receiving.storing import Receipt

pytestmark = pytest.mark.peer

CONFIG = ListenerConfig("BRS", (Caller("PACS"),), port=0, min_free_bytes=0)
Listening = Callable[..., AbstractContextManager[Listener]]


@pytest.fixture
def listening(tmp_path: Path) -> Listening:
    @contextmanager
    def start(config: ListenerConfig = CONFIG, **options: object) -> Iterator[Listener]:
        queue = Queue(tmp_path / "work")
        landing = Landing(queue, min_free_bytes=config.min_free_bytes)
        with Listener(config, landing, **options) as listener:  # type: ignore[arg-type]
            yield listener

    return start


def landed(tmp_path: Path, folder: str = "") -> list[Path]:
    return sorted((tmp_path / "work/incoming").glob(f"*/{folder}images/*.dcm*"))


def datasets(folder: Path) -> set[bytes]:
    return {bytes(pydicom.dcmread(p).PixelData) for p in folder.rglob("*.dcm")}


@contextmanager
def associated(
    port: int,
    *,
    caller: str = "PACS",
    called: str = "BRS",
    sop_class: str = "",
    syntax: UID = ExplicitVRLittleEndian,
) -> Iterator[Association]:
    entity = AE(caller)
    entity.add_requested_context(sop_class or MRImageStorage, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    raw = association.dul.socket
    peer = raw.socket if raw else None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        # pynetdicom leaves it open when the other side closed first.
        if peer is not None:
            peer.close()


def status_of(port: int, dataset: Dataset) -> int:
    proposed = {
        "sop_class": dataset.SOPClassUID,
        "syntax": dataset.file_meta.TransferSyntaxUID,
    }
    with associated(port, **proposed) as association:
        return int(association.send_c_store(dataset).Status)


def rejection(port: int, *, caller: str = "PACS", called: str = "BRS") -> object:
    with associated(port, caller=caller, called=called) as association:
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert answer is not None
        return (answer.result, answer.result_source, answer.diagnostic)


def reply(port: int, data: bytes) -> bytes:
    """Return all that comes back until the listener closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stranger:
        stranger.sendall(data)
        got = b""
        while more := _received(stranger):
            got += more
        return got


def _received(stranger: socket.socket) -> bytes:
    try:
        return stranger.recv(65_536)
    except ConnectionResetError:
        return b""


def test_echoscu_is_answered(listening: Listening) -> None:
    with listening() as listener:
        echo = send(
            "echoscu", "-aet", "PACS", "-aec", "BRS", "127.0.0.1", listener.port
        )
    assert echo == Sent(0, "")


def test_storescu_delivers_a_study_byte_for_byte(
    listening: Listening, tmp_path: Path
) -> None:
    sent = study(tmp_path / "sent", slices=5)
    with listening() as listener:
        assert storing(listener.port, *sorted(sent.glob("*"))).code == 0
        assert listener.counts() == {"new": 5}
    files = landed(tmp_path)
    first = pydicom.dcmread(sent / "0001.dcm")
    assert {file.parent.parent.name for file in files} == {key(first.StudyInstanceUID)}
    name = sha256(first.SOPInstanceUID.encode()).hexdigest()
    kept = next(file for file in files if file.stem == name)
    assert kept.read_bytes().endswith((sent / "0001.dcm").read_bytes()[-500:])
    assert pydicom.dcmread(kept) == first
    assert pydicom.dcmread(kept).file_meta.SourceApplicationEntityTitle == "PACS"
    assert not list((tmp_path / "work/receiving").glob("*.part"))


def test_dcmsend_delivers_a_study(listening: Listening, tmp_path: Path) -> None:
    sent = study(tmp_path / "sent", slices=5)
    with listening() as listener:
        peer = ("-aet", "PACS", "-aec", "BRS", "127.0.0.1", listener.port)
        assert send("dcmsend", *peer, "+sd", "+r", sent) == Sent(0, "")
    assert datasets(tmp_path / "work/incoming") == datasets(sent)


def test_four_senders_at_once_lose_nothing(
    listening: Listening, tmp_path: Path
) -> None:
    studies = [study(tmp_path / f"s{n}", slices=8, seed=str(n)) for n in range(4)]
    codes: list[int] = []
    with listening() as listener:
        senders = [
            Thread(
                target=lambda s=s: codes.append(
                    storing(listener.port, *s.glob("*")).code
                )
            )
            for s in studies
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert codes == [0, 0, 0, 0]
    assert len(landed(tmp_path)) == 32
    assert len({file.parent for file in landed(tmp_path)}) == 4


def test_an_aborted_association_keeps_what_was_answered(
    listening: Listening, tmp_path: Path
) -> None:
    with listening() as listener:
        with associated(listener.port) as association:
            answer = association.send_c_store(instance("1.2", "1.2.3"))
            assert answer.Status == 0
            association.abort()
        assert status_of(listener.port, instance("1.2", "1.2.3", number=2)) == 0
    assert len(landed(tmp_path)) == 2


def test_a_connection_cut_inside_an_object_leaves_no_file(
    listening: Listening, tmp_path: Path
) -> None:
    with listening() as listener:
        with associated(listener.port) as association:
            half = struct.pack(">BBL", 4, 0, 60_000) + b"\0" * 1000
            raw = association.dul.socket
            assert raw is not None
            assert raw.socket is not None
            raw.socket.sendall(half)
            raw.socket.shutdown(socket.SHUT_WR)
        assert status_of(listener.port, instance("1.2", "1.2.3")) == 0
    assert len(landed(tmp_path)) == 1


def test_a_repeated_study_is_kept_once(listening: Listening, tmp_path: Path) -> None:
    sent = study(tmp_path / "sent", slices=3)
    callers = (Caller("PACS"), Caller("ROUTER"))
    with listening(replace(CONFIG, callers=callers)) as listener:
        for caller in ("PACS", "ROUTER"):
            assert storing(listener.port, *sent.glob("*"), caller=caller).code == 0
        assert listener.counts() == {"new": 3, "duplicate": 3}
    assert len(landed(tmp_path)) == 3
    assert not landed(tmp_path, "conflicts/")


def test_other_bytes_under_one_sop_uid_are_both_kept_and_reported(
    listening: Listening, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, other = instance("1.2", "1.2.3"), instance("1.2", "1.2.3")
    other.PixelData = bytes(len(first.PixelData))
    receipts: list[Receipt] = []
    with listening(hooks=Hooks(receipts.append)) as listener:
        for dataset in (first, other, other):
            assert status_of(listener.port, dataset) == 0
    assert [r.outcome for r in receipts] == ["new", "conflict", "conflict"]
    (kept,), (beside,) = landed(tmp_path), landed(tmp_path, "conflicts/")
    assert pydicom.dcmread(kept).PixelData == first.PixelData
    assert pydicom.dcmread(beside).PixelData == other.PixelData
    assert "other bytes under a known name" in caplog.text


def test_strangers_are_rejected_with_the_standards_reason(listening: Listening) -> None:
    with listening() as listener:
        assert rejection(listener.port, caller="STRANGER") == (1, 1, 3)
        assert rejection(listener.port, called="OTHER") == (1, 1, 7)
        titles = ("-aet", "STRANGER", "-aec", "BRS")
        said = send("echoscu", *titles, "127.0.0.1", listener.port).said
    assert "Calling AE Title Not Recognized" in said


def test_a_known_title_from_a_wrong_host_is_refused(
    listening: Listening, tmp_path: Path
) -> None:
    both = (Caller("PACS", ("10.9.8.0/24",)), Caller("LOCAL", ("127.0.0.1",)))
    with listening(replace(CONFIG, callers=both)) as listener:
        assert rejection(listener.port) == (1, 1, 3)
        with associated(listener.port, caller="LOCAL") as association:
            assert association.is_established
    assert not landed(tmp_path)


def test_a_host_of_no_caller_is_not_even_read(listening: Listening) -> None:
    away = replace(CONFIG, callers=(Caller("PACS", ("10.9.8.7",)),))
    with listening(away) as listener:
        assert reply(listener.port, b"\x01") == b""


def test_the_association_limit_is_a_transient_rejection(listening: Listening) -> None:
    with (
        listening(replace(CONFIG, associations=1)) as listener,
        associated(listener.port) as first,
    ):
        assert first.is_established
        assert rejection(listener.port) == (2, 3, 2)


def test_the_rate_limit_is_a_transient_rejection_that_passes(
    listening: Listening,
) -> None:
    now_s = [0.0]
    slow = replace(CONFIG, associations_per_minute=1)
    with listening(slow, clock=lambda: now_s[0]) as listener:
        with associated(listener.port) as first:
            assert first.is_established
        assert rejection(listener.port) == (2, 3, 1)
        now_s[0] = 60.0
        with associated(listener.port) as later:
            assert later.is_established


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(range(256)) * 64,
        b"\x16\x03\x01\x02\x00\x01",
        struct.pack(">BBL", 1, 0, 0xFFFFFFFF),
        struct.pack(">BBL", 1, 0, 100) + b"\xff" * 100,
    ],
    ids=["http", "bytes", "tls", "four-gigabyte-pdu", "broken-request"],
)
def test_garbage_is_cut_off_and_the_next_sender_served(
    listening: Listening, data: bytes
) -> None:
    with listening(replace(CONFIG, opening_s=1.0, idle_s=1.0)) as listener:
        reply(listener.port, data)
        assert status_of(listener.port, instance("1.2", "1.2.3")) == 0


def test_a_silent_stranger_holds_up_nobody(listening: Listening) -> None:
    with (
        listening() as listener,
        socket.create_connection(("127.0.0.1", listener.port)),
    ):
        assert status_of(listener.port, instance("1.2", "1.2.3")) == 0


def test_a_pdu_longer_than_agreed_is_aborted(listening: Listening) -> None:
    with (
        listening(replace(CONFIG, pdu_bytes=16_384)) as listener,
        associated(listener.port) as association,
    ):
        assert association.acceptor.maximum_length == 16_384
        raw = association.dul.socket
        assert raw is not None
        assert raw.socket is not None
        raw.socket.sendall(struct.pack(">BBL", 4, 0, 16_385))
        ends_s = time.monotonic() + 10
        while not association.is_aborted and time.monotonic() < ends_s:
            time.sleep(0.01)
        assert association.is_aborted


def test_an_object_over_the_limit_is_aborted_and_not_kept(
    listening: Listening, tmp_path: Path
) -> None:
    sent = study(tmp_path / "sent", slices=1, side_px=1024)
    with listening(replace(CONFIG, max_object_bytes=4096)) as listener:
        assert storing(listener.port, *sent.glob("*")).code != 0
    assert not landed(tmp_path)


def test_the_disk_is_refused_before_it_is_full(tmp_path: Path) -> None:
    free = [5000]
    queue = Queue(tmp_path / "work")
    landing = Landing(queue, min_free_bytes=2000, free=lambda _: free[0])
    with Listener(CONFIG, landing) as listener:
        assert status_of(listener.port, instance("1.2", "1.2.3")) == 0
        free[0] = 2500
        full = instance("1.2", "1.2.3", number=2)
        assert status_of(listener.port, full) == 0xA700
        free[0] = 5000
        assert status_of(listener.port, full) == 0
        assert listener.counts() == {"new": 2, "no room": 1}


def test_what_cannot_be_written_is_never_a_success(
    listening: Listening, tmp_path: Path
) -> None:
    with listening() as listener:
        # A file where the study's folder belongs: it cannot be made.
        (tmp_path / "work/incoming" / key("1.2")).touch()
        assert status_of(listener.port, instance("1.2", "1.2.3")) == 0xA700
    assert not list((tmp_path / "work/receiving").glob("*.part"))


def test_a_receipt_that_fails_is_never_a_success(listening: Listening) -> None:
    def fail(receipt: Receipt) -> None:
        raise RuntimeError(receipt.source_ae)

    with listening(hooks=Hooks(fail)) as listener:
        assert status_of(listener.port, instance("1.2", "1.2.3")) == 0xC001


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("uid", ["1.2.03", "1", "../../etc/passwd", "1.2." + "9" * 61])
def test_a_uid_that_breaks_the_standard_is_no_name(
    listening: Listening, tmp_path: Path, uid: str
) -> None:
    with listening() as listener:
        assert status_of(listener.port, instance(uid, "1.2.3")) == 0xC000
        assert listener.counts() == {"malformed": 1}
    assert not landed(tmp_path)


def test_an_instance_other_than_announced_is_refused(
    listening: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = instance("1.2", "1.2.3")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    dataset.preamble = bytes(128)
    dataset.save_as(tmp_path / "other.dcm", enforce_file_format=False)
    # Sent in chunks, the command takes its UIDs from the file meta information.
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    with listening() as listener, associated(listener.port) as association:
        assert association.send_c_store(tmp_path / "other.dcm").Status == 0xA900


def test_a_deflated_instance_is_kept_as_it_came(
    listening: Listening, tmp_path: Path
) -> None:
    path = tmp_path / "deflated.dcm"
    dataset = with_meta(instance("1.2", "1.2.3"), DeflatedExplicitVRLittleEndian)
    dataset.save_as(path, enforce_file_format=True)
    with listening() as listener:
        assert storing(listener.port, path, more="-xd").code == 0
    (kept,) = landed(tmp_path)
    syntax = pydicom.dcmread(kept).file_meta.TransferSyntaxUID
    assert syntax == DeflatedExplicitVRLittleEndian


def compressed(syntax: UID) -> Dataset:
    dataset = instance("1.2", "1.2.3", side_px=64)
    dataset.compress(syntax, generate_instance_uid=False)
    return dataset


@pytest.mark.parametrize(
    "make",
    [
        lambda: compressed(RLELossless),
        lambda: compressed(JPEG2000Lossless),
        lambda: enhanced(phases(2)),
        lambda: legacy(phases(1)),
    ],
    ids=["RLE", "JPEG 2000", "Enhanced MR", "Legacy Converted Enhanced MR"],
)
def test_what_a_mask_can_be_made_of_is_kept_as_it_came(
    make: Callable[[], Dataset], listening: Listening, tmp_path: Path
) -> None:
    dataset = make()
    with listening() as listener:
        assert status_of(listener.port, dataset) == 0
    (kept,) = map(pydicom.dcmread, landed(tmp_path))
    assert kept.SOPClassUID == dataset.SOPClassUID
    assert kept.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
    assert kept.PixelData == dataset.PixelData


def test_other_classes_are_dropped_so_that_no_router_sends_for_ever(
    listening: Listening, tmp_path: Path
) -> None:
    dataset = instance("1.2", "1.2.3")
    dataset.SOPClassUID = CTImageStorage
    with_meta(dataset, dataset.file_meta.TransferSyntaxUID)
    dataset.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    with listening() as listener:
        assert storing(listener.port, tmp_path / "ct.dcm").code == 0
        assert listener.counts() == {"discarded": 1}
    assert not landed(tmp_path)


def test_a_mask_is_kept_only_where_masks_are_wanted(
    listening: Listening, tmp_path: Path
) -> None:
    mask = instance("1.2", "1.2.3")
    mask.SOPClassUID = SegmentationStorage
    with_meta(mask, mask.file_meta.TransferSyntaxUID)
    with listening(replace(CONFIG, masks=False)) as listener:
        assert status_of(listener.port, mask) == 0xB006
        assert listener.counts() == {"discarded": 1}
    assert not landed(tmp_path)
    with listening() as listener:
        assert status_of(listener.port, mask) == 0
    assert len(landed(tmp_path)) == 1


def test_only_a_sender_that_ended_in_order_is_told_of(listening: Listening) -> None:
    receipts: list[Receipt] = []
    released: list[str] = []
    with listening(hooks=Hooks(receipts.append, released.append)) as listener:
        with associated(listener.port) as association:
            association.send_c_store(instance("1.2", "1.2.3"))
            association.abort()
        with associated(listener.port) as association:
            association.send_c_store(instance("1.2", "1.2.3", number=2))
    assert len({receipt.association for receipt in receipts}) == 2
    assert released == [receipts[1].association]


def test_other_classes_are_refused_when_the_site_wants_it(listening: Listening) -> None:
    with (
        listening(replace(CONFIG, others=Others.REFUSE)) as listener,
        associated(listener.port, sop_class=CTImageStorage) as association,
    ):
        assert not association.accepted_contexts


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_no_log_line_names_the_patient(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = instance("1.2", "1.2.3")
    twin = instance("1.2", "1.2.3")
    twin.PixelData = bytes(len(dataset.PixelData))
    broken = instance("1.2", "1.2.3", number=3)
    broken.SeriesInstanceUID = PATIENT_ID
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    with listening() as listener:
        for sent in (dataset, twin, broken):
            status_of(listener.port, sent)
    assert "refused an instance" in caplog.text
    assert PATIENT not in caplog.text
    assert PATIENT_ID not in caplog.text
    assert dataset.SOPInstanceUID not in caplog.text


def test_tls_lets_in_only_certificates_of_the_authority(
    listening: Listening, tmp_path: Path
) -> None:
    own, foreign = (Authority(tmp_path / n, n) for n in ("own", "foreign"))
    certificate, private = own.sign("server")
    config = replace(CONFIG, tls=TlsFiles(certificate, private, own.certificate))
    path = study(tmp_path / "sent", slices=1) / "0001.dcm"

    def code(port: int, pair: tuple[Path, Path]) -> int:
        more = f"+tls {pair[1]} {pair[0]} +cf {own.certificate}"
        return storing(port, path, more=more).code

    with listening(config) as listener:
        assert code(listener.port, own.sign("right")) == 0
        assert code(listener.port, foreign.sign("wrong")) != 0
        assert code(listener.port, own.sign("late", days=-1)) != 0
        assert storing(listener.port, path).code != 0
        anonymous = f"+tla -ic +cf {own.certificate}"
        assert storing(listener.port, path, more=anonymous).code != 0
        assert listener.counts() == {"new": 1}


def test_tls_files_that_do_not_fit_are_a_setting_to_mend(
    listening: Listening, tmp_path: Path
) -> None:
    files = TlsFiles(*(tmp_path / name for name in ("a", "b", "c")))
    with (
        pytest.raises(ConfigError, match="TLS files"),
        listening(replace(CONFIG, tls=files)),
    ):
        pass


def test_a_port_in_use_is_a_setting_to_mend(
    listening: Listening, tmp_path: Path
) -> None:
    with listening() as listener:
        taken = replace(CONFIG, port=listener.port)
        other = Listener(taken, Landing(Queue(tmp_path / "other")))
        with pytest.raises(ConfigError, match=str(listener.port)):
            other.__enter__()


@pytest.mark.parametrize(
    "settings",
    [
        {"callers": ()},
        {"ae_title": "SEVENTEEN_LETTERS"},
        {"ae_title": ""},
        {"pdu_bytes": 0},
        {"associations": 0},
        {"port": 65_536},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **settings)  # type: ignore[arg-type]


def test_a_host_name_is_no_host() -> None:
    with pytest.raises(ConfigError, match=r"pacs\.example"):
        Caller("PACS", ("pacs.example",))


KILLED = """
import os, sys
from pathlib import Path
from plugin.jobs import Queue
from plugin.listener import Hooks, Listener
from plugin.receiving.landing import Landing
from plugin.receiving.settings import Caller, ListenerConfig
from plugin.receiving.storing import Receipt

kept, link = [0], os.link

def killed(part, path):
    kept[0] += 1
    if kept[0] > int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    return link(part, path)

os.link = killed
config = ListenerConfig("BRS", (Caller("PACS"),), port=0, min_free_bytes=0)
with Listener(config, Landing(Queue(Path(sys.argv[1])))) as listener:
    print(listener.port, flush=True)
    sys.stdin.read()
"""


def test_kill_9_between_write_and_rename_loses_nothing_answered(
    listening: Listening, tmp_path: Path
) -> None:
    work, sent = tmp_path / "work", study(tmp_path / "sent", slices=5)
    words = [sys.executable, "-c", KILLED, str(work), "3"]
    with subprocess.Popen(
        words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as victim:
        assert victim.stdout is not None
        port = int(victim.stdout.readline())
        said = storing(port, *sorted(sent.glob("*"))).said
        assert victim.wait(timeout=20) == -9
    assert said.count("Received Store Response (Success)") == 3
    answered = {
        bytes(pydicom.dcmread(sent / f"{n:04}.dcm").PixelData) for n in (1, 2, 3)
    }
    assert datasets(work / "incoming") == answered
    assert len(list((work / "receiving").glob("*.part"))) == 1
    with listening() as listener:
        assert not list((work / "receiving").glob("*.part"))
        assert storing(listener.port, *sent.glob("*")).code == 0
        assert listener.counts() == {"duplicate": 3, "new": 2}
