"""The XNAT OHIF viewer shows every mask on its slice, whatever the order of slices."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from noisy import noise_case
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import UID
from seg_sources import SourceStyle, other_series, write_phase
from sessions import untrained_segmenter
from torch import Tensor, nn
from viewer_mapping import ShownMask, View, ViewerError, dcmjs_folder, true_masks, views
from xnat_project import archive_of, breast_project

from model.checkpoint import Checkpoint
from model.network import BreastFcn
from plugin import seg
from plugin.dce import choose
from plugin.nifti import read_nifti
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.pipeline import NIFTI_FILE, SEG_FILE, Segmenter, segment_session
from plugin.provenance import MaskState
from plugin.segment import Delivery, segment_archive
from plugin.series import Phase
from plugin.volumes import load
from plugin.xnat import roi

pytestmark = pytest.mark.peer

Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]
SHAPE = (6, 5, 7)
TILTED = (0.96, 0.28, 0.0, -0.28, 0.96, 0.0)
STYLES = {
    "feet first": SourceStyle(SHAPE),
    "head first": SourceStyle(SHAPE, orientation=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
    "turned by 180 degrees": SourceStyle(SHAPE, orientation=(-1, 0, 0, 0, -1, 0)),
    "tilted": SourceStyle(SHAPE, orientation=TILTED),
    "two time points in one series": SourceStyle(SHAPE, temporal=True),
    "multi-frame": SourceStyle(SHAPE, multi_frame=True),
    "a multi-frame file per slice": SourceStyle(SHAPE, apart=True),
    "multi-frame, all time points": SourceStyle(SHAPE, multi_frame=True, temporal=True),
}


@pytest.fixture(scope="module")
def dcmjs() -> Path:
    return dcmjs_folder()


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """Return a segmenter that gives every slice of a noisy session another mask."""
    untrained = untrained_segmenter()
    manifest = untrained.checkpoint.manifest
    return replace(untrained, checkpoint=Checkpoint(BrightIsBreast(), manifest))


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def shown(dcmjs: Path, path: Path, folder: Path) -> View:
    return views(dcmjs, [(path, files_below(folder))])[0]


class BrightIsBreast(BreastFcn):
    """A network of one rule, so that noise gives every slice another mask."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, slices: Tensor) -> Tensor:
        pre = slices[:, :1]
        return pre - pre.mean(dim=(2, 3), keepdim=True)


def masks_on(*slices: int) -> Masks:
    """Return right and left masks on these slices alone, no two planes alike."""
    labels = np.zeros(SHAPE, np.uint8)
    drawn = np.random.default_rng(7).integers(0, 3, SHAPE)
    labels[list(slices)] = drawn[list(slices)]
    return labels == 1, labels == 2


def built(folder: Path, phase: Phase, masks: Masks) -> Path:
    algorithm = seg.Algorithm("brs FCN-ResNet50", "0.1.0", "ab" * 32, "{}")
    state, path = MaskState.MODEL_DRAFT, folder / "segmentation.dcm"
    made = seg.build(phase, masks, algorithm=algorithm, verdict="publish", state=state)
    seg.write(made, path)
    return path


@pytest.mark.parametrize("style", VendorStyle)
def test_a_segmented_session_is_shown_as_it_was_written(
    tmp_path: Path, style: VendorStyle, segmenter: Segmenter, dcmjs: Path
) -> None:
    session, out = tmp_path / "session", tmp_path / "out"
    write_session(noise_case(3, matrix_px=32), session, style=style, session_id="one")
    segment_session("one", session, out, segmenter)
    phase = choose(session).pre
    written = read_nifti(out / NIFTI_FILE).match_geometry(load(phase)).array > 0
    stored = seg.read(out / SEG_FILE, phase)
    right, left = stored.right.array > 0, stored.left.array > 0
    np.testing.assert_array_equal(right | left, written)
    seen = shown(dcmjs, out / SEG_FILE, session)
    assert seen.masks == true_masks(phase, (right, left))
    assert len({mask.sha256 for mask in seen.masks}) == 2 * len(phase.frames)
    assert (seen.series_uid, seen.dropped) == (phase.series_uid, 0)
    assert seen.labels == ("Right breast", "Left breast")


