import logging
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom.seg
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import UID
from scipy.spatial.transform import Rotation
from seg_sources import SECRETS, SourceStyle, write_phase

from plugin import seg
from plugin.errors import MaskError
from plugin.provenance import MaskState
from plugin.series import Phase

DCIODVFY = Path("/usr/bin/dciodvfy")
NETWORK = seg.Algorithm("brs FCN-ResNet50", "0.1.0", "ab" * 32, '{"engine":"cpu-fp32"}')
STYLES = {
    "one file per slice": SourceStyle(),
    "one series, two time points": SourceStyle(temporal=True),
    "multi-frame": SourceStyle(multi_frame=True),
    "multi-frame, all time points": SourceStyle(multi_frame=True, temporal=True),
    "a multi-frame file per slice": SourceStyle(apart=True),
}
Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def some_masks(style: SourceStyle, seed: int = 0) -> Masks:
    labels = np.random.default_rng(seed).integers(0, 3, style.shape)
    return labels == 1, labels == 2


def build(
    phase: Phase, masks: Masks, verdict: str = "publish"
) -> highdicom.seg.Segmentation:
    return seg.build(
        phase, masks, algorithm=NETWORK, verdict=verdict, state=MaskState.MODEL_DRAFT
    )


def build_by_hand(phase: Phase, masks: Masks) -> highdicom.seg.Segmentation:
    return seg.build(
        phase, masks, algorithm=None, verdict="publish", state=MaskState.HUMAN
    )


def written(folder: Path, phase: Phase, masks: Masks) -> Path:
    path = folder / "mask.dcm"
    seg.write(build(phase, masks), path)
    return path


LENGTHS = st.integers(3, 6)
MILLIMETRES = st.floats(0.3, 5.0).map(lambda v: round(v, 4))
SIGNS = st.sampled_from([1.0, -1.0])
STRAIGHT = st.builds(lambda a, b: (a, 0.0, 0.0, 0.0, b, 0.0), SIGNS, SIGNS)
TURNED = (
    st.tuples(*[st.floats(-1, 1)] * 4)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: tuple(Rotation.from_quat(q).as_matrix()[:2].ravel()))
)
ANY_STYLE = st.builds(
    SourceStyle,
    shape=st.tuples(st.integers(2, 5), LENGTHS, LENGTHS),
    orientation=STRAIGHT | TURNED,
    position_mm=st.tuples(*[st.floats(-200, 200)] * 3),
    pixel_mm=st.tuples(MILLIMETRES, MILLIMETRES),
    slice_mm=MILLIMETRES,
    multi_frame=st.booleans(),
    temporal=st.booleans(),
)
"""Axial, tilted, reversed and negated orientations, pixels that are not square."""


@settings(max_examples=20, deadline=None)
@given(style=ANY_STYLE, seed=st.integers(0, 2**31))
def test_a_mask_comes_back_voxel_for_voxel(style: SourceStyle, seed: int) -> None:
    right, left = some_masks(style, seed)
    with tempfile.TemporaryDirectory() as name:
        phase = write_phase(Path(name), style)
        path = written(Path(name), phase, (right, left))
        mask = seg.read(path, phase)
        check_every_frame(path, phase, (right, left))
    np.testing.assert_array_equal(mask.right.array, right)
    np.testing.assert_array_equal(mask.left.array, left)


def check_every_frame(path: Path, phase: Phase, masks: Masks) -> None:
    """By pydicom alone: each frame's source is the slice it lies on, and its mask."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array
    numbers = reference_numbers(phase)
    index = {
        (f.sop_instance_uid, number): i
        for i, (f, number) in enumerate(zip(phase.frames, numbers, strict=True))
    }
    places = source_positions(phase)
    seen = []
    for plane, groups in zip(
        pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True
    ):
        segment = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        number = source.get("ReferencedFrameNumber")
        at = index[source.ReferencedSOPInstanceUID, number]
        seen.append((segment, at))
        np.testing.assert_array_equal(plane, masks[segment - 1][at])
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert [float(v) for v in position] == places[at]
    assert sorted(seen) == [(s, i) for s in (1, 2) for i in range(len(phase.frames))]


def reference_numbers(phase: Phase) -> list[int | None]:
    """Return each frame's number, None where the file has that frame alone."""
    counts = {
        f.path: pydicom.dcmread(f.path).get("NumberOfFrames") for f in phase.frames
    }
    return [None if counts[f.path] == 1 else f.frame_number for f in phase.frames]


