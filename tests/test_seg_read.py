"""DICOM-SEG of other programs: OHIF, 3D Slicer, and damaged files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from foreign_seg import BREAST, LEFT, LESION, RIGHT, Segment, Writer, write_seg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.pixels.utils import pack_bits
from seg_sources import SECRETS, SourceStyle, other_series, write_phase

from plugin import seg
from plugin.errors import MaskError
from plugin.provenance import MaskState

STYLE = SourceStyle(shape=(6, 5, 12))
TILTED = SourceStyle(
    shape=(6, 5, 12), orientation=(0.8, 0.6, 0.0, -0.36, 0.48, 0.8), pixel_mm=(0.7, 2.0)
)
Mask = NDArray[np.bool_]


def two_breasts(style: SourceStyle = STYLE) -> tuple[Mask, Mask]:
    """Boxes in slices 2 and 4 only: spacing and extent are not told by the frames."""
    right, left = np.zeros(style.shape, bool), np.zeros(style.shape, bool)
    right[[2, 4], 1:4, 1:4] = True
    left[2, 2:4, 8:11] = True
    return right, left


def labelled(style: SourceStyle = STYLE) -> list[Segment]:
    right, left = two_breasts(style)
    return [Segment("right breast", right), Segment("Breast (LEFT)", left)]


@pytest.mark.parametrize("style", [STYLE, TILTED, replace(TILTED, multi_frame=True)])
@pytest.mark.parametrize(
    "writer",
    [
        Writer(),
        Writer(spacing_told=False),
        Writer(keep_empty=True),
        Writer(flip_rows=True),
        Writer(kind="FRACTIONAL"),
        Writer(kind="LABELMAP"),
    ],
)
def test_a_viewers_mask_comes_back_on_the_frames_of_the_phase(
    tmp_path: Path, style: SourceStyle, writer: Writer
) -> None:
    phase, (right, left) = write_phase(tmp_path, style), two_breasts(style)
    full = 200 if writer.kind == "FRACTIONAL" else 1
    segments = [replace(s, mask=s.mask * full) for s in labelled(style)]
    mask = seg.read(write_seg(tmp_path / "m.dcm", style, segments, writer), phase)
    np.testing.assert_array_equal(mask.right.array, right)
    np.testing.assert_array_equal(mask.left.array, left)
    assert mask.referenced_series_uid == phase.series_uid
    assert not mask.sides_from_midline


def test_a_mask_on_one_slice_finds_its_slice(tmp_path: Path) -> None:
    phase, one = write_phase(tmp_path, STYLE), np.zeros(STYLE.shape, bool)
    one[4, 1, 1] = True
    segments = [Segment("breast right", one)]
    path = write_seg(tmp_path / "m.dcm", STYLE, segments, Writer(spacing_told=False))
    np.testing.assert_array_equal(seg.read(path, phase).right.array, one)
    assert seg.read(path).right.spatial_shape == (1, 5, 12)


def test_without_a_phase_the_grid_is_the_segs_own(tmp_path: Path) -> None:
    mask = seg.read(write_seg(tmp_path / "m.dcm", STYLE, labelled()))
    assert mask.right.spatial_shape == (3, 5, 12)  # slices 2 to 4, 3 has no frame
    assert mask.right.array.sum() == 2 * 3 * 3
    centre = mask.right.map_indices_to_reference(np.array([[1, 0, 0]]))[0]
    np.testing.assert_allclose(centre, [-10.0, -20.0, 30.0 + 3 * 2.5])


def test_a_fraction_is_breast_from_half_of_the_maximum(tmp_path: Path) -> None:
    phase, values = write_phase(tmp_path, STYLE), np.zeros(STYLE.shape, np.uint8)
    values[1, 2, 3:5] = 99, 100
    segments = [Segment("right breast", values)]
    path = write_seg(tmp_path / "m.dcm", STYLE, segments, Writer(kind="FRACTIONAL"))
    assert np.argwhere(seg.read(path, phase).right.array).tolist() == [[1, 2, 4]]


@pytest.mark.parametrize(
    "segments",
    [
        [Segment("Segment 1", np.logical_or(*two_breasts()))],
        [Segment("Breast", np.logical_or(*two_breasts()))],
        [Segment("1", np.logical_or(*two_breasts()), kind=BREAST)],
        [
            Segment("a", two_breasts()[0], BREAST, RIGHT),
            Segment("b", two_breasts()[1], BREAST, LEFT),
        ],
        [
            Segment("Segment 1", two_breasts()[0]),
            Segment("Segment 2", two_breasts()[1]),
        ],
        [*labelled(), Segment("lesion", np.ones(STYLE.shape, bool), LESION)],
        [*labelled(), Segment("Breast implant", np.ones(STYLE.shape, bool))],
    ],
)
def test_sides_come_from_codes_labels_or_the_mid_line(
    tmp_path: Path, segments: list[Segment]
) -> None:
    phase, (right, left) = write_phase(tmp_path, STYLE), two_breasts()
    mask = seg.read(write_seg(tmp_path / "m.dcm", STYLE, segments), phase)
    np.testing.assert_array_equal(mask.right.array, right)
    np.testing.assert_array_equal(mask.left.array, left)


def test_what_both_segments_claim_is_cut_at_the_mid_line(tmp_path: Path) -> None:
    phase, (right, left) = write_phase(tmp_path, STYLE), two_breasts()
    segments = [Segment("right breast", right | left), Segment("left breast", left)]
    mask = seg.read(write_seg(tmp_path / "m.dcm", STYLE, segments), phase)
    np.testing.assert_array_equal(mask.right.array, right)
    np.testing.assert_array_equal(mask.left.array, left)


@pytest.mark.parametrize("label", ["Tumour", "FGT", "whatever"])
def test_a_seg_without_a_breast_is_refused(tmp_path: Path, label: str) -> None:
    phase = write_phase(tmp_path, STYLE)
    path = write_seg(tmp_path / "m.dcm", STYLE, [Segment(label, two_breasts()[0])])
    with pytest.raises(MaskError, match="needed a segment of the breast"):
        seg.read(path, phase)


def test_a_seg_of_another_series_is_refused_with_both_uids(tmp_path: Path) -> None:
    phase = write_phase(tmp_path, STYLE)
    other = other_series(STYLE)
    with pytest.raises(MaskError) as caught:
        seg.read(write_seg(tmp_path / "m.dcm", other, labelled()), phase)
    assert other.uid("series") in str(caught.value)
    assert phase.series_uid in str(caught.value)


def test_a_seg_in_another_frame_of_reference_is_refused(tmp_path: Path) -> None:
    phase = write_phase(tmp_path, STYLE)
    moved = replace(phase, frame_of_reference_uid="1.2.3")
    with pytest.raises(MaskError, match=r"needed 1\.2\.3"):
        seg.read(write_seg(tmp_path / "m.dcm", STYLE, labelled()), moved)


@pytest.mark.parametrize(
    ("writer", "other"),
    [
        (Writer(shift_mm=0.4), STYLE),
        (Writer(), replace(STYLE, pixel_mm=(3.0, 0.75))),
        (Writer(), replace(STYLE, slice_mm=2.0)),
        (Writer(), replace(STYLE, orientation=(0.8, 0.6, 0.0, -0.6, 0.8, 0.0))),
    ],
)
def test_a_seg_on_another_grid_is_refused(
    tmp_path: Path, writer: Writer, other: SourceStyle
) -> None:
    phase = write_phase(tmp_path, STYLE)
    path = write_seg(tmp_path / "m.dcm", other, labelled(), writer)
    with pytest.raises(MaskError, match=STYLE.uid("viewer", "BINARY")):
        seg.read(path, phase)


def test_a_mask_that_reaches_outside_of_the_phase_is_refused(tmp_path: Path) -> None:
    phase = write_phase(tmp_path, STYLE)
    cut = replace(phase, frames=phase.frames[:4])
    with pytest.raises(MaskError, match="9 voxels outside the series"):
        seg.read(write_seg(tmp_path / "m.dcm", STYLE, labelled()), cut)


def drawn_twice(folder: Path, *, alike: bool) -> Path:
    """Write a SEG whose first two frames lie on one slice, as of two time points."""
    path = write_seg(folder / "m.dcm", STYLE, labelled(), Writer(keep_empty=True))
    dataset = pydicom.dcmread(path)
    first, second = dataset.PerFrameFunctionalGroupsSequence[2:4]
    second.PlanePositionSequence = first.PlanePositionSequence
    pixels = dataset.pixel_array
    pixels[3] = pixels[2] if alike else 1 - pixels[2]
    dataset.PixelData = pack_bits(pixels, pad=True)
    dataset.save_as(path)
    return path


def test_two_masks_of_a_segment_on_one_slice_are_refused_unless_alike(
    tmp_path: Path,
) -> None:
    mask = seg.read(drawn_twice(tmp_path, alike=True))
    assert mask.right.array.sum() == two_breasts()[0].sum()
    with pytest.raises(MaskError, match="two different masks of segment 1 on one"):
        seg.read(drawn_twice(tmp_path, alike=False))


def test_two_stray_frames_do_not_ask_for_all_the_memory(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "m.dcm", STYLE, labelled(), Writer(keep_empty=True))
    dataset = pydicom.dcmread(path)
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[0].PlanePositionSequence[0].ImagePositionPatient = [-10, -20, 3e7]
    dataset.save_as(path)
    with pytest.raises(MaskError, match="no stack"):
        seg.read(path)


def test_files_that_are_no_seg_are_refused(tmp_path: Path) -> None:
    phase = write_phase(tmp_path, STYLE)
    with pytest.raises(MaskError, match=r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.4;"):
        seg.read(phase.frames[0].path)
    (tmp_path / "text.dcm").write_text("no DICOM at all")
    for name in ("text.dcm", "absent.dcm"):
        with pytest.raises(MaskError, match=f"file {name}"):
            seg.read_header(tmp_path / name)


def test_a_seg_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "m.dcm", STYLE, labelled())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MaskError, match="SEG 1"):
        seg.read(path)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # on bytes it can repair
@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_damaged_bytes_give_a_mask_or_a_mask_error(
    damaged: Path, at: float, value: int
) -> None:
    content = bytearray((damaged / "whole.dcm").read_bytes())
    content[132 + int(at * (len(content) - 132))] = value
    (damaged / "damaged.dcm").write_bytes(content)
    mask, message = None, ""
    try:
        mask = seg.read(damaged / "damaged.dcm")
    except MaskError as error:
        message = str(error)
    assert mask is None or not (mask.right.array & mask.left.array).any()
    assert not any(secret in message for secret in SECRETS)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    write_seg(folder / "whole.dcm", STYLE, labelled())
    return folder


def test_the_header_of_our_own_seg_is_enough_for_provenance(tmp_path: Path) -> None:
    phase = write_phase(tmp_path, STYLE)
    built = seg.build(
        phase,
        two_breasts(),
        algorithm=None,
        verdict="publish",
        state=MaskState.HUMAN,
    )
    seg.write(built, tmp_path / "m.dcm")
    header = seg.read_header(tmp_path / "m.dcm")
    assert header.SOPInstanceUID == seg.read(tmp_path / "m.dcm").sop_instance_uid
    assert "PixelData" not in header
