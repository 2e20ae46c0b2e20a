"""Breast anatomy geometry (BAG) of a mask: nearest point, breast size, area, volume.

Measured on the overlay map, the sum of the mask over all slices (paper, 2.2.1). One
rule says for every mask source, rough or drawn by hand, which rows the breast touches.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import EmptyMaskError
from model.front import front_rows, midline, profile, sternal_rows
from model.preprocess import Placement
from model.sides import mid_columns_of, right_part

TOUCH_PX, TOUCH_GRID_PX = 4, 256
"""A row counts when the breast is this wide in it, 5 mm of a 320 mm image."""
PROMINENT_SHARE = 0.5
"""Slices whose breasts stand out at least this share of the most are read for it."""
STERNAL_QUANTILE = 0.75
"""Where a closed cleavage hides the sternum, other slices show it deeper."""
FEW_SLICES = 50
"""Thick-slice protocols have fewer slices, and a nipple then fills fewer of them."""
ML_PER_MM3 = 1e-3


@dataclass(frozen=True, slots=True)
class TouchRule:
    """When the breast touches a row: in that many columns, each in that many slices."""

    min_px: int = 4
    min_slices: int = 3


@dataclass(frozen=True, slots=True)
class BagFeatures:
    """Position and size of the breasts in one case, and how they were measured.

    Rows and columns are counted from the image's anterior edge and its edge at the
    patient's right, so padding of the grid is excluded; px are pixels of the grid.
    """

    nearest_point_mm: float
    nearest_point_px: int
    nearest_column_px: int
    nearest_column_mm: float
    origin_distance_mm: float
    """From the image's corner (anterior, patient right) to the nearest point."""
    breast_size_px: int
    """Anterior-posterior extent of the overlay in rows."""
    breast_size_mm: float
    sternal_size_px: float | None
    """Pre-sternal skin row minus nearest point; None when no mid-line tissue shows."""
    sternal_size_mm: float | None
    area_px: int
    """Footprint of the overlay."""
    area_mm2: float
    volume_ml: float
    right_ml: float
    left_ml: float
    source: str
    """``boundary``, ``checkpoint`` or ``annotation``."""
    confidence: float
    rule: TouchRule
    grid_px: int
    mm_per_px: float


def overlay_map(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return how many slices each pixel is breast in, (rows, columns) (paper 2.2.1)."""
    overlay: NDArray[np.int32] = mask.sum(axis=0, dtype=np.int32)
    return overlay


def touch_rule(*, grid_px: int, slices: int) -> TouchRule:
    """Return the rule of a grid: 4 px of 256, in 3 slices, or 2 of fewer than 50."""
    return TouchRule(
        min_px=max(1, round(TOUCH_PX * grid_px / TOUCH_GRID_PX)),
        min_slices=3 if slices >= FEW_SLICES else 2,
    )


def measure(
    mask: NDArray[np.bool_],
    placement: Placement,
    *,
    source: str,
    confidence: float = 1.0,
    rule: TouchRule | None = None,
) -> BagFeatures:
    """Return the BAG features of a mask (slices, rows, columns) on the stack's grid.

    Raises
    ------
    EmptyMaskError
        If no row is touched under ``rule``.
    """
    rule = rule or touch_rule(grid_px=placement.grid_px, slices=len(mask))
    image = _without_padding(mask, placement)
    overlay = overlay_map(image)
    touched = _some_touched_rows(overlay, rule)
    first, extent = int(touched[0]), int(touched[-1] - touched[0]) + 1
    column = _nearest_column(overlay, first, rule)
    sternal_px, right = _sides(image, first, rule, placement)
    mm, voxel_ml = placement.mm_per_px, _voxel_ml(placement)
    total, area = int(overlay.sum()), int((overlay > 0).sum())
    return BagFeatures(
        nearest_point_mm=first * mm,
        nearest_point_px=first,
        nearest_column_px=column,
        nearest_column_mm=column * mm,
        origin_distance_mm=float(np.hypot(first, column)) * mm,
        breast_size_px=extent,
        breast_size_mm=extent * mm,
        sternal_size_px=sternal_px,
        sternal_size_mm=None if sternal_px is None else sternal_px * mm,
        area_px=area,
        area_mm2=area * mm**2,
        volume_ml=total * voxel_ml,
        right_ml=right * voxel_ml,
        left_ml=(total - right) * voxel_ml,
        source=source,
        confidence=confidence,
        rule=rule,
        grid_px=placement.grid_px,
        mm_per_px=mm,
    )


def _without_padding(
    mask: NDArray[np.bool_], placement: Placement
) -> NDArray[np.bool_]:
    rows = slice(placement.top_px, placement.top_px + int(np.ceil(placement.rows_px)))
    left = placement.left_px
    return mask[:, rows, left : left + int(np.ceil(placement.columns_px))]


def touched_rows(overlay: NDArray[np.int32], rule: TouchRule) -> NDArray[np.intp]:
    """Return the rows of an overlay map that the breast touches under ``rule``."""
    wide = (overlay >= rule.min_slices).sum(axis=1)
    return np.flatnonzero(wide >= rule.min_px)


def _some_touched_rows(overlay: NDArray[np.int32], rule: TouchRule) -> NDArray[np.intp]:
    touched = touched_rows(overlay, rule)
    if touched.size == 0:
        raise EmptyMaskError(
            "breast mask",
            found=f"{int(overlay.sum())} voxels, no row touched",
            needed=f"{rule.min_px} px of one row in {rule.min_slices} slices each",
            mend="check that the mask is on this session's grid and not empty",
        )
    return touched


def _nearest_column(overlay: NDArray[np.int32], row: int, rule: TouchRule) -> int:
    """Return the column of ``row`` that most slices touch, the first of equals."""
    return int(np.argmax(np.where(overlay[row] >= rule.min_slices, overlay[row], 0)))


def _sides(
    image: NDArray[np.bool_], first: int, rule: TouchRule, placement: Placement
) -> tuple[float | None, int]:
    """Return sternal size in px (None when not seen) and the right side's voxels."""
    rows = image.shape[1]
    front = front_rows(image)
    line = profile(front, min_slices=rule.min_slices, depth_px=rows)
    middle = midline(line, depth_px=rows)
    sternal = sternal_rows(front, midline_px=middle, mm_per_px=placement.mm_per_px)
    spacing_mm = (placement.slice_mm, placement.mm_per_px, placement.mm_per_px)
    right = right_part(image, mid_columns_of(front, spacing_mm, depth_px=rows))
    return _sternal_size(front, sternal, first, rule), int(np.count_nonzero(right))


def _sternal_size(
    front: NDArray[np.float32],
    sternal: NDArray[np.float32],
    first: int,
    rule: TouchRule,
) -> float | None:
    """Return the sternal row of the slices with prominent breasts, minus the first."""
    seen = ~np.isnan(sternal)
    if seen.sum() < rule.min_slices:
        return None
    stands_out = sternal[seen] - np.nanmin(front[seen], axis=1)
    prominent = stands_out >= PROMINENT_SHARE * stands_out.max()
    return float(np.quantile(sternal[seen][prominent], STERNAL_QUANTILE)) - first


def _voxel_ml(placement: Placement) -> float:
    return placement.mm_per_px**2 * placement.slice_mm * ML_PER_MM3