def source_positions(phase: Phase) -> list[list[float]]:
    headers = {path: pydicom.dcmread(path) for path in {f.path for f in phase.frames}}
    places = []
    for frame in phase.frames:
        header = headers[frame.path]
        if frame.frame_number is not None:
            groups = header.PerFrameFunctionalGroupsSequence[frame.frame_number - 1]
            header = groups.PlanePositionSequence[0]
        places.append([float(v) for v in header.ImagePositionPatient])
    return places


@pytest.mark.parametrize("name", STYLES)
def test_highdicom_finds_the_mask_of_every_source_frame(
    tmp_path: Path, name: str
) -> None:
    phase, masks = write_phase(tmp_path, STYLES[name]), some_masks(STYLES[name])
    read = highdicom.seg.segread(written(tmp_path, phase, masks))
    if reference_numbers(phase)[0] is None:
        pixels = read.get_pixels_by_source_instance(
            [f.sop_instance_uid for f in phase.frames]
        )
    else:
        pixels = read.get_pixels_by_source_frame(
            phase.frames[0].sop_instance_uid,
            [f.frame_number for f in phase.frames if f.frame_number],
        )
    np.testing.assert_array_equal(pixels[..., 0], masks[0])
    np.testing.assert_array_equal(pixels[..., 1], masks[1])


@pytest.mark.parametrize("name", STYLES)
def test_only_the_phase_is_referred_to_and_only_frame_by_frame(
    tmp_path: Path, name: str
) -> None:
    phase = write_phase(tmp_path, STYLES[name])
    dataset = pydicom.dcmread(written(tmp_path, phase, some_masks(STYLES[name])))
    assert "SourceImageSequence" not in dataset
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == phase.series_uid
    referred = [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence]
    assert sorted(referred) == sorted({f.sop_instance_uid for f in phase.frames})


@pytest.mark.peer
@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("make", [build, build_by_hand])
def test_dciodvfy_finds_no_error(
    tmp_path: Path,
    name: str,
    make: Callable[[Phase, Masks], highdicom.seg.Segmentation],
) -> None:
    if not DCIODVFY.exists() and os.environ.get("CI") != "true":
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    phase = write_phase(tmp_path, STYLES[name])
    seg.write(make(phase, some_masks(STYLES[name])), tmp_path / "mask.dcm")
    report = subprocess.run(
        [DCIODVFY, tmp_path / "mask.dcm"], capture_output=True, text=True, check=False
    )
    assert "Error" not in report.stderr
    assert report.returncode == 0


def test_an_empty_mask_keeps_all_its_frames(tmp_path: Path) -> None:
    phase, nothing = write_phase(tmp_path), np.zeros(SourceStyle().shape, bool)
    path = written(tmp_path, phase, (nothing, nothing))
    assert pydicom.dcmread(path).NumberOfFrames == 2 * SourceStyle().shape[0]
    mask = seg.read(path, phase)
    assert not mask.right.array.any()
    assert mask.right.spatial_shape == mask.left.spatial_shape == nothing.shape


@pytest.mark.parametrize("make", [build, build_by_hand])
def test_the_same_inputs_give_the_same_bytes(
    tmp_path: Path, make: Callable[[Phase, Masks], highdicom.seg.Segmentation]
) -> None:
    phase, masks = write_phase(tmp_path), some_masks(SourceStyle())
    for name in ("first.dcm", "again.dcm"):
        seg.write(make(phase, masks), tmp_path / name)
    assert (tmp_path / "first.dcm").read_bytes() == (
        tmp_path / "again.dcm"
    ).read_bytes()


