"""What the body's boundary says of a network's mask: a second opinion.

The network draws something on any image. The body's boundary knows no breast by its
looks, but refuses bodies of another shape; what both agree on is no accident.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.boundary import BreastRegion, find_region
from model.errors import RegionError
from model.metrics import overlap
from model.preprocess import Placement


@dataclass(frozen=True, slots=True)
class Shape:
    """What the body's boundary says of a volume and of a mask of it."""

    refusal: str
    """Why this is no bilateral volume of a prone patient; empty when it may be."""
    confidence: float
    """0 to 1, of the boundary in its own region; 0 when it refuses."""
    flags: tuple[str, ...]
    overlap: float | None
    """Dice of the mask and the boundary's region; None when it refuses."""


def read_shape(
    pre: NDArray[np.float32], placement: Placement, mask: NDArray[np.bool_]
) -> Shape:
    """Return what the boundary of ``pre`` says of a mask on the same stack's grid."""
    try:
        region = find_region(pre, placement)
    except RegionError as error:
        return Shape(error.found, 0.0, (), None)
    return compared(region, mask)


def compared(region: BreastRegion, mask: NDArray[np.bool_]) -> Shape:
    """Return how a mask agrees with a region that was found."""
    dice = overlap(mask, region.mask).dice
    return Shape("", region.confidence, region.flags, dice)
