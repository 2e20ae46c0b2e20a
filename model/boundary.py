"""Breast region without network or label, from the skin's front alone (cold start).

The region runs from the air to an arc of fixed shape behind the pre-sternal skin. No
contrast inside the body is used, so fat suppression, dose and coil do not matter; the
price is that its posterior border is a convention. It is meant for ranking sessions
(nearest point, sternal and breast size), not as a mask to publish.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.air import Body, Scan, find_tissue, measure_air, rough_bodies
from model.chest import Chest, find_chest, off_midline_mm, refusal, wall_rows
from model.errors import RegionError
from model.gates import (
    EDGE_PX,
    Fronts,
    Signals,
    judge,
    measure_signals,
    require_signal,
    spread_px,
)
from model.neighbours import Field, Mask
from model.preprocess import Placement, resample
from model.wrap import blank_wrap

WORK_PX = 128
"""Long side of the reduced copy: 2.7 mm pixels find the same front as 1.3 mm ones."""
AGREE_MM = 24.0
"""Signal leaks less far into the air; a shell front farther off has lost the breast."""
PROJECTION_MM = 8.0
"""Slices whose skin stands out less than this before the sternum hold no breast."""


@dataclass(frozen=True, slots=True, eq=False)
class BreastRegion:
    """Both breasts' rough region on the stack's grid, and how far to trust it."""

    mask: NDArray[np.bool_]
    """(slices, rows, columns) in canonical order."""
    confidence: float
    """0 to 1; below 0.5 the region needs a person's eye."""
    flags: tuple[str, ...]
    signals: Signals


def find_region(pre: NDArray[np.float32], placement: Placement) -> BreastRegion:
    """Return the breast region of a pre-contrast volume (slices, rows, columns).

    ``pre`` is ``SliceStack.voxels[:, 0]``, in any intensity scale.

    Raises
    ------
    RegionError
        If this is no bilateral volume of a prone patient's breasts.
    """
    scan = reduced(pre, placement)
    air = measure_air(scan.voxels)
    require_signal(scan, air)
    tissue, folded_px = blank_wrap(find_tissue(scan, air), air)
    scan, bodies = tissue.scan, rough_bodies(tissue, air)
    body = preferred(bodies, scan.mm_per_px, edge_px=folded_px + EDGE_PX)
    chest = find_chest(body, scan)
    fronts = Fronts(air.contrast, spread_px(bodies), folded_px)
    signals = measure_signals(body, chest, fronts, scan)
    confidence, flags = judge(signals)
    region = _breasts(body, chest, scan)
    mask = _on_stack(region, scan, placement, slices=len(pre))
    return BreastRegion(mask, confidence, flags, signals)


def region_or_refusal(
    pre: NDArray[np.float32], placement: Placement
) -> BreastRegion | RegionError:
    """Return the breast region of ``find_region``, or the error it would raise."""
    try:
        return find_region(pre, placement)
    except RegionError as error:
        return error


def reduced(pre: NDArray[np.float32], placement: Placement) -> Scan:
    """Return the image without padding, its long side and slices area-averaged."""
    rows, columns = (
        int(np.ceil(length)) for length in (placement.rows_px, placement.columns_px)
    )
    top, left = placement.top_px, placement.left_px
    image = pre[:, top : top + rows, left : left + columns]
    factor = max(1.0, max(rows, columns) / WORK_PX)
    mm_per_px = placement.mm_per_px * factor
    smaller = replace(
        placement,
        grid_px=WORK_PX,
        mm_per_px=mm_per_px,
        top_px=0,
        left_px=0,
    )
    planes = resample(image, smaller, (placement.mm_per_px, placement.mm_per_px))
    planes = planes[:, : int(rows / factor), : int(columns / factor)]
    group = slice_group(mm_per_px, placement.slice_mm)
    return Scan(_group_means(planes, group), mm_per_px, placement.slice_mm * group)


def slice_group(mm_per_px: float, slice_mm: float) -> int:
    """Return how many slices are averaged, to about a reduced pixel's width."""
    return max(1, round(mm_per_px / slice_mm))


def preferred(bodies: Mapping[str, Body], mm_per_px: float, *, edge_px: int) -> Body:
    """Return the shell body if its front agrees with the others, else the middle one.

    The shell's front is the truest, but it alone can lose dark fat. A body that begins
    before ``edge_px`` counts only if all do: breasts that are cut off by the image look
    so to all, ghosts of the chest do not.
    """
    inside = [body for body in bodies.values() if body.nearest_row >= edge_px]
    likely = sorted(inside or bodies.values(), key=lambda body: body.nearest_row)
    middle, shell = likely[(len(likely) - 1) // 2], bodies["shell"]
    apart_mm = abs(shell.nearest_row - middle.nearest_row) * mm_per_px
    return shell if shell in likely and apart_mm <= AGREE_MM else middle


def _breasts(body: Body, chest: Chest, scan: Scan) -> Mask:
    """Return the body before the chest wall's arc, in the slices with breast.

    Raises
    ------
    RegionError
        If there are none.
    """
    rows = np.arange(body.mask.shape[1])[None, :, None]
    before = rows < wall_rows(chest, scan)[:, None, :]
    off_px = np.abs(off_midline_mm(chest, scan)) / scan.mm_per_px
    beside = off_px <= chest.half_width_px
    kept = _breast_slices(body, chest, beside, scan)
    if not kept.any():
        raise refusal(
            f"no slice whose skin stands out {PROJECTION_MM:g} mm",
            "breasts that hang before the sternum",
        )
    return body.mask & before & beside & kept[:, None, None]


def _breast_slices(body: Body, chest: Chest, beside: Mask, scan: Scan) -> Mask:
    """Return the run of slices around the most prominent one that hold breast."""
    front = np.where(np.isnan(body.front) | ~beside, np.inf, body.front)
    stands_out_mm = (chest.sternum - front.min(axis=1)) * scan.mm_per_px
    runs, _ = ndimage.label(stands_out_mm >= PROJECTION_MM)
    kept: Mask = (runs == runs[np.argmax(stands_out_mm)]) & (runs > 0)
    return kept


def _group_means(planes: Field, group: int) -> Field:
    """Return the means of so many neighbouring planes, of fewer at the end.

    The first of a group is added last, as ``np.add.reduceat`` rounds up to 8 planes.
    """
    firsts = planes[::group]
    others, counts = np.zeros_like(firsts), np.ones(len(firsts), np.float32)
    for offset in range(1, group):
        later = planes[offset::group]
        others[: len(later)] += later
        counts[: len(later)] += 1
    means: Field = (firsts + others) / counts[:, None, None]
    return means


def _on_stack(
    region: Mask, scan: Scan, placement: Placement, *, slices: int
) -> NDArray[np.bool_]:
    """Return a reduced region on the stack's grid; padding stays empty."""
    held = region.any(axis=(1, 2))
    planes = np.zeros((len(region), placement.grid_px, placement.grid_px), bool)
    pixel_mm = (scan.mm_per_px, scan.mm_per_px)
    planes[held] = resample(region[held], placement, pixel_mm) >= 0.5
    group = slice_group(scan.mm_per_px, placement.slice_mm)
    return np.repeat(planes, group, axis=0)[:slices]
