"""Which part of a stack the network has to see: all, or what surrounds the breasts.

The breast's surroundings come from the cold-start boundary, which needs no network.
Cropping is less work but not the same arithmetic: FCN-ResNet50 sees farther than any
margin, so near the cut a pixel's value changes. A slice that is left out changes no
other slice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.boundary import BreastRegion, region_or_refusal
from model.errors import RegionError
from model.preprocess import Placement

SCOPES = ("whole", "slices", "breast")
"""The whole stack; whole slices near the breasts; rows and columns near them, too."""
MARGIN_MM = 40.0
ALIGN_PX = 8
"""The network's features have one cell per 8 x 8 px: a crop on another offset would
move every cell."""
TRUSTED = 0.5
"""The boundary's own limit for a region that needs no person's eye."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a stack, as slices of its three axes."""

    slices: slice
    rows: slice
    columns: slice

    @property
    def index(self) -> tuple[slice, slice, slice]:
        """Return what indexes an array (slices, rows, columns)."""
        return self.slices, self.rows, self.columns

    def share(self, shape: tuple[int, ...]) -> float:
        """Return the share of a stack's pixels that lie inside, 0 to 1."""
        pairs = zip(self.index, shape, strict=True)
        return float(np.prod([len(range(*s.indices(n))) / n for s, n in pairs]))


EVERYTHING = Window(slice(None), slice(None), slice(None))


def find_window(
    voxels: NDArray[np.floating], placement: Placement, scope: str
) -> Window:
    """Return the part of a stack (slices, 2, rows, columns) that a scope means."""
    if scope == "whole":
        return EVERYTHING
    pre = voxels[:, 0].astype(np.float32, copy=False)
    return window_around(region_or_refusal(pre, placement), placement, scope)


def window_around(
    region: BreastRegion | RegionError, placement: Placement, scope: str
) -> Window:
    """Return the part of a stack that a scope means, by the boundary's region.

    All of it where the boundary finds no breasts or doubts what it finds.
    """
    if scope == "whole" or isinstance(region, RegionError):
        return EVERYTHING
    if region.confidence < TRUSTED:
        return EVERYTHING
    margin_slices = MARGIN_MM / placement.slice_mm
    slices = _span(np.atleast_1d(region.mask.any(axis=(1, 2))), margin_slices, 1)
    if scope == "slices" or placement.grid_px % ALIGN_PX:
        return Window(slices, slice(None), slice(None))
    margin_px = MARGIN_MM / placement.mm_per_px
    rows = _span(np.atleast_1d(region.mask.any(axis=(0, 2))), margin_px, ALIGN_PX)
    columns = _span(np.atleast_1d(region.mask.any(axis=(0, 1))), margin_px, ALIGN_PX)
    return Window(slices, rows, columns)


def within(
    window: Window,
    voxels: NDArray[np.floating],
    probability_of: Callable[[NDArray[np.floating]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Return probabilities (slices, rows, columns): 0 outside of the window."""
    return placed(window, probability_of(cut(window, voxels)), voxels)


def cut(window: Window, voxels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the part of a stack (slices, 2, rows, columns) inside the window."""
    return voxels[window.slices, :, window.rows, window.columns]


def placed(
    window: Window, found: NDArray[np.float32], voxels: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return a window's values on the grid of the whole stack, 0 outside.

    They are returned as they are, not copied, where they are the whole.
    """
    shape = (len(voxels), *voxels.shape[2:])
    if found.shape == shape:
        return found
    out = np.zeros(shape, np.float32)
    out[window.index] = found
    return out


def _span(used: NDArray[np.bool_], margin: float, align: int) -> slice:
    """Return the run of used places with a margin, grown to multiples of ``align``."""
    at = np.flatnonzero(used)
    first = max(0, int((at[0] - margin) // align * align))
    last = min(len(used), int(-(-(at[-1] + 1 + margin) // align) * align))
    return slice(first, last)
