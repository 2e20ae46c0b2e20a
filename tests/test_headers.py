"""A scan of any folder: MR frames out, all else counted, nothing read twice."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from synthetic import (
    DAY,
    SECRETS,
    Plan,
    change,
    enhanced,
    legacy,
    one_series,
    phases,
    slices,
    write,
)

from plugin.errors import InputError
from plugin.reading.elements import clock_s, instant_s, numbers, stamp_s, text, texts
from plugin.reading.headers import Scan, scan

DAY_S = 738_916 * 86_400  # date(2024, 1, 31).toordinal()


def scan_one(folder: Path, plan: Plan | None = None, **tags: Any) -> Any:
    """Write one slice and return its frame."""
    write(change(slices(plan or Plan())[:1], **tags), folder)
    (frame,) = scan(folder).frames
    return frame


def test_a_single_frame_header_is_read(tmp_path: Path) -> None:
    frame = scan_one(
        tmp_path,
        TemporalPositionIdentifier=3,
        TriggerTime="1500",
        AcquisitionNumber=2,
        ContrastBolusAgent="Gadolinium",
        ContrastBolusStartTime="100100",
        Laterality="L",
    )
    assert frame.plane.position_mm == (-160.0, -120.0, -30.0)
    assert frame.plane.pixel_mm == pytest.approx((15.0, 320 / 24))
    assert frame.plane.shape == (16, 24)
    assert frame.series.number == 5
    assert frame.series.description == "t1_fl3d_tra"
    assert frame.series.patient_position == "HFP"
    assert frame.series.laterality == "L"
    assert frame.technique.image_type == ("ORIGINAL", "PRIMARY", "M", "ND")
    assert frame.technique.sequences == ("GR",)
    assert (frame.technique.echo_ms, frame.technique.repetition_ms) == (2.0, 5.0)
    assert frame.times.temporal_position == 3
    assert frame.times.trigger_s == 1.5
    assert frame.times.acquisition_s == DAY_S + 36_000
    assert frame.times.acquisition_number == 2
    assert frame.contrast
    assert frame.bolus_s == DAY_S + 36_060
    assert (frame.problem, frame.lossy) == ("", False)


@pytest.mark.parametrize("agent", ["", "NONE", "no", None])
def test_an_agent_that_was_not_given_is_none(tmp_path: Path, agent: str | None) -> None:
    assert not scan_one(tmp_path, ContrastBolusAgent=agent).contrast


def test_frames_of_an_enhanced_object_carry_their_own_header(tmp_path: Path) -> None:
    write([enhanced(phases(2))], tmp_path)
    frames = scan(tmp_path).frames
    assert [f.ref.frame_number for f in frames] == list(range(1, 25))
    assert frames[13].plane is not None
    assert frames[13].plane.position_mm == (-160.0, -120.0, -25.0)
    assert frames[13].times.temporal_position == 2
    assert frames[13].times.acquisition_s == DAY_S + 36_090
    assert frames[13].technique.echo_ms == 2.0


def test_an_enhanced_frame_says_whether_contrast_was_given(tmp_path: Path) -> None:
    dataset = enhanced(phases(2))
    dataset.ContrastBolusAgentSequence = [Dataset()]
    groups = dataset.PerFrameFunctionalGroupsSequence
    for index, group in enumerate(groups):
        usage = Dataset()
        usage.ContrastBolusAgentAdministered = "YES" if index >= 12 else "NO"
        group.ContrastBolusUsageSequence = [usage]
    write([dataset], tmp_path)
    assert [f.contrast for f in scan(tmp_path).frames] == [False] * 12 + [True] * 12


def test_frames_of_a_legacy_converted_object_keep_their_clocks(tmp_path: Path) -> None:
    write([legacy(phases(2))], tmp_path)
    times = sorted(f.times.acquisition_s or 0 for f in scan(tmp_path).frames)
    assert times == [DAY_S + 36_000] * 12 + [DAY_S + 36_090] * 12


def test_what_is_no_mr_image_is_counted_by_reason(tmp_path: Path) -> None:
    write(slices(Plan()), tmp_path / "5")
    (tmp_path / "catalog.xml").write_text("<catalog/>")
    (tmp_path / "notes").write_text("text without a suffix")
    (tmp_path / ".lock").touch()
    (tmp_path / "0001.dcm").touch()
    other = change(slices(Plan(number=7))[:3], SOPClassUID=SecondaryCaptureImageStorage)
    write(other, tmp_path / "7")
    write(
        change(slices(Plan(number=8))[:1], SOPClassUID=CTImageStorage), tmp_path / "8"
    )
    index = change(slices(Plan(number=9))[:1], SOPClassUID=MediaStorageDirectoryStorage)
    write(index, tmp_path, name=lambda _: "DICOMDIR")
    found = scan(tmp_path)
    assert len(found.frames) == 12
    assert found.ignored == {
        "not DICOM": 2,
        "empty file": 2,
        "Secondary Capture Image Storage": 3,
        "CT Image Storage": 1,
        "DICOMDIR": 1,
    }
    assert [str(d.path) for d in found.damaged] == ["0001.dcm"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    session, outside = tmp_path / "session", tmp_path / "outside"
    write(slices(Plan())[:2], session)
    write(slices(Plan(number=6))[:2], outside)
    (session / "loop").symlink_to(session)
    (session / "away").symlink_to(outside)
    (session / "file.dcm").symlink_to(outside / "0000.dcm")
    found = scan(session)
    assert len(found.frames) == 2
    assert found.ignored == {"symbolic link": 3}


def test_a_pipe_does_not_stop_the_scan(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    assert scan(tmp_path).ignored == {"not a regular file": 1}


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    write(slices(Plan())[:2], tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(scan(tmp_path / "link").frames) == 2


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    (path,) = write(slices(Plan())[:1], tmp_path)
    path.write_bytes(path.read_bytes()[132:])
    assert len(scan(tmp_path).frames) == 1


def test_a_deflated_file_is_read(tmp_path: Path) -> None:
    (dataset,) = slices(Plan())[:1]
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    write([dataset], tmp_path)
    assert scan(tmp_path).frames[0].problem == ""


def test_a_copy_of_an_instance_counts_once(tmp_path: Path) -> None:
    write(slices(Plan()), tmp_path / "a")
    write(slices(Plan()), tmp_path / "b")
    found = scan(tmp_path)
    assert len(found.frames) == 12
    assert found.ignored == {"duplicate of an instance": 12}


def test_of_two_copies_the_complete_one_is_kept(tmp_path: Path) -> None:
    (short,) = write(slices(Plan())[:1], tmp_path / "a")
    short.write_bytes(short.read_bytes()[:-100])
    write(slices(Plan())[:1], tmp_path / "b")
    (frame,) = scan(tmp_path).frames
    assert frame.problem == ""
    assert frame.ref.path.parent.name == "b"


def test_copies_that_contradict_each_other_are_marked(tmp_path: Path) -> None:
    write(slices(Plan())[:1], tmp_path / "a")
    moved = change(slices(Plan())[:1], ImagePositionPatient=["1", "2", "3"])
    write(moved, tmp_path / "b")
    (frame,) = scan(tmp_path).frames
    assert frame.problem == "same SOP Instance UID, other content"


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        ("ImagePositionPatient", None, "no ImagePositionPatient"),
        ("ImageOrientationPatient", None, "no ImageOrientationPatient"),
        ("PixelSpacing", None, "no PixelSpacing"),
        ("PixelSpacing", ["0", "0"], "an impossible image plane"),
        ("ImageOrientationPatient", ["1", "0", "0"] * 2, "an impossible image plane"),
        ("SamplesPerPixel", 3, "3 samples per pixel"),
        ("NumberOfFrames", "2", "2 frames in a single-frame object"),
        ("PixelData", None, "no pixel data"),
    ],
)
def test_a_frame_that_cannot_be_used_says_why(
    tmp_path: Path, keyword: str, value: Any, problem: str
) -> None:
    assert scan_one(tmp_path, **{keyword: value}).problem == problem


def test_truncated_pixels_are_seen_without_reading_them(tmp_path: Path) -> None:
    (path,) = write(slices(Plan())[:1], tmp_path)
    path.write_bytes(path.read_bytes()[:-68])
    (frame,) = scan(tmp_path).frames
    assert frame.problem == "truncated pixel data, 700 of 768 bytes"


def test_truncated_compressed_pixels_are_seen(tmp_path: Path) -> None:
    (dataset,) = slices(Plan())[:1]
    dataset.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    (path,) = write([dataset], tmp_path)
    path.write_bytes(path.read_bytes()[:-12])
    assert scan(tmp_path).frames[0].problem == "truncated pixel data"


def test_names_on_disk_do_not_change_the_scan(tmp_path: Path) -> None:
    datasets = one_series("temporal position", count=2)
    write(datasets, tmp_path / "a")
    write(datasets[::-1], tmp_path / "b", name="z{:03d}".format)

    def uids(found: Scan) -> list[str]:
        return [frame.ref.sop_instance_uid for frame in found.frames]

    assert uids(scan(tmp_path / "a")) == uids(scan(tmp_path / "b"))


def test_no_patient_data_is_kept(tmp_path: Path) -> None:
    frame = scan_one(tmp_path)
    assert not [secret for secret in SECRETS if secret in repr(frame)]


def test_patients_are_told_apart_by_a_digest(tmp_path: Path) -> None:
    for patient in ("one", "two"):
        write(slices(Plan(patient=patient, study=patient))[:1], tmp_path / patient)
    assert len({frame.series.patient for frame in scan(tmp_path).frames}) == 2


def test_descriptions_follow_their_character_set(tmp_path: Path) -> None:
    frame = scan_one(
        tmp_path, SpecificCharacterSet="ISO_IR 192", SeriesDescription="T1 après 造影前"
    )
    assert frame.series.description == "T1 après 造影前"


def test_a_declared_lossy_compression_is_marked(tmp_path: Path) -> None:
    assert scan_one(tmp_path, LossyImageCompression="01").lossy


@pytest.mark.parametrize("declared", [None, "01", "00"])
def test_jpeg_2000_is_lossy_unless_declared_lossless(
    tmp_path: Path, declared: str | None
) -> None:
    datasets = slices(Plan(shape=(1, 32, 32)))
    datasets[0].compress(JPEG2000Lossless, generate_instance_uid=False)
    datasets[0].file_meta.TransferSyntaxUID = JPEG2000
    write(change(datasets, LossyImageCompression=declared), tmp_path)
    assert scan(tmp_path).frames[0].lossy == (declared != "00")


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be listed"):
        scan(tmp_path / "none")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("101112.5", 36_672.5),
        ("1011", 36_660.0),
        ("10", 36_000.0),
        ("10:11:12.25", 36_672.25),
        ("101112.", 36_672.0),
        ("101112.5+0100", 36_672.5),
        ("", None),
        ("1", None),
        ("10111.2", None),
        ("noon", None),
    ],
)
def test_times_of_day_are_read(value: str, seconds: float | None) -> None:
    assert clock_s(value) == seconds


def from_disk(folder: Path, **tags: Any) -> Dataset:
    dataset = change(slices(Plan())[:1], **tags)[0]
    return dcmread(write([dataset], folder)[0])


def test_a_time_is_dated_by_its_own_day_or_the_series(tmp_path: Path) -> None:
    own = from_disk(tmp_path, AcquisitionDate="20240201", AcquisitionTime="000010")
    assert instant_s(own, day="AcquisitionDate", clock="AcquisitionTime") == (
        DAY_S + 86_400 + 10
    )
    none = from_disk(tmp_path, AcquisitionDate=None, AcquisitionTime="000010")
    assert instant_s(none, day="AcquisitionDate", clock="AcquisitionTime") == DAY_S + 10


def test_a_date_without_time_is_no_instant(tmp_path: Path) -> None:
    assert stamp_s(
        from_disk(tmp_path, AcquisitionDateTime=DAY), "AcquisitionDateTime"
    ) is (None)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_malformed_values_count_as_absent(tmp_path: Path) -> None:
    path = write(change(slices(Plan())[:1], EchoTime="2.5"), tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b"2.5 ", b"2,5 "))
    dataset = dcmread(path)
    assert numbers(dataset, "EchoTime") == ()
    assert numbers(dataset, "TriggerTime") == ()
    assert text(dataset, "TriggerTime") == ""
    assert texts(dataset, "ImageType") == ("ORIGINAL", "PRIMARY", "M", "ND")


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400))
def test_any_bytes_are_scanned_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.dcm").write_bytes(data)
    (folder / "b.dcm").write_bytes(b"\0" * 128 + b"DICM" + data)
    found = scan(folder)
    assert found.frames == ()
    assert sum(found.ignored.values()) == 2


@settings(deadline=None, max_examples=60)
@given(
    position=st.integers(132, 1400), value=st.integers(0, 255), cut=st.integers(0, 1)
)
def test_a_changed_byte_never_breaks_the_scan(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("byte")
    datasets = slices(Plan())[:1]
    datasets[0].SOPInstanceUID = generate_uid()
    (path,) = write(datasets, folder)
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data[: position if cut else len(data)])
    found = scan(folder)
    assert len(found.frames) + sum(found.ignored.values()) == 1
