"""Which side a breast voxel belongs to: a mask cut at the body's mid-line.

Tissue in front of the sternum belongs to neither breast alone, so it is cut as well:
every voxel is right or left, none is both, none is lost.

Each slice whose two breasts stand out says where the valley between them lies; one
straight line through the slices is the mid-line, so that a patient who lies askew is
cut along her own axis. Where no two breasts stand out it is one column for all.
"""

import numpy as np
from numpy.typing import NDArray

from model.front import (
    VALLEY_TOLERANCE_PX,
    front_rows,
    midline,
    profile,
    valley_depths,
)

MIN_SLICES = 3
"""A single voxel's slice does not move the mid-line; the valley of three does."""
MIN_LOBE_MM = 12.0
"""Both breasts of a slice stand out at least so far, else its valley is none."""
MOST_LOBE_MM = 40.0
"""Deeper valleys tell the mid-line no better."""
REACH_MM = 60.0
"""No valley lies farther from that of the whole volume."""
STRAY_MM = 4.0
"""Valleys farther off the line count less and less."""
STEADY_MM = 3.0
"""Few slices close to each other do not tilt the line."""
ROUNDS = 15

Mask = NDArray[np.bool_]
Line = NDArray[np.float64]


def split(mask: Mask, mid_columns: NDArray[np.intp] | int) -> tuple[Mask, Mask]:
    """Return the right and left parts of a canonical mask (slices, rows, columns).

    Columns before a slice's mid column are right (column 0 is the patient's right); a
    cut at or beyond an edge leaves one side empty.
    """
    right = right_part(mask, mid_columns)
    left: Mask = mask & ~right
    return right, left


def right_part(mask: Mask, mid_columns: NDArray[np.intp] | int) -> Mask:
    """Return the right part alone of what ``split`` returns."""
    cuts = np.broadcast_to(np.asarray(mid_columns), len(mask))
    is_right = np.arange(mask.shape[2]) < cuts[:, None]
    right: Mask = mask & is_right[:, None, :]
    return right


def find_mid_columns(
    mask: Mask, spacing_mm: tuple[float, float, float]
) -> NDArray[np.intp]:
    """Return the first column of the left side, (slices,), of a canonical mask.

    ``spacing_mm`` is that of slices, rows and columns. Beside a lone breast it is the
    gap on its inner side; without any mask it is the image's middle.
    """
    return mid_columns_of(front_rows(mask), spacing_mm, depth_px=mask.shape[1])


def mid_columns_of(
    front: NDArray[np.float32], spacing_mm: tuple[float, float, float], *, depth_px: int
) -> NDArray[np.intp]:
    """Return the same of a mask's front in an image ``depth_px`` rows deep."""
    slice_mm, row_mm, column_mm = spacing_mm
    volume = profile(front, min_slices=MIN_SLICES, depth_px=depth_px)
    middle = midline(volume, depth_px=depth_px)
    reach_px, depth_mm = REACH_MM / column_mm, np.zeros(len(front))
    centres = np.full(len(front), middle)
    for index in np.flatnonzero(~np.isnan(front).all(axis=1)):
        near = slice(max(0, int(middle - reach_px)), int(np.ceil(middle + reach_px)))
        centre, depth = _valley(front[index], near, depth_px=depth_px)
        centres[index], depth_mm[index] = centre, depth * row_mm
    depth_mm[depth_mm < MIN_LOBE_MM] = 0
    if (depth_mm > 0).sum() < MIN_SLICES:
        return np.full(len(front), round(middle))
    weights = np.minimum(depth_mm, MOST_LOBE_MM)
    line = _line(centres * column_mm, weights, slice_mm) / column_mm
    return np.rint(line).astype(np.intp)


def _valley(
    front: NDArray[np.float32], near: slice, *, depth_px: int
) -> tuple[float, float]:
    """Return centre, in px from the first column's edge, and depth of a valley.

    ``front`` is one slice's first row per column, NaN where there is none: a gap is
    one row deeper than its deeper side.
    """
    seen = ~np.isnan(front)
    depths = valley_depths(_without_gaps(front, depth_px))[near]
    deepest = near.start + int(np.argmax(depths))
    if seen[deepest]:
        floor = near.start + np.flatnonzero(
            depths >= depths.max() - VALLEY_TOLERANCE_PX
        )
        return float(floor[0] + floor[-1] + 1) / 2, float(depths.max())
    before = np.flatnonzero(seen[:deepest])
    after = deepest + np.flatnonzero(seen[deepest:])
    first = before[-1] + 1 if before.size else 0
    last = after[0] if after.size else len(front)
    return float(first + last) / 2, float(depths.max())


def _without_gaps(front: NDArray[np.float32], depth_px: int) -> NDArray[np.float32]:
    """Return the front with gaps filled, and the image's depth outside of the mask."""
    filled = np.full(len(front), float(depth_px), np.float32)
    columns = np.flatnonzero(~np.isnan(front))
    inner = np.arange(columns[0], columns[-1] + 1)
    before = columns[np.searchsorted(columns, inner, side="right") - 1]
    after = columns[np.searchsorted(columns, inner, side="left")]
    gap = (before != after).astype(np.float32)
    filled[inner] = np.maximum(front[before], front[after]) + gap
    return filled


def _line(centres_mm: Line, weights: Line, slice_mm: float) -> Line:
    """Return a straight line through most of the valleys, (slices,), in mm."""
    along_mm = np.arange(len(centres_mm)) * slice_mm
    trust = weights.copy()
    for _ in range(ROUNDS):
        mean_mm = np.average(along_mm, weights=trust)
        offset_mm = np.average(centres_mm, weights=trust)
        off_mm = along_mm - mean_mm
        spread = np.average(off_mm**2, weights=trust) + STEADY_MM**2
        slope = np.average(off_mm * (centres_mm - offset_mm), weights=trust) / spread
        line: Line = offset_mm + slope * off_mm
        trust = weights / np.maximum(1, np.abs(centres_mm - line) / STRAY_MM)
    return line
