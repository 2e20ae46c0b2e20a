"""What the body's boundary says of a network's mask: a second opinion.

The network draws something on any image. The body's boundary knows no breast by its
looks, but refuses bodies of another shape; what both agree on is no accident.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.boundary import BreastRegion
from model.errors import RegionError
from model.metrics import overlap


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


def read_shape(region: BreastRegion | RegionError, mask: NDArray[np.bool_]) -> Shape:
    """Return what the boundary's region, or its refusal, says of a mask on its grid."""
    if isinstance(region, RegionError):
        return Shape(region.found, 0.0, (), None)
    dice = overlap(mask, region.mask).dice
    return Shape("", region.confidence, region.flags, dice)
