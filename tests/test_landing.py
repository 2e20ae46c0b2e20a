import os
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from scp_peers import instance

from plugin.errors import ConfigError, InputError
from plugin.jobs import Arrival, Queue, StorageError
from plugin.receiving.identity import Identity, identify, is_uid, key
from plugin.receiving.landing import DiskFullError, Landing

IDENTITY = Identity("1.2", "1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.4")
HEAD = bytes(140) + (10).to_bytes(4, "little") + bytes(10)
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def landing_in(folder: Path) -> Landing:
    return Landing(Queue(folder))


def received(folder: Path) -> dict[str, bytes]:
    images = folder / "incoming" / IDENTITY.study_key / "images"
    return {path.name: path.read_bytes() for path in images.iterdir()}


def encoded(dataset: Dataset, syntax: UID) -> BytesIO:
    stream = DicomBytesIO()
    stream.is_implicit_VR = syntax.is_implicit_VR
    stream.is_little_endian = syntax.is_little_endian
    dataset.file_meta.TransferSyntaxUID = syntax
    write_dataset(stream, dataset)
    return BytesIO(stream.getvalue())


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_identity_is_read_from_every_encoding(syntax: UID) -> None:
    sent = instance("1.2", "1.2.3")
    del sent.PixelData
    identity = identify(encoded(sent, syntax), syntax)
    assert identity.study_uid == "1.2"
    assert identity.series_uid == "1.2.3"
    assert identity.sop_uid == sent.SOPInstanceUID
    assert identity.sop_class_uid == sent.SOPClassUID


@given(st.binary(max_size=400), st.sampled_from([*SYNTAXES, "deflated"]))
def test_any_bytes_are_an_identity_or_a_refusal(data: bytes, name: str) -> None:
    syntax = DeflatedExplicitVRLittleEndian if name == "deflated" else UID(name)
    with pytest.raises(InputError, match="a received dataset"):
        identify(BytesIO(data), syntax)


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("1.2.840.10008.1.1", True),
        ("0.0", True),
        ("2.25.329800735698586629295641978511506172918", True),
        ("1." + "9" * 62, True),
        ("1." + "9" * 63, False),
        ("1.02", False),
        ("1..2", False),
        ("1.2.", False),
        ("1", False),
        ("", False),
        ("1.2\n", False),
        ("1.\u0661", False),
    ],
)
def test_uids_are_what_the_standard_says(value: str, valid: bool) -> None:  # noqa: FBT001
    assert is_uid(value) is valid


def test_a_study_is_named_by_sixteen_digits_of_its_hash() -> None:
    assert key("1.2.840.10008.1.1") == "7a96f697a695cd07"


def test_an_instance_is_the_queues_when_it_is_kept(tmp_path: Path) -> None:
    with landing_in(tmp_path) as landing:
        assert landing.keep(IDENTITY, HEAD, b"pixels") is Arrival.NEW
        assert not list(landing.parts.glob("*.part"))
    assert received(tmp_path) == {f"{IDENTITY.sop_key}.dcm": HEAD + b"pixels"}


def test_the_bytes_and_all_names_are_synced_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append(path.suffix or path.name)
        fsync(descriptor)

    job = key("1.2")
    with landing_in(tmp_path) as landing:
        monkeypatch.setattr(os, "fsync", noted)
        landing.keep(IDENTITY, HEAD, b"pixels")
        # The bytes; the journal in its new folder; the folder's name and its own.
        assert synced == [".part", ".part", job, "incoming", job, "images"]
        synced.clear()
        landing.keep(IDENTITY, HEAD, b"pixels")
        assert synced == [".part", "images"]


def test_a_copy_of_what_a_done_job_has_is_synced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(tmp_path)
    with Landing(queue) as landing:
        landing.keep(IDENTITY, HEAD, b"pixels")
        queue.enqueue(IDENTITY.study_key)

        def broken(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().name == "images":
                raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(StorageError, match="Input/output"):
            landing.keep(IDENTITY, HEAD, b"pixels")
    assert not list(landing.parts.glob("*.part"))


def test_bytes_promised_to_others_count_as_used(tmp_path: Path) -> None:
    with (
        Landing(Queue(tmp_path), min_free_bytes=10, free=lambda _: 220) as landing,
        landing._reserved(100),
    ):
        with pytest.raises(DiskFullError), landing._reserved(111):
            pass
        with landing._reserved(110):
            pass


def test_two_listeners_cannot_share_a_folder(tmp_path: Path) -> None:
    with landing_in(tmp_path), pytest.raises(ConfigError, match="another listener"):
        landing_in(tmp_path).__enter__()


def test_parts_of_a_killed_listener_are_removed(tmp_path: Path) -> None:
    (tmp_path / "receiving").mkdir()
    (tmp_path / "receiving" / "half.part").write_bytes(b"half")
    with landing_in(tmp_path) as landing:
        assert not list(landing.parts.glob("*.part"))
