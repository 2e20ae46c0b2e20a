"""One grid for BAG, whatever grid a mask was drawn or predicted on."""

from highdicom import Volume
from numpy import bool_
from numpy.typing import NDArray

from model.bag import BagFeatures, measure
from model.errors import EmptyMaskError
from model.preprocess import ORIENTATION, Placement, place, resample

BAG_GRID_PX = 256
COVERED = 0.5
"""A pixel of the common grid is breast when the mask covers this share of it."""


def on_bag_grid(mask: Volume) -> tuple[NDArray[bool_], Placement]:
    """Return a mask (0 or 1) in canonical order on the common grid."""
    canonical = mask.to_patient_orientation(ORIENTATION)
    placement = place(canonical.get_geometry(), BAG_GRID_PX)
    planes = resample(canonical.array, placement, canonical.pixel_spacing)
    return planes >= COVERED, placement


def bag_features(mask: Volume, *, source: str) -> BagFeatures | None:
    """Measure BAG of a source-grid mask on the common grid, None when empty."""
    on_grid, placement = on_bag_grid(mask)
    try:
        return measure(on_grid, placement, source=source)
    except EmptyMaskError:
        return None
