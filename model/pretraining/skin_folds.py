"""Skin folds: clefts of air between two layers of skin, where breast and chest meet.

Under the breast the cleft starts in the crease beside it, higher up near the axillary
fold. It is thinner than a painted voxel, so it is drawn in the slice, and its air is a
share of every raster point. The mask stays: people draw across a fold.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.pretraining.annotator import BEFORE_MUSCLE, inwards
from model.pretraining.view import View
from model.synthetic.lattice import Field
from model.synthetic.tissues import Labels, Tissue

MIDDLE_Z_MM = 10.0
"""Below it a fold lies under the breast, above it near the axilla."""
FLANK_MM = 1.5
CREASE_MM = 3.0
"""Least depth of the hollow between breast and chest that makes a crease."""
AXILLA_MM = 25.0
"""How far in front of the cut behind the axillary fold a fold may start."""
TURN_DEG = 50.0
BEND_PER_MM = 0.015
LINED = (Tissue.FAT, Tissue.STRAND, Tissue.VESSEL)


@dataclass(frozen=True, slots=True)
class Cleft:
    """One fold in the plane of a slice: a bent, tapering line from the skin inwards."""

    y_mm: float
    x_mm: float
    down: float
    """Direction inwards, with ``across`` a unit vector (y, x)."""
    across: float
    bend_per_mm: float
    length_mm: float
    half_mm: float
    """Half the width of the air at the mouth."""
    skin_mm: float


def with_fold(view: View, share: float, rng: np.random.Generator) -> View:
    """Return ``view``, in a ``share`` of draws with one fold if it has a place."""
    if rng.random() >= share:
        return view
    flank, start = _flank(view, rng), None
    if len(flank):
        start = _crease(flank) if view.z_mm < MIDDLE_Z_MM else _axilla(flank, rng)
    return view if start is None else with_cleft(view, _draw_cleft(start, rng))


def with_cleft(view: View, cleft: Cleft) -> View:
    """Return ``view`` with the air and the skin of one fold."""
    y, x = view.y_mm - cleft.y_mm, view.x_mm - cleft.x_mm
    along = y * cleft.down + x * cleft.across
    straight = y * cleft.across - x * cleft.down
    aside = np.asarray(straight - cleft.bend_per_mm * along**2, np.float32)
    rest = np.clip(1 - along / cleft.length_mm, 0, 1)
    half = np.asarray(cleft.half_mm * np.sqrt(rest), np.float32)
    air = _overlap_mm(aside, half, view.frame.mm) / view.frame.mm
    open_to = np.isin(view.before[0], BEFORE_MUSCLE) & (along > -cleft.skin_mm)
    lining = (np.abs(aside) < half + cleft.skin_mm) & (along > 0)
    lining &= along < cleft.length_mm + cleft.skin_mm
    return replace(
        view,
        before=tuple(_lined(labels, lining) for labels in view.before),
        after=tuple(_lined(labels, lining) for labels in view.after),
        cleft=np.asarray(air * open_to, np.float32),
    )


def _overlap_mm(aside: Field, half: Field, mm: float) -> Field:
    """Return how much of a raster point's ``mm`` lies within ``half`` of the line."""
    upper = np.minimum(half, aside + mm / 2)
    lower = np.maximum(-half, aside - mm / 2)
    return np.asarray(np.maximum(upper - lower, 0), np.float32)


def _lined(labels: Labels, lining: NDArray[np.bool_]) -> Labels:
    skin = lining & np.isin(labels, LINED)
    return np.where(skin, np.uint8(Tissue.SKIN), labels)


def _flank(view: View, rng: np.random.Generator) -> Field:
    """Return places (y, x) on the skin of one breast, from its front to its flank.

    They are what is seen of it from the side in front, one each ``FLANK_MM``.
    """
    side = view.breast & (view.x_mm * rng.choice([-1, 1]) > 0)
    y, x = view.y_mm[side], view.x_mm[side]
    order = np.argsort(y - np.abs(x), kind="stable")
    steps = np.rint((y + np.abs(x))[order] / (math.sqrt(2) * FLANK_MM))
    _, nearest = np.unique(steps, return_index=True)
    return np.stack([y, x], axis=1)[order[nearest]]


def _crease(flank: Field) -> Field | None:
    """Return where the skin lies deepest behind what a taut string would span."""
    flank = flank[int(flank[:, 0].argmin()) :]
    depth = (flank[:, 0] - np.abs(flank[:, 1])) / math.sqrt(2)
    hollow = depth - _taut(depth)
    if hollow.max() < CREASE_MM:
        return None
    place: Field = flank[int(hollow.argmax())]
    return place


def _taut(depth: Field) -> Field:
    """Return the largest convex curve that is nowhere above ``depth``."""
    held: list[int] = []
    for point in range(len(depth)):
        while len(held) > 1 and _sags(depth, held[-2], held[-1], point):
            held.pop()
        held.append(point)
    return np.interp(np.arange(len(depth)), held, depth[held]).astype("f4")


def _sags(depth: Field, first: int, middle: int, last: int) -> bool:
    """Say whether the middle one of three points lies behind the line of the others."""
    rise = (depth[last] - depth[first]) * (middle - first)
    return bool((depth[middle] - depth[first]) * (last - first) >= rise)


def _axilla(flank: Field, rng: np.random.Generator) -> Field:
    near = flank[-round(AXILLA_MM / FLANK_MM) :]
    place: Field = near[int(rng.integers(len(near)))]
    return place


def _draw_cleft(start: Field, rng: np.random.Generator) -> Cleft:
    down, across = (float(part) for part in inwards(start[0], start[1]))
    turn = math.radians(rng.uniform(-TURN_DEG, TURN_DEG))
    return Cleft(
        y_mm=float(start[0]),
        x_mm=float(start[1]),
        down=down * math.cos(turn) - across * math.sin(turn),
        across=across * math.cos(turn) + down * math.sin(turn),
        bend_per_mm=float(rng.uniform(-BEND_PER_MM, BEND_PER_MM)),
        length_mm=float(rng.uniform(5, 25)),
        half_mm=float(np.exp(rng.uniform(np.log(0.3), np.log(1.5)))),
        skin_mm=float(rng.uniform(1, 3)),
    )
