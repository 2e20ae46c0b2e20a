"""What a person draws and saves in the XNAT OHIF viewer comes back as a human mask."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from noisy import noise_case
from numpy.typing import NDArray
from pydicom import Dataset
from viewer_mapping import ViewerError, dcmjs_folder, run_script, true_masks, views

from plugin import seg
from plugin.dce import choose
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.provenance import MaskState, state_of
from plugin.series import Phase
from plugin.volumes import load

pytestmark = pytest.mark.peer

SIDES = ("Right breast", "Left breast")
Labels = NDArray[np.uint8]
Order = Callable[[Dataset], tuple[float, ...]]


@pytest.fixture(scope="module")
def dcmjs() -> Path:
    return dcmjs_folder()


def shape_of(folder: Path) -> tuple[int, int, int]:
    return load(choose(folder).pre).spatial_shape


def session(folder: Path, style: VendorStyle) -> Phase:
    case = noise_case(3, matrix_px=32)
    write_session(case, folder, style=style, session_id="one", distractors=False)
    return choose(folder).pre


def drawing(shape: tuple[int, int, int]) -> Labels:
    """Return labels (slices, rows, columns) on some slices, no two alike."""
    labels = np.zeros(shape, np.uint8)
    labels[2:6] = np.random.default_rng(5).integers(0, 3, labels[2:6].shape)
    return labels


def along_the_normal(header: Dataset) -> tuple[float, ...]:
    """Sort as the viewer sorts a volume: falling along the normal."""
    if "ImageOrientationPatient" not in header:
        return ()
    cosines = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    place = np.array(header.ImagePositionPatient, float)
    return (-float(np.cross(*cosines) @ place), float(header.InstanceNumber))


def by_number(header: Dataset) -> tuple[float, ...]:
    """Sort as the viewer sorts what is no volume; here one time after the other."""
    return (float(header.InstanceNumber),)


def stack_of(folder: Path, phase: Phase, order: Order) -> list[Path]:
    """Return the files of the phase's whole series in the order of the stack."""
    headers = {
        path: pydicom.dcmread(path, stop_before_pixels=True)
        for path in folder.rglob("*")
        if path.is_file()
    }
    ours = [p for p, h in headers.items() if h.SeriesInstanceUID == phase.series_uid]
    return sorted(ours, key=lambda path: order(headers[path]))


def on_stack(stack: Sequence[Path], phase: Phase, labels: Labels) -> Labels:
    """Return what is drawn on each plane of the stack, nothing on other phases."""
    places = {(f.path, f.frame_number): i for i, f in enumerate(phase.frames)}
    frames = pydicom.dcmread(stack[0], stop_before_pixels=True).get("NumberOfFrames")
    planes = (
        [(stack[0], number) for number in range(1, int(frames) + 1)]
        if frames
        else [(path, None) for path in stack]
    )
    drawn = np.zeros((len(planes), *labels.shape[1:]), np.uint8)
    for index, plane in enumerate(planes):
        if plane in places:
            drawn[index] = labels[places[plane]]
    return drawn


def saved(stack: Sequence[Path], drawn: Labels, dcmjs: Path) -> Path:
    raw = stack[0].with_name("labels.raw")
    raw.write_bytes(drawn.tobytes())
    path = raw.with_suffix(".dcm")
    job = {
        "images": [*map(str, stack)],
        "labels": str(raw),
        "names": SIDES,
        "seg": str(path),
    }
    run_script("save.cjs", [job], dcmjs)
    return path


def orient_every_frame(folder: Path) -> None:
    """Move the orientation of multi-frame files from all frames to each."""
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if "SharedFunctionalGroupsSequence" in dataset:
            (shared,) = dataset.SharedFunctionalGroupsSequence
            for groups in dataset.PerFrameFunctionalGroupsSequence:
                groups.add(deepcopy(shared["PlaneOrientationSequence"]))
            del shared.PlaneOrientationSequence
            dataset.save_as(path)


@pytest.mark.parametrize("style", VendorStyle)
def test_a_mask_saved_in_the_viewer_comes_back_on_its_slices_as_human(
    tmp_path: Path, style: VendorStyle, dcmjs: Path
) -> None:
    phase, labels = session(tmp_path, style), drawing(shape_of(tmp_path))
    orient_every_frame(tmp_path)
    stack = stack_of(tmp_path, phase, along_the_normal)
    path = saved(stack, on_stack(stack, phase, labels), dcmjs)
    mask = seg.read(path, phase)
    np.testing.assert_array_equal(mask.right.array > 0, labels == 1)
    np.testing.assert_array_equal(mask.left.array > 0, labels == 2)
    assert not mask.sides_from_midline
    assert state_of(seg.read_header(path), None) is MaskState.HUMAN
    (seen,) = views(dcmjs, [(path, stack)])
    assert seen.masks == true_masks(phase, (labels == 1, labels == 2))


def test_the_viewer_cannot_save_on_frames_that_share_one_orientation(
    tmp_path: Path, dcmjs: Path
) -> None:
    """A limit of dcmjs 0.19.2."""
    phase = session(tmp_path, VendorStyle.ENHANCED)
    stack = stack_of(tmp_path, phase, along_the_normal)
    with pytest.raises(ViewerError, match="not valid JSON"):
        saved(stack, on_stack(stack, phase, drawing(shape_of(tmp_path))), dcmjs)


def test_the_viewer_saves_other_slices_when_its_stack_is_sorted_by_time(
    tmp_path: Path, dcmjs: Path
) -> None:
    """A limit of dcmjs 0.19.2, which sorts by place: why docs say to look again."""
    phase = session(tmp_path, VendorStyle.TRIGGER_TIME)
    labels = drawing(shape_of(tmp_path))
    stack = stack_of(tmp_path, phase, by_number)
    path = saved(stack, on_stack(stack, phase, labels), dcmjs)
    (seen,) = views(dcmjs, [(path, stack)])
    assert seen.masks != true_masks(phase, (labels == 1, labels == 2))
