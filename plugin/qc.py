"""Publish a mask, publish it for review, or hold it; always with the reasons.

Every test has one named limit. The limits ask whether a mask is plausible, not whether
it is right: a network's own probabilities say little, since training on Dice
saturates them, so what is asked is geometry, the training range and agreement under
a flip.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.shape import Shape

EMPTY_SIDE_ML = 10.0
"""Less is no breast: the smallest breasts in published series are several times it."""
FRAGMENT_SHARE = 0.02
"""A breast is one piece; more than this outside of the largest is a stray region."""
AREA_JUMP = 0.35
"""Change between neighbouring slices as a share of the side's largest slice. A sphere
of 60 mm radius changes by 2 x 4 / 60 = 0.13 at most between slices 4 mm apart."""
JUMP_SLICE_MM = 4.0
"""Thicker slices may change proportionally more."""
EDGE_MM2 = 100.0
"""A mask that meets the image's edge on a square centimetre or more is cut off."""
END_SHARE = 0.25
"""The first or last slice may not hold this share of the largest: the breast goes on
outside of the images."""
FLIP_REVIEW, FLIP_HOLD = 0.90, 0.70
"""Dice of the mask and the mask of the mirrored images: two readers of the same
breast agree better than the first; below the second one of both is wrong."""
MIN_OVERLAP = 0.4
"""Dice of a network's mask and the region of the body's boundary: both lie on the
breasts above it. True masks of 56 phantoms had 0.57 to 0.96, one 0.32."""
SILENT_SHARE = 0.1
"""Of a mask's voxels in the pre-contrast image. Tissue has signal; a subtraction has
none, or less than none, wherever nothing enhances."""
REPEATED_SHARE = 0.25
"""Of a mask's voxels that have the value of the next slice. Noise lets 2 % agree at
most; projections over three slices that overlap have 37 % and more, over seven 60 %."""
SHAPE_CONFIDENCE = 0.5
"""The boundary's own limit for a volume that a person should see."""
PAIR_CONFIDENCE = 0.5
"""The DCE reader's own limit for a choice that a person should see."""
ML_PER_MM3 = 1e-3
EDGES = (
    ("anterior", 1, 0),
    ("posterior", 1, -1),
    ("patient's right", 2, 0),
    ("patient's left", 2, -1),
)
ENDS = (("feet", 0), ("head", -1))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known besides the mask. What is None was not measured and not judged."""

    features: Mapping[str, float] = field(default_factory=dict)
    """Measured values by name, such as ``nearest_point_mm``."""
    training_range: Mapping[str, tuple[float, float]] | None = None
    """Lowest and highest value of the training cases, by the same names, and for
    ``volume_ml`` and ``left_right_ratio``, which are measured here."""
    flip_dice: float | None = None
    shape: Shape | None = None
    """The opinion of the body's boundary."""
    same_images: bool = False
    """Pre- and post-contrast volume are equal, voxel by voxel."""
    silent_share: float | None = None
    """Share of the mask's voxels that are 0 or less before contrast."""
    repeated_share: float | None = None
    """Share of the mask's voxels that equal the same voxel of the next slice."""
    pair_confidence: float | None = None
    pair_flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a mask, and every reason against publishing it unseen."""

    verdict: Literal["publish", "review", "hold"]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One breast, and its area in every slice."""

    name: str
    mask: NDArray[np.bool_]
    areas_mm2: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]

    @property
    def volume_ml(self) -> float:
        return float(self.areas_mm2.sum()) * self.spacing_mm[0] * ML_PER_MM3


def assess(
    right: NDArray[np.bool_],
    left: NDArray[np.bool_],
    *,
    spacing_mm: tuple[float, float, float],
    evidence: Evidence | None = None,
) -> Verdict:
    """Return the verdict on two canonical masks (slices, rows, columns).

    ``spacing_mm`` is that of slices, rows and columns. Held is a mask without any
    voxel, one that its own mirror image contradicts, and one that it doubts on a body
    that is no prone patient's; any other reason asks for a review.
    """
    evidence = evidence or Evidence()
    sides = [_measure("right", right, spacing_mm), _measure("left", left, spacing_mm)]
    grave = tuple(_grave(sides, evidence))
    reasons = grave + tuple(_geometry(sides)) + tuple(_context(sides, evidence))
    if grave:
        return Verdict("hold", reasons)
    return Verdict("review" if reasons else "publish", reasons)


