from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom import Volume, imread
from peers import dicom_errors
from phantoms import patient_for, site_for
from pydicom.dataset import FileDataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from model.phantom import PhantomCase, make_case
from model.synthetic.site import FatSuppression, PhaseEncoding
from plugin.dce import DceRules, choose
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.volumes import load_pair

SINGLE_FRAME = (
    VendorStyle.SEPARATE_SERIES,
    VendorStyle.TEMPORAL_POSITION,
    VendorStyle.TRIGGER_TIME,
)
SLICES, PHASES = 5, 6
LOCALISERS, T2_SLICES = 9, 3


@pytest.fixture(scope="module")
def case() -> PhantomCase:
    site = replace(site_for(1, slices=SLICES, matrix_px=32), rows=28)
    return make_case(patient_for(1), site, seed=1)


def write(
    case: PhantomCase, folder: Path, style: VendorStyle, *, distractors: bool = False
) -> list[FileDataset]:
    write_session(case, folder, style=style, session_id="S001", distractors=distractors)
    return read(folder)


def read(folder: Path) -> list[FileDataset]:
    return [pydicom.dcmread(p) for p in sorted(folder.rglob("*")) if p.is_file()]


def phase_key(style: VendorStyle, image: FileDataset) -> float:
    """Return what this vendor tells phases apart by."""
    match style:
        case VendorStyle.SEPARATE_SERIES:
            return float(image.AcquisitionTime)
        case VendorStyle.TEMPORAL_POSITION:
            return float(image.TemporalPositionIdentifier)
        case _:
            return float(image.TriggerTime)


def volumes(style: VendorStyle, images: list[FileDataset]) -> list[Volume]:
    """Return the phases by time, each built from its own headers alone."""
    groups = defaultdict(list)
    for image in images:
        groups[phase_key(style, image)].append(image)
    return [volume(groups[key]) for key in sorted(groups)]


def volume(images: list[FileDataset]) -> Volume:
    ordered = sorted(images, key=lambda i: float(i.ImagePositionPatient[2]))
    first = ordered[0]
    row, column = np.reshape(first.ImageOrientationPatient, (2, 3)).astype(float)
    step = np.subtract(ordered[1].ImagePositionPatient, first.ImagePositionPatient)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = column * first.PixelSpacing[0]
    affine[:3, 2] = row * first.PixelSpacing[1]
    affine[:3, 3] = first.ImagePositionPatient
    pixels = np.stack([image.pixel_array for image in ordered])
    return Volume(pixels, affine, coordinate_system="PATIENT")


@pytest.mark.parametrize("style", SINGLE_FRAME)
def test_the_headers_alone_give_back_every_phase_in_place(
    case: PhantomCase, tmp_path: Path, style: VendorStyle
) -> None:
    found = volumes(style, write(case, tmp_path, style))
    assert len(found) == PHASES
    for phase, truth in zip(found, case.phases, strict=True):
        canonical = phase.to_patient_orientation("HPL")
        assert canonical.affine == pytest.approx(truth.affine, abs=1e-4)
        assert np.array_equal(canonical.array, truth.array)


def test_the_enhanced_object_gives_back_every_phase_in_place(
    case: PhantomCase, tmp_path: Path
) -> None:
    write(case, tmp_path, VendorStyle.ENHANCED)
    image = imread(next(tmp_path.rglob("*.dcm")))
    assert image.NumberOfFrames == PHASES * SLICES
    frames = image.pixel_array.reshape(PHASES, SLICES, *image.pixel_array.shape[1:])
    for phase, truth in zip(frames, case.phases, strict=True):
        assert np.array_equal(phase, truth.array)
    for number, groups in enumerate(image.PerFrameFunctionalGroupsSequence):
        content = groups.FrameContentSequence[0]
        phase, k = divmod(number, SLICES)
        assert list(content.DimensionIndexValues) == [phase + 1, k + 1]
        assert content.TemporalPositionIndex == phase + 1
        place = groups.PlanePositionSequence[0].ImagePositionPatient
        expected = case.phases[0].affine @ [k, 0, 0, 1]
        assert list(place) == pytest.approx(expected[:3].tolist(), abs=1e-4)


def test_one_multi_frame_instance_per_phase_is_a_volume_of_its_own(
    case: PhantomCase, tmp_path: Path
) -> None:
    images = write(case, tmp_path, VendorStyle.ENHANCED_PER_PHASE)
    assert len({image.SeriesInstanceUID for image in images}) == PHASES
    files = sorted(tmp_path.rglob("*.dcm"))
    for path, truth in zip(files, case.phases, strict=True):
        geometry = imread(path).get_volume_geometry()
        assert geometry is not None
        turned = geometry.to_patient_orientation("HPL")
        assert turned.affine == pytest.approx(truth.affine, abs=1e-4)
    assert "ContrastBolusAgentSequence" not in images[0]
    assert all("ContrastBolusAgentSequence" in image for image in images[1:])


@pytest.mark.parametrize("style", list(VendorStyle))
def test_writing_twice_gives_the_same_bytes(
    case: PhantomCase, tmp_path: Path, style: VendorStyle
) -> None:
    for name in ("a", "b"):
        write_session(case, tmp_path / name, style=style, session_id="S001")
    first, again = (
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    )
    assert first == again


@pytest.mark.parametrize("style", list(VendorStyle))
def test_sessions_share_no_uid_and_instances_are_unique(
    case: PhantomCase, tmp_path: Path, style: VendorStyle
) -> None:
    write_session(case, tmp_path / "a", style=style, session_id="S001")
    write_session(case, tmp_path / "b", style=style, session_id="S002")
    first, second = read(tmp_path / "a"), read(tmp_path / "b")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        uids = [{image[keyword].value for image in s} for s in (first, second)]
        assert not uids[0] & uids[1], keyword
    assert len({image.SOPInstanceUID for image in first}) == len(first)
    assert len({image.StudyInstanceUID for image in first}) == 1


