"""The anterior front of a body or mask: first row per column, its valley, its sternum.

Seen from the front, two pendulous breasts are two lobes with a valley between them. The
same reading serves a thresholded body, a network's mask and a person's annotation.
"""

import numpy as np
from numpy.typing import NDArray

STERNAL_HALF_WIDTH_MM = 35.0
"""The pre-sternal skin lies within this distance of the mid-line."""
STERNAL_PERCENTILE = 90
"""Of the fronts beside the mid-line: the valley's floor, spared by single columns."""
STERNAL_COVER = 0.5
"""Share of the columns beside the mid-line that must have a front."""
VALLEY_TOLERANCE_PX = 1.0
"""Columns this close to the deepest one are the valley's floor."""
CENTRAL_SHARE = 1 / 3
"""The mid-line is looked for in this central share of the columns."""


def front_rows(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the first foreground row, (slices, columns), NaN where there is none."""
    rows: NDArray[np.float32] = mask.argmax(axis=1).astype(np.float32)
    rows[~mask.any(axis=1)] = np.nan
    return rows


def profile(
    front: NDArray[np.float32], *, min_slices: int, depth_px: int
) -> NDArray[np.float32]:
    """Return per column the row that ``min_slices`` slices have reached, (columns,).

    Columns that fewer slices reach get ``depth_px``, the image's posterior edge.
    """
    filled = np.where(np.isnan(front), depth_px, front)
    nth = min(min_slices, len(filled)) - 1
    reached: NDArray[np.float32] = np.partition(filled, nth, axis=0)[nth]
    return reached.astype(np.float32)


def valley_depths(line: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far each column lies behind the lower of the two lobes beside it.

    ``line`` is a front in rows, (columns,); the depths are in rows and at least zero.
    """
    right = np.minimum.accumulate(line)
    left = np.minimum.accumulate(line[::-1])[::-1]
    depths: NDArray[np.float32] = line - np.maximum(right, left)
    return depths


def midline(line: NDArray[np.float32], *, depth_px: int) -> float:
    """Return the mid-line, in px from the first column's edge: the valley's centre.

    With no valley it is the centre of the gap beside a lone breast, or of the image.
    """
    margin = int(len(line) * (1 - CENTRAL_SHARE) / 2)
    central = slice(margin, len(line) - margin)
    depths = valley_depths(line)[central]
    if depths.max() <= VALLEY_TOLERANCE_PX:
        depths = (line[central] >= depth_px).astype(np.float32) * 2
    floor = np.flatnonzero(depths >= depths.max() - VALLEY_TOLERANCE_PX)
    return margin + float(np.median(floor)) + 0.5


def sternal_rows(
    front: NDArray[np.float32], *, midline_px: float, mm_per_px: float
) -> NDArray[np.float32]:
    """Return the pre-sternal skin row of each slice, (slices,), NaN where not seen."""
    half_px = STERNAL_HALF_WIDTH_MM / mm_per_px
    start = max(0, int(np.floor(midline_px - half_px)))
    beside = front[:, start : int(np.ceil(midline_px + half_px))]
    counts = (~np.isnan(beside)).sum(axis=1)
    in_order, rows = np.sort(beside, axis=1), np.full(len(front), np.nan, np.float32)
    for count in set(counts[counts / beside.shape[1] >= STERNAL_COVER].tolist()):
        alike = counts == count
        found = in_order[alike, :count]
        rows[alike] = np.percentile(found, STERNAL_PERCENTILE, axis=1)
    return rows
