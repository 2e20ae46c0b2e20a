"""The frames of a SEG as masks on the SEG's own grid."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import VolumeGeometry
from highdicom.spatial import get_volume_positions
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.errors import BytesLengthException
from pydicom.uid import SegmentationStorage

from plugin.errors import MaskError
from plugin.reading.elements import items, number
from plugin.reading.frames import Plane, read_plane
from plugin.reading.grid import same_slicing
from plugin.reading.instance import READ_ERRORS
from plugin.reading.multiframe import flat_frames
from plugin.segments import Side

LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
SEG_CLASSES = {SegmentationStorage, LABEL_MAP_STORAGE}
IRREGULAR_SHARE = 0.05
"""Frames may lie off their regular place by this share of the slice spacing."""
DAMAGE = (*READ_ERRORS, BytesLengthException, RuntimeError)
"""What pydicom raises on bytes that make no sense."""
MAX_SLICES = 4096
"""Bounds memory: two stray frames far apart would ask for every slice between."""
FRACTION = 0.5
"""A fractional voxel is breast from half of the maximum on."""


@dataclass(frozen=True, slots=True, eq=False)
class _Planes:
    """The grid that a SEG's frames lie on, and the slice index of each frame."""

    grid: VolumeGeometry
    slices: Sequence[int]


def read_masks(
    dataset: Dataset, sides: Mapping[int, Side], phase_grid: VolumeGeometry | None
) -> tuple[VolumeGeometry, dict[Side, NDArray[np.bool_]]]:
    """Return the SEG's grid and, per side, the union of the segments in ``sides``.

    ``phase_grid`` helps with the slice spacing, which a SEG that leaves empty slices
    out does not always give away.

    Raises
    ------
    MaskError
        If the frames are no planes of one stack, two of a segment differ on one slice,
        or their pixels cannot be decoded.
    """
    planes = _planes(dataset, phase_grid)
    filled = {Side.RIGHT, Side.LEFT, *sides.values()}
    masks = {side: np.zeros(planes.grid.spatial_shape, bool) for side in filled}
    seen: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for place, frame in zip(planes.slices, _frames(dataset), strict=True):
        for segment, mask in frame:
            if segment not in sides:
                continue
            earlier = seen.setdefault((segment, place), mask)
            if not np.array_equal(earlier, mask):
                raise _drawn_twice(dataset, segment)
            masks[sides[segment]][place] |= mask
    return planes.grid, masks


def _frames(dataset: Dataset) -> Iterator[list[tuple[int, NDArray[np.bool_]]]]:
    """Yield per stored frame its segments' numbers and masks (rows, columns).

    A label map has all segments in one frame, other types have one.
    """
    pixels = _pixels(dataset)
    if dataset.SOPClassUID == LABEL_MAP_STORAGE:
        described = [int(s.SegmentNumber) for s in dataset.SegmentSequence]
        for frame in pixels:
            yield [(segment, frame == segment) for segment in described]
        return
    threshold = _threshold(dataset)
    for segment, frame in zip(_segments(dataset), pixels, strict=True):
        yield [(segment, frame >= threshold)]


def _pixels(dataset: Dataset) -> NDArray[np.integer]:
    """Return the decoded frames (frames, rows, columns)."""
    try:
        pixels: NDArray[np.integer] = dataset.pixel_array
    except DAMAGE as error:
        found = f"pixels that cannot be decoded ({type(error).__name__})"
        raise _error(dataset, found, "uncompressed or losslessly coded") from None
    return pixels.reshape(-1, int(dataset.Rows), int(dataset.Columns))


def _threshold(dataset: Dataset) -> float:
    """Return the smallest stored value that is foreground."""
    if dataset.get("SegmentationType") == "FRACTIONAL":
        return FRACTION * float(dataset.get("MaximumFractionalValue") or 255)
    return 1.0


def _segments(dataset: Dataset) -> list[int]:
    """Return the segment of each frame, from its own groups or the shared ones."""
    shared = [
        identification
        for groups in items(dataset, "SharedFunctionalGroupsSequence")
        for identification in items(groups, "SegmentIdentificationSequence")
    ]
    segments = []
    for own in items(dataset, "PerFrameFunctionalGroupsSequence"):
        found = [*items(own, "SegmentIdentificationSequence"), *shared]
        if not found:
            raise _error(dataset, "a frame without a segment", "one segment per frame")
        segments.append(int(found[0].ReferencedSegmentNumber))
    return segments


def _planes(dataset: Dataset, phase_grid: VolumeGeometry | None) -> _Planes:
    frames = list(flat_frames(dataset))
    planes = [plane for plane in map(read_plane, frames) if plane]
    if not planes or len(planes) != len(frames):
        raise _error(dataset, "frames without a plane", "a position for every frame")
    first = planes[0]
    if not all(same_slicing(first, plane) for plane in planes):
        raise _error(dataset, "planes of several orientations", "one stack")
    own_mm = abs(number(frames[0], "SpacingBetweenSlices") or 0) or None
    hints = (own_mm, None) if phase_grid is None else (phase_grid.spacing[0],)
    spacing_mm, slices = _places(planes, hints)
    if spacing_mm is None or slices is None:
        raise _error(dataset, "frames that form no stack", "evenly spaced planes")
    grid = VolumeGeometry.from_attributes(
        image_position=planes[slices.index(0)].position_mm,
        image_orientation=first.orientation,
        rows=first.shape[0],
        columns=first.shape[1],
        pixel_spacing=first.pixel_mm,
        spacing_between_slices=spacing_mm,
        number_of_frames=max(slices) + 1,
        coordinate_system="PATIENT",
        frame_of_reference_uid=dataset.get("FrameOfReferenceUID") or None,
    )
    return _Planes(grid, slices)


def _places(
    planes: Sequence[Plane], hints: Sequence[float | None]
) -> tuple[float | None, list[int] | None]:
    """Return slice spacing and each frame's slice by the first hint that fits."""
    for hint in hints:
        spacing_mm, slices = get_volume_positions(
            [plane.position_mm for plane in planes],
            planes[0].orientation,
            rtol=IRREGULAR_SHARE,
            allow_missing_positions=True,
            allow_duplicate_positions=True,
            spacing_hint=hint,
        )
        if slices is not None and max(slices) < MAX_SLICES:
            return spacing_mm, slices
    return None, None


def _drawn_twice(dataset: Dataset, segment: int) -> MaskError:
    return MaskError(
        f"SEG {dataset.SOPInstanceUID}",
        found=f"two different masks of segment {segment} on one slice",
        needed="one mask per segment and slice",
        mend="draw on one time point only, and save again",
    )


def _error(dataset: Dataset, found: str, needed: str) -> MaskError:
    return MaskError(
        f"SEG {dataset.SOPInstanceUID}",
        found=found,
        needed=needed,
        mend="save the mask again as a DICOM-SEG of the whole series",
    )