def test_what_was_pushed_to_the_server_is_shown_on_the_images_it_serves(
    tmp_path: Path, segmenter: Segmenter, dcmjs: Path
) -> None:
    session, style = tmp_path / "session", VendorStyle.SEPARATE_SERIES
    write_session(noise_case(3, matrix_px=32), session, style=style, session_id="one")
    with breast_project(tmp_path) as server:
        key = server.add_session("BREAST", subject="S", label="MR1", dicom=session)
        archive = archive_of(server)
        delivery = Delivery(tmp_path / "out", tmp_path / "work")
        (item,) = segment_archive(archive, segmenter, delivery)
        assert (item.outcome, item.not_shown) == ("segmented", "")
        (collection,) = roi.collections(archive.client, key)
        served = archive.fetch(key, tmp_path / "served")
        pushed = tmp_path / "pushed.dcm"
        data = roi.read(archive.client, "BREAST", collection.id)
        pushed.write_bytes(data or b"")
        archive.close()
    phase = choose(served).pre
    stored = seg.read(pushed, phase)
    masks = stored.right.array > 0, stored.left.array > 0
    seen = shown(dcmjs, pushed, served)
    assert (seen.masks, seen.dropped) == (true_masks(phase, masks), 0)
    assert len({mask.sha256 for mask in seen.masks}) == 2 * len(phase.frames)


@pytest.mark.parametrize("name", STYLES)
def test_every_mask_is_on_its_slice_whatever_the_order_of_the_stack(
    tmp_path: Path, name: str, dcmjs: Path
) -> None:
    phase = write_phase(tmp_path / "images", STYLES[name])
    write_phase(tmp_path / "images" / "post", other_series(STYLES[name]))
    path = built(tmp_path, phase, masks_on(1, 3, 4))
    rising = files_below(tmp_path / "images")
    orders = (rising, rising[::-1], rising[1::2] + rising[::2])
    for seen in views(dcmjs, [(path, order) for order in orders]):
        assert seen.masks == true_masks(phase, masks_on(1, 3, 4))
        assert len(seen.masks) == 6
        assert (seen.images, seen.dropped) == (images_of(STYLES[name]), 0)


def images_of(style: SourceStyle) -> int:
    return style.shape[0] * (2 if style.temporal else 1)


def copy_of(path: Path, *changes: Callable[[Dataset], None]) -> Path:
    """Write a changed copy of a SEG beside it."""
    dataset = pydicom.dcmread(path)
    for change in changes:
        change(dataset)
    copy = path.with_name("-".join(change.__name__ for change in changes))
    dataset.save_as(copy, enforce_file_format=True)
    return copy


def omit_empty_frames(dataset: Dataset) -> None:
    pixels = dataset.pixel_array
    kept = np.flatnonzero(pixels.any(axis=(1, 2)))
    groups = dataset.PerFrameFunctionalGroupsSequence
    dataset.PerFrameFunctionalGroupsSequence = [groups[i] for i in kept]
    dataset.NumberOfFrames = len(kept)
    dataset.PixelData = pack_bits(pixels[kept])


def list_sources_at_the_root(dataset: Dataset) -> None:
    """Name every slice once, as highdicom does of itself."""
    (series,) = dataset.ReferencedSeriesSequence
    dataset.SourceImageSequence = list(series.ReferencedInstanceSequence)


def tilt(dataset: Dataset) -> None:
    (shared,) = dataset.SharedFunctionalGroupsSequence
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [*TILTED]


def fill_the_left(dataset: Dataset) -> None:
    pixels = dataset.pixel_array
    for plane, groups in zip(
        pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True
    ):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2:
            plane[:] = 1
    dataset.PixelData = pack_bits(pixels)