def _measure(
    name: str, mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> _Side:
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    areas = np.array([np.count_nonzero(plane) for plane in mask]) * pixel_mm2
    return _Side(name, mask, areas, spacing_mm)


def _grave(sides: list[_Side], evidence: Evidence) -> Iterator[str]:
    if not any(side.volume_ml for side in sides):
        yield "the mask is empty"
    if evidence.flip_dice is not None and evidence.flip_dice < _least_flip(evidence):
        yield f"Dice {evidence.flip_dice:.2f} with the mirrored images' mask"


def _least_flip(evidence: Evidence) -> float:
    """Return the flip Dice below which a mask is held: two doubts weigh more."""
    refused = evidence.shape is not None and evidence.shape.refusal
    return FLIP_REVIEW if refused else FLIP_HOLD


def _geometry(sides: list[_Side]) -> Iterator[str]:
    for side in sides:
        if side.volume_ml < EMPTY_SIDE_ML:
            yield f"{side.name} side empty ({side.volume_ml:.1f} ml)"
        if side.volume_ml:
            yield from _fragments(side)
            yield from _jumps(side)
            yield from _edges(side)
            yield from _ends(side)


def _fragments(side: _Side) -> Iterator[str]:
    pieces, count = ndimage.label(_crop(side.mask), np.ones((3, 3, 3)))
    sizes = np.bincount(pieces[pieces > 0])[1:]
    share = 1 - sizes.max() / sizes.sum()
    if share > FRAGMENT_SHARE:
        yield f"{side.name} side in {count} pieces, {share:.0%} outside the largest"


def _crop(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the bounding box of the foreground."""
    used = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return mask[tuple(slice(at[0], at[-1] + 1) for at in used)]


def _jumps(side: _Side) -> Iterator[str]:
    if len(side.areas_mm2) < 2:
        return
    allowed = AREA_JUMP * max(1.0, side.spacing_mm[0] / JUMP_SLICE_MM)
    steps = np.abs(np.diff(side.areas_mm2)) / side.areas_mm2.max()
    worst = int(steps.argmax())
    if steps[worst] > allowed:
        where = f"slices {worst + 1} and {worst + 2}"
        yield f"{side.name} side changes by {steps[worst]:.0%} between {where}"


def _edges(side: _Side) -> Iterator[str]:
    slice_mm, row_mm, column_mm = side.spacing_mm
    for name, axis, index in EDGES:
        pixel_mm2 = slice_mm * (column_mm if axis == 1 else row_mm)
        touch_mm2 = np.count_nonzero(side.mask.take(index, axis)) * pixel_mm2
        if touch_mm2 >= EDGE_MM2:
            where = f"{name} edge of the images"
            yield f"{side.name} side meets the {where} on {touch_mm2:.0f} mm2"


def _ends(side: _Side) -> Iterator[str]:
    for name, index in ENDS:
        share = side.areas_mm2[index] / side.areas_mm2.max()
        if share >= END_SHARE:
            yield f"{side.name} side goes on beyond the last slice at the {name}"


def _context(sides: list[_Side], evidence: Evidence) -> Iterator[str]:
    yield from _outside_training(sides, evidence)
    dice = evidence.flip_dice
    if dice is not None and _least_flip(evidence) <= dice < FLIP_REVIEW:
        yield f"Dice {dice:.2f} with the mirrored images' mask"
    yield from _doubted_shape(evidence.shape)
    yield from _doubted_images(evidence)
    confidence = evidence.pair_confidence
    if confidence is not None and confidence < PAIR_CONFIDENCE:
        yield f"confidence {confidence:.2f} in the choice of the image series"
    for flag in evidence.pair_flags:
        yield f"image series flagged: {flag}"


def _doubted_shape(shape: Shape | None) -> Iterator[str]:
    if shape is None:
        return
    if shape.refusal:
        yield f"no breasts of a prone patient by the body's shape: {shape.refusal}"
    if shape.overlap is not None and shape.overlap < MIN_OVERLAP:
        yield f"Dice {shape.overlap:.2f} with the region of the body's boundary"
    if shape.flags and shape.confidence < SHAPE_CONFIDENCE:
        yield f"body's shape in doubt: {', '.join(shape.flags)}"


def _doubted_images(evidence: Evidence) -> Iterator[str]:
    if evidence.same_images:
        yield "the pre- and post-contrast images are the same"
    silent = evidence.silent_share
    if silent is not None and silent >= SILENT_SHARE:
        yield f"no signal in {silent:.0%} of the mask before contrast: a subtraction?"
    repeated = evidence.repeated_share
    if repeated is not None and repeated >= REPEATED_SHARE:
        yield (
            f"{repeated:.0%} of the mask's voxels repeat in the next slice: "
            "a projection over slices (MIP)?"
        )


def _outside_training(sides: list[_Side], evidence: Evidence) -> Iterator[str]:
    values = {**evidence.features, **_volumes(sides)}
    for name, (low, high) in sorted((evidence.training_range or {}).items()):
        value = values.get(name)
        if value is not None and not low <= value <= high:
            yield f"{name} {value:.3g} outside the training range {low:.3g}-{high:.3g}"


def _volumes(sides: list[_Side]) -> dict[str, float]:
    """Return the whole volume and, when both sides have one, left over right."""
    right_ml, left_ml = (side.volume_ml for side in sides)
    volumes = {"volume_ml": right_ml + left_ml}
    if right_ml and left_ml:
        volumes["left_right_ratio"] = left_ml / right_ml
    return volumes
