"""Landmarks of the chest from the skin's front: mid-line, sternum, the wall's arc."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model.air import Body, Scan
from model.errors import RegionError
from model.front import midline, profile, sternal_rows
from model.neighbours import Field, Mask

FLANK_MM = 40.0
"""Behind the sternum: at this depth the chest is wide and the arms are not reached."""
FRONT_SHARE = 0.05
"""Slices that must reach a row for the front line, against single bright voxels."""
CLEAVAGE_MM = 130.0
"""Breasts that touch hide the sternum over at most this length."""
STERNAL_SMOOTH_MM = 15.0
DEPTH_MM = 12.0
"""From the pre-sternal skin to the chest wall: skin, fat and fascia."""
DROP_MM = 26.0
"""The arc falls at most this far behind the sternum; the axillary fold ends it."""
RADIUS_MM = 250.0
"""Curvature of the anterior chest wall, 125-300 mm in adults."""


def refusal(found: str, needed: str) -> RegionError:
    """Return the error of a volume that does not show a prone patient's breasts."""
    return RegionError(
        "pre-contrast volume",
        found=found,
        needed=needed,
        mend="check that this is a bilateral axial series of a prone patient",
    )


@dataclass(frozen=True, slots=True, eq=False)
class Chest:
    """Where the chest lies in a reduced scan, in its pixels."""

    midline_px: float
    half_width_px: float
    """From the mid-line to the flanks."""
    sternum: Field
    """Pre-sternal skin row of every slice, (slices,)."""
    line: Field
    """Front of the whole volume, first row per column, (columns,)."""


def find_chest(body: Body, scan: Scan) -> Chest:
    """Return the chest's landmarks.

    Raises
    ------
    RegionError
        If no slice shows skin on both sides of the mid-line.
    """
    depth_px = body.mask.shape[1]
    few = max(1, round(FRONT_SHARE * len(body.front)))
    line = profile(body.front, min_slices=few, depth_px=depth_px)
    valley_px = midline(line, depth_px=depth_px)
    rows = sternal_rows(body.front, midline_px=valley_px, mm_per_px=scan.mm_per_px)
    if np.isnan(rows).all():
        raise refusal("no skin beside the mid-line", "a chest across the image")
    sternum = _bridged(rows, scan)
    middle_px, half_px = _flanks(body, sternum, valley_px, scan)
    return Chest(middle_px, half_px, sternum, line)


def wall_rows(chest: Chest, scan: Scan) -> Field:
    """Return the arc that ends the region behind, (slices, columns), in rows."""
    off_mm = off_midline_mm(chest, scan)
    drop_mm = np.minimum(off_mm**2 / (2 * RADIUS_MM), DROP_MM)
    rows: Field = chest.sternum[:, None] + (DEPTH_MM + drop_mm) / scan.mm_per_px
    return rows


def off_midline_mm(chest: Chest, scan: Scan) -> Field:
    """Return the distance of each column's centre from the mid-line, (columns,)."""
    columns = np.arange(len(chest.line), dtype=np.float32) + np.float32(0.5)
    return (columns - np.float32(chest.midline_px)) * np.float32(scan.mm_per_px)


def _bridged(rows: Field, scan: Scan) -> Field:
    """Return the sternum's row for every slice, straight through closed cleavages."""
    seen = np.flatnonzero(~np.isnan(rows))
    filled = np.interp(np.arange(len(rows)), seen, rows[seen])
    steady = ndimage.median_filter(filled, 2 * _slices(10.0, scan) + 1)
    window = 2 * _slices(CLEAVAGE_MM / 2, scan) + 1
    closed = ndimage.grey_closing(steady, (window,))
    smoothed = ndimage.gaussian_filter1d(closed, STERNAL_SMOOTH_MM / scan.slice_mm)
    return smoothed.astype(np.float32)


def _flanks(
    body: Body, sternum: Field, valley_px: float, scan: Scan
) -> tuple[float, float]:
    """Return the mid-line and half width between the flanks, medians over slices.

    Where the image cuts a flank off, the mid-line is the valley's.
    """
    level = sternum[:, None] + FLANK_MM / scan.mm_per_px
    present: Mask = body.front < level
    present = present[present.any(axis=1)]
    right = float(np.median(present.argmax(axis=1)))
    columns = present.shape[1]
    left = float(np.median(columns - present[:, ::-1].argmax(axis=1)))
    if right < 1 or left > columns - 1:
        return valley_px, max(valley_px - right, left - valley_px)
    return (right + left) / 2, (left - right) / 2


def _slices(length_mm: float, scan: Scan) -> int:
    return max(1, round(length_mm / scan.slice_mm))
