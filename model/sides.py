"""Which side a breast voxel belongs to: a mask cut at the body's mid-line.

Tissue in front of the sternum belongs to neither breast alone, so it is cut as well:
every voxel is right or left, none is both, none is lost.
"""

import numpy as np
from numpy.typing import NDArray

from model.front import front_rows, midline, profile

MIN_SLICES = 3
"""A single voxel's slice does not move the mid-line; the valley of three does."""


def split(
    mask: NDArray[np.bool_], *, mid_column: int | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the right and left parts of a canonical mask (slices, rows, columns).

    Columns before ``mid_column`` are right (column 0 is the patient's right). Without
    it the cut is `find_mid_column`'s. A cut at or beyond an edge leaves one side empty.
    """
    cut = find_mid_column(mask) if mid_column is None else max(0, mid_column)
    right, left = mask.copy(), mask.copy()
    right[:, :, cut:] = False
    left[:, :, :cut] = False
    return right, left


def find_mid_column(mask: NDArray[np.bool_]) -> int:
    """Return the first column of the left side, from the front of a canonical mask.

    It is the valley between the two breasts; beside a lone breast the gap on its inner
    side; the image's middle when the mask shows neither.
    """
    rows = mask.shape[1]
    line = profile(front_rows(mask), min_slices=MIN_SLICES, depth_px=rows)
    return round(midline(line, depth_px=rows))
