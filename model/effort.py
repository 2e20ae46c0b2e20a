"""What a draft spares its annotator, from the edit distance to the settled mask.

The edit distance is a path length: how much of the mask's contours the draft did not
have. It follows the time of correcting better than Dice or volume does (Vaassen et al.,
Physics and Imaging in Radiation Oncology 13, 2020). Minutes per mm are the site's, from
sessions that it timed; until there are enough they are assumed, and called so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects
from scipy.optimize import nnls

from model.metrics import check_masks, overlap

TOLERANCE_MM = 1.5
"""Nobody redraws a contour that is off by less: it is about a pixel."""
LEAST_TIMED = 5
ASSUMED, SITE = "assumed", "site"
IN_PLANE = np.ones((1, 3, 3), bool)
IN_PLANE[0, ::2, ::2] = False

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of a mask had to be drawn, with and without the draft."""

    slices: int
    """With breast in the settled mask."""
    drawn_mm: float
    """Length of its contours: what is drawn without a draft."""
    changed_mm: float | None = None
    """Of contours drawn anew or wiped out; None where there was no draft."""
    draft_dice: float | None = None

    @property
    def needed_mm(self) -> float:
        """The path that was drawn: a draft worse than none is wiped out whole."""
        if self.changed_mm is None:
            return self.drawn_mm
        return min(self.changed_mm, self.drawn_mm)


@dataclass(frozen=True, slots=True)
class Pace:
    """Minutes of annotation: so many a session, and so many a mm of contour."""

    per_session: float
    per_mm: float
    source: str
    """``site`` (timed) or ``assumed``."""
    timed: int

    def minutes(self, path_mm: float) -> float:
        """Return the minutes of one session."""
        return self.per_session + self.per_mm * path_mm


@dataclass(frozen=True, slots=True)
class Minutes:
    """Estimated annotation of several sessions."""

    from_scratch: float
    with_drafts: float
    pace: Pace

    @property
    def saved(self) -> float:
        """Minutes that the drafts spared."""
        return self.from_scratch - self.with_drafts


def effort(
    settled: Mask, draft: Mask | None, *, spacing_mm: tuple[float, float, float]
) -> Effort:
    """Return the effort of a mask (slices, rows, columns), and of mending its draft.

    In each slice the longer of two paths counts: contour that the draft lacks, and
    contour that it has too much; beyond ``TOLERANCE_MM`` either way.
    """
    pixel_mm = float(np.sqrt(spacing_mm[1] * spacing_mm[2]))
    contour = _contour(settled)
    slices = int(settled.any(axis=(1, 2)).sum())
    drawn_mm = float(contour.sum()) * pixel_mm
    if draft is None:
        return Effort(slices, drawn_mm)
    check_masks(draft, settled, subject="draft and settled mask")
    drafted = _contour(draft)
    changed_px = 0
    for own, other in _used(contour, drafted):
        missing = _beyond(own, other, spacing_mm[1:])
        changed_px += max(missing, _beyond(other, own, spacing_mm[1:]))
    dice = overlap(draft, settled).dice
    return Effort(slices, drawn_mm, changed_px * pixel_mm, dice)


def pace(
    efforts: Mapping[str, Effort],
    timings_min: Mapping[str, float],
    *,
    minutes_per_slice: float,
) -> Pace:
    """Return the site's pace from its timed sessions, by least squares, none below 0.

    With fewer than ``LEAST_TIMED`` of them it is assumed: ``minutes_per_slice`` to draw
    a slice by hand.
    """
    known = sorted(efforts.keys() & timings_min.keys())
    if len(known) >= LEAST_TIMED:
        paths = np.array([efforts[session].needed_mm for session in known])
        minutes = np.array([timings_min[session] for session in known])
        (each, per_mm), _ = nnls(np.stack([np.ones_like(paths), paths], 1), minutes)
        return Pace(float(each), float(per_mm), SITE, len(known))
    slices = sum(one.slices for one in efforts.values())
    drawn_mm = sum(one.drawn_mm for one in efforts.values())
    per_mm = minutes_per_slice * slices / drawn_mm if drawn_mm else 0.0
    return Pace(0.0, per_mm, ASSUMED, len(known))


def minutes(efforts: Sequence[Effort], at: Pace) -> Minutes:
    """Return the minutes that these sessions take at a pace."""
    return Minutes(
        from_scratch=sum(at.minutes(one.drawn_mm) for one in efforts),
        with_drafts=sum(at.minutes(one.needed_mm) for one in efforts),
        pace=at,
    )


def _contour(mask: Mask) -> Mask:
    """Return the pixels of each slice that have background beside them."""
    interior: Mask = binary_erosion(mask, IN_PLANE)
    return mask & ~interior


def _used(own: Mask, other: Mask) -> list[tuple[Mask, Mask]]:
    """Return both masks' slices, cut to where either of them is."""
    boxes = find_objects((own | other).view(np.uint8))
    if not boxes:
        return []
    return list(zip(own[boxes[0]], other[boxes[0]], strict=True))


def _beyond(own: Mask, other: Mask, pixel_mm: tuple[float, ...]) -> int:
    """Count the pixels of one contour farther than tolerated from the other."""
    if not own.any() or not other.any():
        return int(own.sum())
    distance_mm = distance_transform_edt(~other, sampling=pixel_mm)
    return int((own & (distance_mm > TOLERANCE_MM)).sum())
