"""Read breast masks from DICOM-SEG: ours, a viewer's, another tool's.

Frames are placed by their own position, never by their order or number: viewers leave
empty slices out, sort them their own way or flip them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
from highdicom import Volume, VolumeGeometry
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.uid import SegmentationStorage

from model.preprocess import ORIENTATION
from model.sides import find_mid_columns, split
from plugin.errors import MaskError
from plugin.seg_frames import DAMAGE, SEG_CLASSES, read_masks
from plugin.seg_source import read_source
from plugin.segments import Side, read_sides
from plugin.series import Phase

UID_PATTERN = re.compile(r"[0-9.]{1,64}")
OFF_GRID_VOXELS = 0.05
"""A SEG is on a phase's grid when no corner is off by more than this."""


@dataclass(frozen=True, slots=True, eq=False)
class SegMask:
    """Both breasts as boolean volumes on one grid, disjoint, and where they are from.

    The grid is the phase's when one was given, else the SEG's own, slices without a
    frame included as empty ones.
    """

    right: Volume
    left: Volume
    sop_instance_uid: str
    referenced_series_uid: str | None
    """None when the SEG does not say, or names several."""
    sides_from_midline: bool
    """At least one segment did not say its side and was split."""


def read(path: Path, phase: Phase | None = None) -> SegMask:
    """Return the breasts of a SEG, on the grid of ``phase`` if one is given.

    Raises
    ------
    MaskError
        If the file is no SEG with a breast, refers to another series, or lies on
        another grid than the phase.
    """
    with disable_value_validation():
        dataset = _read_seg(path)
        subject = f"SEG {dataset.SOPInstanceUID}"
        grid = None if phase is None else read_source(phase).grid
        sides, where, masks = _parse(dataset, phase, grid)
    right, left = _resolve(where, masks)
    if grid is not None:
        right, left = (_on_grid(side, grid, subject) for side in (right, left))
    return SegMask(
        right=right,
        left=left,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        referenced_series_uid=_one(referenced_series(dataset)),
        sides_from_midline=Side.UNKNOWN in sides.values(),
    )


def read_header(path: Path) -> Dataset:
    """Return a SEG without its pixels, enough for provenance; raises ``MaskError``."""
    return _read_seg(path, stop_before_pixels=True)


def referenced_series(dataset: Dataset) -> tuple[str, ...]:
    """Return the series that a SEG says it was drawn on, none if it does not say."""
    items = dataset.get("ReferencedSeriesSequence") or []
    named = (_uid(item, "SeriesInstanceUID") for item in items)
    return tuple(uid for uid in named if uid)


def shows_breast(dataset: Dataset) -> bool:
    """Tell whether at least one segment is understood as a breast."""
    try:
        segments = list(dataset.get("SegmentSequence") or [])
        return bool(read_sides(segments, "SEG"))
    except (*DAMAGE, MaskError):
        return False


def _read_seg(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except DAMAGE as error:
        found = f"a file that cannot be read ({type(error).__name__})"
        raise _error(f"file {path.name}", found, "a DICOM-SEG file") from None
    sop_class = _uid(dataset, "SOPClassUID")
    if sop_class not in SEG_CLASSES:
        found = f"an object of class {sop_class or 'unknown'}"
        raise _error(f"file {path.name}", found, f"class {SegmentationStorage}")
    if not _uid(dataset, "SOPInstanceUID"):
        raise _error(f"file {path.name}", "no SOP instance UID", "a DICOM-SEG file")
    return dataset


def _parse(
    dataset: Dataset, phase: Phase | None, grid: VolumeGeometry | None
) -> tuple[dict[int, Side], VolumeGeometry, dict[Side, NDArray[np.bool_]]]:
    """Return sides, grid and masks; bytes that make no sense become a ``MaskError``."""
    subject = f"SEG {dataset.SOPInstanceUID}"
    try:
        if phase is not None:
            _check_references(dataset, phase, subject)
        sides = read_sides(list(dataset.get("SegmentSequence") or []), subject)
        return sides, *read_masks(dataset, sides, grid)
    except DAMAGE as error:
        found = f"damaged content ({type(error).__name__})"
        raise _error(subject, found, "a valid DICOM-SEG") from None


def _check_references(dataset: Dataset, phase: Phase, subject: str) -> None:
    """Refuse a SEG that says it belongs elsewhere; silence is not a contradiction."""
    named = referenced_series(dataset)
    if named and phase.series_uid not in named:
        found = f"a mask of series {', '.join(named)}"
        raise _error(subject, found, f"one of series {phase.series_uid}")
    own, other = phase.frame_of_reference_uid, _uid(dataset, "FrameOfReferenceUID")
    if own and other and own != other:
        raise _error(subject, f"frame of reference {other}", own)


def _resolve(
    where: VolumeGeometry, masks: Mapping[Side, NDArray[np.bool_]]
) -> tuple[Volume, Volume]:
    """Return right and left, splitting at the mid-line what is on neither or both."""
    right, left = masks[Side.RIGHT], masks[Side.LEFT]
    unsure = right & left
    if Side.UNKNOWN in masks:
        unsure |= masks[Side.UNKNOWN] & ~(right | left)
    if unsure.any():
        on_right, on_left = _split(where, unsure, right | left | unsure)
        right, left = (right & ~unsure) | on_right, (left & ~unsure) | on_left
    return where.with_array(right), where.with_array(left)


def _split(
    where: VolumeGeometry, unsure: NDArray[np.bool_], breasts: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], ...]:
    """Return the parts of ``unsure`` on either side of the mid-line of ``breasts``."""
    part = where.with_array(unsure).to_patient_orientation(ORIENTATION)
    whole = where.with_array(breasts).to_patient_orientation(ORIENTATION)
    sides = split(part.array, find_mid_columns(whole.array, whole.spacing))
    return tuple(part.with_array(side).match_geometry(where).array for side in sides)


def _on_grid(mask: Volume, grid: VolumeGeometry, subject: str) -> Volume:
    """Return the mask on ``grid``, flipped and padded but never resampled."""
    steps = np.linalg.inv(grid.affine) @ mask.affine
    whole = np.round(steps)
    corners = np.array(list(product(*((0, n - 1) for n in mask.spatial_shape), (1,))))
    off = float(np.abs((steps - whole) @ corners.T).max())
    if off > OFF_GRID_VOXELS or (np.abs(whole[:3, :3]).sum(axis=0) != 1).any():
        found = f"a grid that is off by up to {off:.2g} voxels"
        raise _error(subject, found, "the grid of the series it refers to")
    exact = Volume(
        mask.array,
        affine=grid.affine @ whole,
        coordinate_system="PATIENT",
        frame_of_reference_uid=mask.frame_of_reference_uid,
    )
    placed = exact.match_geometry(grid)
    lost = np.count_nonzero(mask.array) - np.count_nonzero(placed.array)
    if lost:
        raise _error(subject, f"{lost} voxels outside the series", "none outside")
    return placed


def _uid(dataset: Dataset, keyword: str) -> str:
    """Return a UID, empty when it is absent or no UID: damage may hide a name in it."""
    try:
        value = str(dataset.get(keyword, ""))
    except DAMAGE:
        return ""
    return value if UID_PATTERN.fullmatch(value) else ""


def _one(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _error(subject: str, found: str, needed: str) -> MaskError:
    return MaskError(
        subject,
        found=found,
        needed=needed,
        mend="draw and save the mask on the pre-contrast series of this session",
    )
