"""Find the patient's back folded over the image's anterior edge, and blank it.

A field of view too short in the phase-encoding direction repeats the back in front of
the breasts (wrap-around). It reaches the image's edge over the sternum, where breasts
that are merely cut off leave the air of the cleavage.
"""

import numpy as np

from model.air import Air, Scan, Tissue, find_tissue
from model.neighbours import Mask

HALF_WIDTH_MM = 15.0
"""Beside the image's middle, inside the cleavage."""
COVER = 0.5
"""Share of these columns that counts as tissue, and of the slices that must show it."""
MAX_DEPTH_MM = 70.0
"""No back folds farther: deeper tissue is the body itself."""
MIN_GAP_MM = 15.0
"""Air between the fold and the sternum."""
MARGIN_PX = 2


def blank_wrap(tissue: Tissue, air: Air) -> tuple[Tissue, int]:
    """Return the tissue with a folded back set to air, and how many rows that took."""
    scan = tissue.scan
    end = _wrap_end(tissue.high, scan)
    if end == 0:
        return tissue, 0
    voxels = scan.voxels.copy()
    voxels[:, :end] = air.level
    blanked = Scan(voxels, scan.mm_per_px, scan.slice_mm)
    return find_tissue(blanked, air), end


def _wrap_end(high: Mask, scan: Scan) -> int:
    """Return the first row behind the fold, 0 when there is none."""
    slices, rows, columns = high.shape
    middle, half = columns // 2, max(1, round(HALF_WIDTH_MM / scan.mm_per_px))
    tissue: Mask = high[:, :, middle - half : middle + half].mean(axis=2) >= COVER
    air_from = np.where(tissue.all(axis=1), rows, tissue.argmin(axis=1))
    behind = tissue & (np.arange(rows) > air_from[:, None])
    body_from = np.where(behind.any(axis=1), behind.argmax(axis=1), rows)
    folded = (
        tissue[:, :MARGIN_PX].all(axis=1)
        & (air_from * scan.mm_per_px <= MAX_DEPTH_MM)
        & ((body_from - air_from) * scan.mm_per_px >= MIN_GAP_MM)
    )
    if folded.sum() < COVER * slices:
        return 0
    return int(np.percentile(air_from[folded], 90)) + MARGIN_PX