def test_a_session_is_one_prone_synthetic_patient(
    case: PhantomCase, tmp_path: Path
) -> None:
    for image in write(case, tmp_path, VendorStyle.SEPARATE_SERIES, distractors=True):
        assert image.PatientID == "PHANTOM-S001"
        assert str(image.PatientName) == "PHANTOM^S001"
        assert image.PatientBirthDate == ""
        assert image.PatientPosition == "HFP"
        assert "no person" in image.PatientComments


def test_separate_series_start_in_the_order_of_their_phases(
    case: PhantomCase, tmp_path: Path
) -> None:
    images = write(case, tmp_path, VendorStyle.SEPARATE_SERIES)
    first = [image for image in images if image.InstanceNumber == 1]
    times = [image.AcquisitionTime for image in first]
    assert times == sorted(set(times))
    assert [image.SeriesNumber for image in first] == [5, 6, 7, 8, 9, 10]
    assert "pre" in first[0].SeriesDescription
    assert all("post" in image.SeriesDescription for image in first[1:])
    assert ["ContrastBolusAgent" in image for image in first] == [False] + [True] * 5


def test_temporal_positions_interleave_in_the_instance_number(
    case: PhantomCase, tmp_path: Path
) -> None:
    images = write(case, tmp_path, VendorStyle.TEMPORAL_POSITION)
    images.sort(key=lambda image: int(image.InstanceNumber))
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert {int(image.NumberOfTemporalPositions) for image in images} == {PHASES}
    positions = [int(image.TemporalPositionIdentifier) for image in images]
    assert positions == [1, 2, 3, 4, 5, 6] * SLICES
    heights = [float(image.ImagePositionPatient[2]) for image in images]
    assert heights == sorted(heights, reverse=True)


def test_trigger_time_is_the_only_clock_and_names_tell_nothing(
    case: PhantomCase, tmp_path: Path
) -> None:
    images = write(case, tmp_path, VendorStyle.TRIGGER_TIME)
    assert len({image.AcquisitionTime for image in images}) == 1
    assert len({image.TriggerTime for image in images}) == PHASES
    assert len({image.ContentTime for image in images}) == PHASES
    assert not any("TemporalPositionIdentifier" in image for image in images)
    by_name = [int(image.InstanceNumber) for image in images]
    assert by_name != sorted(by_name)
    assert all(p.suffix == "" for p in tmp_path.rglob("*") if p.is_file())
    protocol = case.site.protocol
    latest_ms = 1000 * (protocol.first_post_s + 4 * protocol.phase_interval_s)
    assert max(float(i.TriggerTime) for i in images) == pytest.approx(latest_ms)


@pytest.mark.parametrize("style", list(VendorStyle))
def test_distractors_lie_beside_the_dynamic_series(
    case: PhantomCase, tmp_path: Path, style: VendorStyle
) -> None:
    plain = write(case, tmp_path / "plain", style)
    beside = write(case, tmp_path / "beside", style, distractors=True)
    assert len(beside) == len(plain) + LOCALISERS + T2_SLICES
    extra = [image for image in beside if image.SeriesNumber < 5]
    localiser = [image for image in extra if image.SeriesNumber == 1]
    t2 = [image for image in extra if image.SeriesNumber == 2]
    assert len({tuple(i.ImageOrientationPatient) for i in localiser}) == 3
    assert {image.ScanningSequence for image in t2} == {"SE"}
    assert float(t2[0].SliceThickness) == pytest.approx(2 * case.site.slice_mm)
    assert {image.SOPClassUID for image in extra} == {MRImageStorage}
    assert {image.SOPClassUID for image in plain} == {
        EnhancedMRImageStorage if style.value.startswith("enhanced") else MRImageStorage
    }


@pytest.mark.parametrize("style", list(VendorStyle))
def test_our_reader_finds_the_first_two_phases_of_every_style(
    case: PhantomCase, tmp_path: Path, style: VendorStyle
) -> None:
    write_session(case, tmp_path, style=style, session_id="S001")
    pair = choose(tmp_path, DceRules(minimum_slices=SLICES))
    assert pair.confidence > 0.5
    for found, truth in zip(load_pair(pair), case.phases[:2], strict=True):
        canonical = found.to_patient_orientation("HPL")
        assert np.array_equal(canonical.array, truth.array)
        assert canonical.affine == pytest.approx(truth.affine, abs=1e-3)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("style", "encoding"),
    [
        *[(style, PhaseEncoding.COLUMN) for style in VendorStyle],
        (VendorStyle.ENHANCED, PhaseEncoding.ROW),
        (VendorStyle.SEPARATE_SERIES, PhaseEncoding.ROW),
    ],
)
def test_dciodvfy_finds_no_error(
    case: PhantomCase, tmp_path: Path, style: VendorStyle, encoding: PhaseEncoding
) -> None:
    bare = encoding is PhaseEncoding.ROW
    protocol = replace(
        case.site.protocol,
        phase_encoding=encoding,
        fat_suppression=FatSuppression.NONE if bare else FatSuppression.FULL,
    )
    varied = replace(case, site=replace(case.site, protocol=protocol))
    write_session(varied, tmp_path, style=style, session_id="S001")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 1 + LOCALISERS + T2_SLICES
    errors = {path.name: dicom_errors(path) for path in files}
    assert not {name: lines for name, lines in errors.items() if lines}