def test_everything_that_decides_a_mask_changes_its_uids(tmp_path: Path) -> None:
    style = SourceStyle(multi_frame=True, temporal=True)
    masks, phase = some_masks(style), write_phase(tmp_path / "one", style)
    other_slices = replace(
        phase,
        frames=tuple(
            replace(f, frame_number=(f.frame_number or 0) + 1) for f in phase.frames
        ),
    )
    datasets = [
        build(phase, masks),
        build(other_slices, masks),
        build_by_hand(phase, masks),
        build_by_hand(phase, (masks[1], masks[0])),
        *(
            seg.build(
                phase,
                masks,
                algorithm=algorithm,
                verdict="publish",
                state=MaskState.MODEL_DRAFT,
            )
            for algorithm in (
                replace(NETWORK, weights_sha256="cd" * 32),
                replace(NETWORK, configuration='{"engine":"cuda-bf16"}'),
            )
        ),
        seg.build(
            phase,
            masks,
            algorithm=NETWORK,
            verdict="publish",
            state=MaskState.MODEL_DRAFT,
            source_key="another post-contrast series",
        ),
    ]
    uids = [u for d in datasets for u in (d.SOPInstanceUID, d.SeriesInstanceUID)]
    assert len(set(uids)) == 2 * len(datasets)
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)


def test_a_models_mask_keeps_its_uids_whatever_the_verdict(tmp_path: Path) -> None:
    phase, masks = write_phase(tmp_path), some_masks(SourceStyle())
    uids = {build(phase, masks, v).SOPInstanceUID for v in ("publish", "review")}
    assert len(uids) == 1


@pytest.mark.parametrize(
    ("verdict", "description"),
    [
        ("publish", "BRS breast"),
        ("review", "BRS breast [REVIEW]"),
        ("hold", "BRS breast [HOLD]"),
    ],
)
def test_the_verdict_shows_in_the_series_description(
    tmp_path: Path, verdict: str, description: str
) -> None:
    dataset = build(write_phase(tmp_path), some_masks(SourceStyle()), verdict)
    assert dataset.SeriesDescription == description
    assert verdict in dataset.ContentDescription


def test_the_segments_are_right_then_left_and_name_their_algorithm(
    tmp_path: Path,
) -> None:
    dataset = build(write_phase(tmp_path), some_masks(SourceStyle()))
    for segment, label, side in zip(
        dataset.SegmentSequence,
        ("Right breast", "Left breast"),
        ("24028007", "7771000"),
        strict=True,
    ):
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        region = segment.AnatomicRegionSequence[0]
        assert segment.SegmentLabel == label
        assert kind.CodeValue == region.CodeValue == "76752008"
        modifier = kind.SegmentedPropertyTypeModifierCodeSequence[0]
        assert modifier.CodeValue == side
        assert region.AnatomicRegionModifierSequence[0].CodeValue == side
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == NETWORK.name
        assert algorithm.AlgorithmVersion == NETWORK.version
        assert f"weights_sha256={'ab' * 32}" in algorithm.AlgorithmParameters
        assert NETWORK.configuration in algorithm.AlgorithmParameters
        assert segment.SegmentAlgorithmType == "AUTOMATIC"


def test_a_mask_drawn_by_hand_names_no_algorithm(tmp_path: Path) -> None:
    dataset = build_by_hand(write_phase(tmp_path), some_masks(SourceStyle()))
    assert {s.SegmentAlgorithmType for s in dataset.SegmentSequence} == {"MANUAL"}


@pytest.mark.parametrize(
    ("algorithm", "state"),
    [
        (NETWORK, MaskState.HUMAN),
        (NETWORK, MaskState.MODEL_APPROVED),
        (None, MaskState.MODEL_DRAFT),
    ],
)
def test_a_file_cannot_claim_a_state_that_is_not_its_origin(
    tmp_path: Path, algorithm: seg.Algorithm | None, state: MaskState
) -> None:
    phase, masks = write_phase(tmp_path), some_masks(SourceStyle())
    with pytest.raises(MaskError, match=f"state {state}"):
        seg.build(phase, masks, algorithm=algorithm, verdict="publish", state=state)


