"""The target as one annotator would draw it: the label rule, give or take.

People differ by a millimetre at the muscle, by some at the flat cut behind the axillary
folds, and by a slice at the band's ends. So pretraining's target varies about the rule
from slice to slice, smoothly within one. The skin's side never moves: the mask changes
where it meets other tissue, not where it meets air. Test volumes keep to the rule.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from model.pretraining.bank import (
    BREAST,
    MIDDLE_Y_MM,
    PIXEL_MM,
    SHAPE,
    SLICE_MM,
    TISSUE,
)
from model.pretraining.view import View, indices, wave
from model.synthetic.lattice import Field, centred_axis
from model.synthetic.tissues import Labels, Mask, Tissue

CENTRE_Y_MM = 105.0
"""About the middle of the thorax: borders towards the chest move to it and from it."""
WAVE_MM = 40.0
UNDER_SKIN_MM = 6.0
"""More than the surface moves between neighbouring slices of the trunk."""
UNEVEN_MM = 2.0
"""How uneven the flat cut is within one slice."""
OPEN = (Tissue.AIR, Tissue.MARKER)
RIND = (Tissue.SKIN, Tissue.NIPPLE)
BEFORE_MUSCLE = (
    *(Tissue.FAT, Tissue.SKIN, Tissue.NIPPLE, Tissue.GLAND, Tissue.STRAND),
    *(Tissue.VESSEL, Tissue.NODE, Tissue.CYST, Tissue.LESION, Tissue.LESION_CORE),
)


@dataclass(frozen=True, slots=True)
class Annotation:
    """How far targets differ from the label rule at most; 0 is the rule itself.

    Raises
    ------
    ValueError
        If a distance is negative, or ``include_skin`` neither true nor false.
    """

    include_skin: bool = True
    muscle_mm: float = 0.0
    """Of the border towards the chest wall."""
    cut_mm: float = 0.0
    """Of the flat cut behind the axillary folds, each side for itself."""
    end_mm: float = 0.0
    """Of the band's lower and upper end, in whole slices of 3.5 mm."""

    def __post_init__(self) -> None:
        if not isinstance(self.include_skin, bool):
            raise ValueError("include_skin must be true or false")
        for name in (f.name for f in fields(self) if f.name.endswith("_mm")):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be a distance")


BY_THE_RULE = Annotation()


def annotated(view: View, annotation: Annotation, rng: np.random.Generator) -> View:
    """Return ``view`` with its breast as one annotator draws it."""
    slices = round(annotation.end_mm * rng.uniform(-1, 1) / SLICE_MM)
    plane, breast = np.asarray(view.volume[view.number]), view.breast.copy()
    if slices:
        plane = _at_ends(view.volume, view.number, slices)
        breast = plane[indices(view.y_mm, view.x_mm)] >= BREAST
    if annotation.muscle_mm:
        breast = _at_muscle(breast, view, plane, annotation.muscle_mm, rng)
    if annotation.cut_mm:
        breast = _at_cut(breast, view, plane, annotation.cut_mm, rng)
    if not annotation.include_skin:
        breast &= ~np.isin(view.before[0], RIND)
    return replace(view, breast=breast)


def _at_ends(volume: Labels, number: int, slices: int) -> Labels:
    """Return the slice's bytes with the band as it lies ``slices`` slices higher.

    The surfaces of two slices differ. Where the other is air, what lies under its skin
    decides; where that is air as well, as beside a hanging breast, nothing changes.
    """
    plane = np.asarray(volume[number])
    other = np.asarray(volume[np.clip(number + slices, 0, len(volume) - 1)])
    body = ~np.isin(other & TISSUE, OPEN)
    under = other[_under_skin()]
    known = body | ~np.isin(under & TISSUE, OPEN)
    band = np.where(body, other, under) >= BREAST
    breast = np.where(known, band, plane >= BREAST) & (plane & TISSUE != Tissue.AIR)
    return np.asarray((plane & TISSUE) | (breast * BREAST), np.uint8)


def _under_skin() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return for each point of a bank's slice the one ``UNDER_SKIN_MM`` inwards."""
    y = centred_axis(SHAPE[1], PIXEL_MM, MIDDLE_Y_MM)[:, None]
    x = centred_axis(SHAPE[2], PIXEL_MM, 0.0)[None, :]
    down, across = inwards(y, x)
    return indices(y + UNDER_SKIN_MM * down, x + UNDER_SKIN_MM * across)


def inwards(y_mm: Field, x_mm: Field) -> tuple[Field, Field]:
    """Return the unit vector (y, x) towards the middle of the thorax."""
    down, across = np.float32(CENTRE_Y_MM) - y_mm, -x_mm
    length = np.maximum(np.hypot(down, across), 1)
    return down / length, across / length


def _at_muscle(
    breast: Mask, view: View, plane: Labels, most_mm: float, rng: np.random.Generator
) -> Mask:
    """Move the border towards the chest by a smooth distance, as often in as out."""
    share = rng.uniform(-1, 1) + 0.5 * wave(view.frame, WAVE_MM, rng)
    inwards_mm = np.float32(most_mm) * np.clip(share, -1, 1).astype("f4")
    down, across = inwards(view.y_mm, view.x_mm)
    places = view.y_mm - inwards_mm * down, view.x_mm - inwards_mm * across
    source = plane[indices(*places)]
    grown = (inwards_mm > 0) & (source >= BREAST) & _tissue(view.before[0])
    lost = (inwards_mm < 0) & (source < BREAST) & _tissue(source)
    return np.asarray((breast | grown) & ~lost)


def _at_cut(
    breast: Mask, view: View, plane: Labels, most_mm: float, rng: np.random.Generator
) -> Mask:
    """Move the cut of each side forwards or backwards, in front of the muscle alone."""
    front = np.isin(view.before[0], BEFORE_MUSCLE)
    moved = breast.copy()
    for half in (view.x_mm > 0, view.x_mm <= 0):
        back_mm = np.float32(rng.uniform(-most_mm, most_mm))
        side = breast & half
        if not side.any():
            continue
        hindmost_mm = view.y_mm[side].max()
        source = plane[indices(view.y_mm - back_mm, view.x_mm)]
        if back_mm > 0:
            behind = view.y_mm > hindmost_mm - UNEVEN_MM
            moved |= half & behind & front & (source >= BREAST)
        else:
            behind = view.y_mm > hindmost_mm + back_mm - UNEVEN_MM
            moved &= ~(half & behind & (source < BREAST) & _tissue(source))
    return moved


def _tissue(labels: Labels) -> Mask:
    return ~np.isin(labels & TISSUE, OPEN)