def slices_of(masks: frozenset[ShownMask], phase: Phase) -> dict[str, int]:
    """Return the slice on which each right mask is shown, by the mask's hash."""
    index = {frame.sop_instance_uid: i for i, frame in enumerate(phase.frames)}
    return {m.sha256: index[m.sop_instance_uid] for m in masks if m.segment == 1}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def phase(images: Path) -> Phase:
    return write_phase(images, STYLES["feet first"])


def test_a_list_of_sources_at_the_root_would_put_masks_on_wrong_slices(
    tmp_path: Path, images: Path, phase: Phase, dcmjs: Path
) -> None:
    masks = masks_on(2, 4)[0], np.zeros(SHAPE, bool)
    path, truth = built(tmp_path, phase, masks), true_masks(phase, masks)
    listed = copy_of(path, omit_empty_frames, list_sources_at_the_root)
    wrong, right = (
        shown(dcmjs, copy, images).masks
        for copy in (listed, copy_of(path, omit_empty_frames))
    )
    assert right == truth
    assert wrong != truth
    assert sorted(slices_of(wrong, phase).values()) == [0, 1]
    assert sorted(slices_of(right, phase).values()) == [2, 4]


def test_a_list_of_sources_at_the_root_would_be_too_short_for_two_segments(
    tmp_path: Path, images: Path, phase: Phase, dcmjs: Path
) -> None:
    path = built(tmp_path, phase, masks_on(2, 4))
    with pytest.raises(ViewerError, match="frame 7 names no source image"):
        shown(dcmjs, copy_of(path, list_sources_at_the_root), images)


def test_a_frame_in_another_plane_than_its_image_is_refused(
    tmp_path: Path, images: Path, phase: Phase, dcmjs: Path
) -> None:
    path = built(tmp_path, phase, masks_on(2))
    with pytest.raises(ViewerError, match="frame 1 has another orientation"):
        shown(dcmjs, copy_of(path, tilt), images)


def test_of_masks_that_overlap_only_the_last_would_be_seen(
    tmp_path: Path, images: Path, phase: Phase, dcmjs: Path
) -> None:
    path = built(tmp_path, phase, masks_on(2, 4))
    seen = shown(dcmjs, copy_of(path, fill_the_left), images)
    assert {mask.segment for mask in seen.masks} == {2}


def test_masks_of_images_that_the_viewer_has_not_are_left_out(
    tmp_path: Path, images: Path, phase: Phase, dcmjs: Path
) -> None:
    path = built(tmp_path, phase, masks_on(2, 4))
    phase.frames[4].path.unlink()
    seen = shown(dcmjs, path, images)
    truth = true_masks(phase, masks_on(2))
    assert (seen.masks, seen.images, seen.dropped) == (truth, 5, 2)


def test_a_session_without_the_referenced_series_shows_nothing(
    tmp_path: Path, phase: Phase, dcmjs: Path
) -> None:
    path = built(tmp_path, phase, masks_on(2))
    write_phase(tmp_path / "post", other_series(STYLES["feet first"]))
    with pytest.raises(ViewerError, match=f"referenced series {phase.series_uid}"):
        shown(dcmjs, path, tmp_path / "post")


def test_of_a_series_of_multi_frame_files_the_viewer_knows_only_the_first(
    tmp_path: Path, images: Path, dcmjs: Path
) -> None:
    """A limit of the viewer: later files' frames are taken for those of the first."""
    phase = write_phase(images, STYLES["multi-frame"])
    path, truth = built(tmp_path, phase, masks_on(2)), true_masks(phase, masks_on(2))
    ours, other = phase.frames[0].path, images / "other.dcm"
    dataset = pydicom.dcmread(ours)
    dataset.SOPInstanceUID = UID("1.2.3")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.save_as(other, enforce_file_format=True)
    first, last = views(dcmjs, [(path, [ours, other]), (path, [other, ours])])
    assert first.masks == truth
    assert {mask.sop_instance_uid for mask in last.masks} == {"1.2.3"}