def test_masks_that_overlap_or_have_another_size_are_refused(tmp_path: Path) -> None:
    phase, (right, left) = write_phase(tmp_path), some_masks(SourceStyle())
    with pytest.raises(MaskError, match=f"{right.sum()} voxels on both sides"):
        build(phase, (right, right))
    with pytest.raises(MaskError, match="left mask"):
        build(phase, (right, left[1:]))
    with pytest.raises(MaskError, match="verdict 'maybe'"):
        build(phase, (right, left), "maybe")


def test_a_phase_without_dicom_frames_is_refused(tmp_path: Path) -> None:
    phase = replace(write_phase(tmp_path), frames=(), nifti=tmp_path / "pre.nii.gz")
    with pytest.raises(MaskError, match="no DICOM frames"):
        build(phase, some_masks(SourceStyle()))


def test_a_source_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    phase = write_phase(tmp_path)
    phase.frames[0].path.write_bytes(phase.frames[1].path.read_bytes())
    with pytest.raises(MaskError, match="another instance"):
        build(phase, some_masks(SourceStyle()))


PATIENTS = {
    "as usual": {},
    "name without caret": {"PatientName": "BRS-017 SECRET"},
    "odd values": {"PatientSex": "UNKNOWN", "PatientBirthDate": "12.08.1964 SECRET"},
    "umlauts": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jörg"},
}


@pytest.mark.parametrize("name", PATIENTS)
def test_the_patient_is_copied_as_it_is_and_never_told(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("ignore")  # pydicom's, on writing the odd source
        style = SourceStyle(patient=SourceStyle().patient | PATIENTS[name])
        phase = write_phase(tmp_path, style)
        source = pydicom.dcmread(phase.frames[0].path)
        expected = {keyword: source.get(keyword) for keyword in style.patient}
        caplog.clear()
        warnings.simplefilter("error")
        path = written(tmp_path, phase, some_masks(style))
        told = caplog.text
        warnings.simplefilter("ignore")
        copied = pydicom.dcmread(path)
        assert {keyword: copied.get(keyword) for keyword in expected} == expected
    assert "highdicom" in told
    assert not any(secret in told for secret in (*SECRETS, "Müller"))


def test_a_study_without_patient_dates_or_numbers_is_written(tmp_path: Path) -> None:
    style = SourceStyle(patient={})
    phase = write_phase(tmp_path, style)
    dataset = pydicom.dcmread(written(tmp_path, phase, some_masks(style)))
    assert dataset.ContentDate == "19000101"
    assert dataset.PatientID == dataset.AccessionNumber == dataset.StudyDate == ""


def test_no_clock_and_no_chance_is_inside(tmp_path: Path) -> None:
    dataset = build(write_phase(tmp_path), some_masks(SourceStyle()))
    assert str(dataset.ContentDate) == SourceStyle().patient["StudyDate"]
    assert str(dataset.ContentTime) == SourceStyle().patient["StudyTime"]
    assert "InstanceCreationDate" not in dataset
    assert not any("DateTime" in e.keyword for e in dataset.iterall())


def test_errors_name_series_and_never_a_patient(tmp_path: Path) -> None:
    phase, (right, _) = write_phase(tmp_path), some_masks(SourceStyle())
    with pytest.raises(MaskError) as caught:
        build(phase, (right, right))
    assert phase.series_uid in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_writing_replaces_a_file_whole_and_leaves_nothing_beside(
    tmp_path: Path,
) -> None:
    phase, masks = write_phase(tmp_path / "source"), some_masks(SourceStyle())
    target = tmp_path / "out" / "mask.dcm"
    for verdict in ("publish", "review"):
        seg.write(build(phase, masks, verdict), target)
    assert [p.name for p in target.parent.iterdir()] == ["mask.dcm"]
    assert pydicom.dcmread(target).SeriesDescription == "BRS breast [REVIEW]"
