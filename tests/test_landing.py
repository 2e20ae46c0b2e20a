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
from plugin.receiving.identity import Identity, identify, is_uid, key
from plugin.receiving.landing import DiskFullError, Landing, Outcome

IDENTITY = Identity("1.2", "1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.4")
HEAD = bytes(140) + (10).to_bytes(4, "little") + bytes(10)
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


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


def test_the_first_copy_stays_and_others_are_told_apart(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing:
        first = landing.keep(IDENTITY, HEAD, b"pixels")
        again = landing.keep(IDENTITY, HEAD, b"pixels")
        longer = landing.keep(IDENTITY, HEAD, b"pixels and more")
    assert [first.outcome, again.outcome, longer.outcome] == [
        Outcome.NEW,
        Outcome.DUPLICATE,
        Outcome.DIFFERENT,
    ]
    assert first.path == again.path
    assert first.path.read_bytes() == HEAD + b"pixels"
    assert longer.path.read_bytes() == HEAD + b"pixels and more"


def test_who_sent_it_makes_no_other_instance(tmp_path: Path) -> None:
    other_head = bytes(140) + (12).to_bytes(4, "little") + b"another head"
    with Landing(tmp_path) as landing:
        landing.keep(IDENTITY, HEAD, b"pixels")
        assert landing.keep(IDENTITY, other_head, b"pixels").outcome == "duplicate"


def test_the_bytes_and_both_names_are_synced_before_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().suffix or "folder")
        fsync(descriptor)

    with Landing(tmp_path) as landing:
        monkeypatch.setattr(os, "fsync", noted)
        landing.keep(IDENTITY, HEAD, b"pixels")
        assert synced == [".part", "folder", "folder"]
        synced.clear()
        landing.keep(IDENTITY, HEAD, b"pixels")
        assert synced == [".part", "folder"]


def test_a_disk_error_after_the_rename_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Landing(tmp_path) as landing:
        landing.keep(IDENTITY, HEAD, b"pixels")

        def broken(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output"):
            landing.keep(IDENTITY, HEAD, b"pixels")
    assert not list(landing.parts.glob("*.part"))


def test_bytes_promised_to_others_count_as_used(tmp_path: Path) -> None:
    with (
        Landing(tmp_path, min_free_bytes=10, free=lambda _: 220) as landing,
        landing._reserved(100),
    ):
        with pytest.raises(DiskFullError), landing._reserved(111):
            pass
        with landing._reserved(110):
            pass


def test_a_study_is_taken_whole_and_comes_again_anew(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing:
        landing.keep(IDENTITY, HEAD, b"pixels")
        landing.take(IDENTITY.study_key, tmp_path / "job")
        assert [p.read_bytes() for p in (tmp_path / "job").iterdir()] == [
            HEAD + b"pixels"
        ]
        assert landing.keep(IDENTITY, HEAD, b"pixels").outcome == "new"


def test_two_listeners_cannot_share_a_folder(tmp_path: Path) -> None:
    with Landing(tmp_path), pytest.raises(ConfigError, match="another listener"):
        Landing(tmp_path).__enter__()


def test_parts_of_a_killed_listener_are_removed(tmp_path: Path) -> None:
    (tmp_path / "receiving").mkdir()
    (tmp_path / "receiving" / "half.part").write_bytes(b"half")
    with Landing(tmp_path) as landing:
        assert not list(landing.parts.glob("*.part"))
