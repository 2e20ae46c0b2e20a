"""Image planes in space: slice order, and the volume they make, or why none."""

from collections.abc import Sequence

import numpy as np
from highdicom.volume import VolumeGeometry
from numpy.typing import NDArray

from plugin.errors import InputError
from plugin.reading.frames import Plane
from plugin.rules import TOLERANCE_MM

COSINE_TOLERANCE = 1e-3
MISSING_STEP = 1.5
"""A step this many times the median step skips a slice."""

Vectors = NDArray[np.float64]


def axes(orientation: Sequence[float]) -> Vectors:
    """Return the unit vectors along a row, along a column and their cross product."""
    row = np.asarray(orientation[:3], np.float64)
    row /= np.linalg.norm(row)
    column = np.asarray(orientation[3:], np.float64)
    column -= row * (row @ column)
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def slice_order(planes: Sequence[Plane]) -> list[int]:
    """Return indices by rising position along the normal of the first plane."""
    return [int(i) for i in np.argsort(positions_mm(planes), kind="stable")]


def positions_mm(planes: Sequence[Plane]) -> Vectors:
    """Return the position of every plane along the normal of the first."""
    normal: Vectors = axes(planes[0].orientation)[2]
    positions: Vectors = np.array([plane.position_mm for plane in planes]) @ normal
    return positions


def same_slicing(first: Plane, second: Plane) -> bool:
    """Tell whether two planes are parallel with equal matrix and pixel size."""
    if first.shape != second.shape:
        return False
    return _close(first.orientation, second.orientation, COSINE_TOLERANCE) and _close(
        first.pixel_mm, second.pixel_mm, COSINE_TOLERANCE * first.pixel_mm[0]
    )


def _close(first: Sequence[float], second: Sequence[float], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(first, second, strict=True))


def geometry(
    planes: Sequence[Plane],
    *,
    subject: str,
    frame_of_reference_uid: str = "",
    tolerance_mm: float = TOLERANCE_MM,
) -> VolumeGeometry:
    """Return the grid of planes given in slice order; slice ``i`` is ``planes[i]``.

    Raises
    ------
    InputError
        If the planes do not make one regular stack along their normal.
    """
    if found := stack_problem(planes, tolerance_mm):
        raise InputError(
            subject,
            found=found,
            needed="parallel slices at equal steps along their normal",
            mend="fetch the series again, or leave it out of the session",
        )
    row, column, normal = axes(planes[0].orientation)
    along = positions_mm(planes)
    slice_mm = (along[-1] - along[0]) / (len(planes) - 1)
    row_mm, column_mm = planes[0].pixel_mm
    affine = np.eye(4)
    affine[:3, 0] = normal * slice_mm
    affine[:3, 1] = column * row_mm
    affine[:3, 2] = row * column_mm
    affine[:3, 3] = planes[0].position_mm
    shape = (len(planes), *planes[0].shape)
    return VolumeGeometry(affine, shape, "PATIENT", frame_of_reference_uid or None)


def stack_problem(planes: Sequence[Plane], tolerance_mm: float) -> str:
    """Return why planes in slice order make no volume, empty when they do."""
    if len(planes) < 2:
        return f"{len(planes)} slice"
    if not all(same_slicing(planes[0], plane) for plane in planes):
        return "slices of mixed orientation, matrix or pixel size"
    along = positions_mm(planes)
    if found := _step_problem(along, tolerance_mm):
        return found
    off_mm = _sideways_mm(planes)
    if off_mm > tolerance_mm:
        return f"slices shifted sideways by up to {off_mm:.3g} mm"
    return ""


def _step_problem(along: Vectors, tolerance_mm: float) -> str:
    steps = np.diff(along)
    step = float(np.median(steps))
    if (low := int((steps <= tolerance_mm).sum())) > 0:
        return f"{low} slices at the position of another, or out of order"
    if (steps > MISSING_STEP * step).any():
        return f"{round((along[-1] - along[0]) / step) - len(steps)} slices missing"
    regular = np.linspace(along[0], along[-1], len(along))
    if (off_mm := float(np.abs(along - regular).max())) > tolerance_mm:
        return f"slices off an equal spacing by up to {off_mm:.3g} mm"
    return ""


def _sideways_mm(planes: Sequence[Plane]) -> float:
    row, column, _ = axes(planes[0].orientation)
    positions = np.array([plane.position_mm for plane in planes])
    return float(np.abs((positions - positions[0]) @ np.stack([row, column]).T).max())
