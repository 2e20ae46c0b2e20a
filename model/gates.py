"""Tell a bilateral volume of a prone patient's breasts from others, and how surely.

Each signal is one number with a unit, measured on the rough bodies. None suffices: a
head has a valley between two lobes, a volume upside down has a breast volume's width.
The limits lie between real bilateral studies and wrong inputs (sagittal, coronal, one
side, flipped, head, knee, CT, noise); width is the strongest, so spacing must be known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.air import Air, Body, Scan
from model.chest import FRONT_SHARE, Chest, refusal, wall_rows
from model.front import profile, valley_depths
from model.neighbours import Field

MIN_LENGTH_MM, SHORT_MM = 10.0, 60.0
"""From foot to head: no volume below the first, no whole breast below the second."""
MIN_CONTRAST, LOW_CONTRAST = 5.0, 10.0
"""Pure noise reaches 4; breasts under heavy noise still have 11."""
MIN_WIDTH_MM, NARROW_MM = 205.0, 245.0
"""Chests are 220-400 mm wide; heads, knees, half and sagittal images up to 200."""
MIN_LOBE_MM, LONE_LOBE_MM = 12.0, 25.0
"""How far breasts stand out at least; more is asked where only one does."""
SHALLOW_MM = 20.0
LOBES_APART_MM = (80.0, 260.0)
REVERSED_TIMES, CUT_REVERSED_TIMES = 2.0, 0.5
"""Seen from behind, no body may have a valley that many times as deep; the second holds
where the front is cut off broadly, as a back lying on the image's edge is."""
BROAD_CUT_SHARE = 0.3
EDGE_PX = 2
"""A body that begins before this row is cut off by the image's anterior edge."""
FRONT_CUT_SHARE = 0.01
SPREAD_MM, WIDE_SPREAD_MM = 12.0, 25.0
"""Rough bodies differ by 5 mm on clean images, more with leaks, most with ghosts."""

MIN_SOLID = 0.7
"""Of the region behind its own front, between undercuts and torn, dark fat."""
MIN_FLOOR_MM = 30.0
"""Open cleavages have a floor 45 mm wide and more, the sternum's skin."""
FLOOR_DEPTH_MM = 8.0
FLOOR_HALF_WIDTH_MM = 50.0
FLOOR_PERCENTILE = 90

DOUBT = {
    "short": 0.6,
    "low-contrast": 0.7,
    "narrow": 0.7,
    "one-sided": 0.7,
    "shallow": 0.7,
    "lobes-apart": 0.7,
    "valley-behind": 0.7,
    "front-cut": 0.7,
    "fronts-disagree": 0.7,
    "fronts-far-apart": 0.6,
    "cleavage-closed": 0.7,
    "torn": 0.7,
    "wrapped": 0.6,
}
"""What each flag leaves of the confidence; below 0.5 a person must look."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What was measured on a volume to judge it."""

    length_mm: float
    """Of the volume, from foot to head."""
    width_mm: float
    """Of the chest between its flanks."""
    valley_mm: float
    """Depth of the mid-line valley behind the lower of both lobes."""
    lobe_mm: float
    """How far the higher lobe stands out before the mid-line."""
    reversed_valley_mm: float
    """The valley of the same body seen from behind."""
    apart_mm: float
    """Between the tips of the two lobes."""
    front_cut: float
    """Share of columns whose body begins at the image's anterior edge."""
    contrast: float
    """Bright tissue over air, in standard deviations of air."""
    spread_mm: float
    """Between the nearest points of the three rough bodies."""
    floor_mm: float
    """Width of the valley's floor where it is deepest."""
    solid: float
    """Share of the region behind its front that is body."""
    folded_mm: float
    """Depth of a back folded over the anterior edge, 0 without."""


def require_signal(scan: Scan, air: Air) -> None:
    """Raise ``RegionError`` for a blank, noisy or too short volume."""
    length_mm = len(scan.voxels) * scan.slice_mm
    if length_mm < MIN_LENGTH_MM:
        raise refusal(f"slices over {length_mm:.0f} mm", f"{MIN_LENGTH_MM:.0f} mm")
    if not air.bright > 0:
        raise refusal("one grey value", "tissue brighter than air")
    if air.contrast < MIN_CONTRAST:
        raise refusal(
            f"tissue {air.contrast:.1f} standard deviations above air",
            f"at least {MIN_CONTRAST:g}",
        )


@dataclass(frozen=True, slots=True)
class Fronts:
    """What is known of the front before one rough body is chosen."""

    contrast: float
    spread_px: float
    folded_px: int


def spread_px(bodies: Mapping[str, Body]) -> float:
    """Return the distance between the nearest points of the rough bodies."""
    rows = [body.nearest_row for body in bodies.values()]
    return max(rows) - min(rows)


def measure_signals(body: Body, chest: Chest, fronts: Fronts, scan: Scan) -> Signals:
    """Return the signals of the chosen body and its chest's landmarks."""
    mm, middle, line = scan.mm_per_px, int(chest.midline_px), chest.line
    depth_px, few = body.mask.shape[1], max(1, round(FRONT_SHARE * len(body.back)))
    behind = profile(body.back, min_slices=few, depth_px=depth_px)
    right, left = int(np.argmin(line[:middle])), int(np.argmin(line[middle:])) + middle
    return Signals(
        length_mm=len(body.front) * scan.slice_mm,
        width_mm=2 * chest.half_width_px * mm,
        valley_mm=_central_valley(line) * mm,
        lobe_mm=float(line[middle] - line.min()) * mm,
        reversed_valley_mm=_central_valley(behind) * mm,
        apart_mm=(left - right) * mm,
        front_cut=float((line < fronts.folded_px + EDGE_PX).mean()),
        contrast=fronts.contrast,
        spread_mm=fronts.spread_px * mm,
        floor_mm=_floor_px(body, chest, scan) * mm,
        solid=_solid(body, chest, scan),
        folded_mm=fronts.folded_px * mm,
    )


def judge(signals: Signals) -> tuple[float, tuple[str, ...]]:
    """Return the confidence, 0 to 1, and the flags that lowered it.

    Raises
    ------
    RegionError
        If the shape is not that of a prone patient's breasts.
    """
    _refuse_other_shapes(signals)
    flags = tuple(name for name, doubted in _doubts(signals).items() if doubted)
    return float(np.prod([DOUBT[name] for name in flags])), flags


def _refuse_other_shapes(signals: Signals) -> None:
    if signals.width_mm < MIN_WIDTH_MM:
        raise refusal(
            f"a body {signals.width_mm:.0f} mm wide",
            f"a chest of at least {MIN_WIDTH_MM:.0f} mm with both breasts",
        )
    valley_mm, lobe_mm = signals.valley_mm, signals.lobe_mm
    broad = signals.front_cut > BROAD_CUT_SHARE
    times = CUT_REVERSED_TIMES if broad else REVERSED_TIMES
    before_mm = max(valley_mm, lobe_mm)
    if signals.reversed_valley_mm > max(times * before_mm, MIN_LOBE_MM):
        raise refusal(
            f"a valley of {signals.reversed_valley_mm:.0f} mm behind and "
            f"{before_mm:.0f} mm in front",
            "breasts towards the anterior edge",
        )
    if valley_mm < MIN_LOBE_MM and lobe_mm < LONE_LOBE_MM:
        raise refusal(
            f"a front that stands out {lobe_mm:.0f} mm, with a valley of "
            f"{valley_mm:.0f} mm",
            f"two breasts of {MIN_LOBE_MM:.0f} mm or one of {LONE_LOBE_MM:.0f} mm",
        )


def _doubts(signals: Signals) -> dict[str, bool]:
    one_sided = signals.valley_mm < MIN_LOBE_MM
    nearest, farthest = LOBES_APART_MM
    return {
        "short": signals.length_mm < SHORT_MM,
        "low-contrast": signals.contrast < LOW_CONTRAST,
        "narrow": signals.width_mm < NARROW_MM,
        "one-sided": one_sided,
        "shallow": not one_sided and signals.valley_mm < SHALLOW_MM,
        "lobes-apart": not (one_sided or nearest <= signals.apart_mm <= farthest),
        "valley-behind": signals.reversed_valley_mm
        > max(signals.valley_mm, signals.lobe_mm),
        "front-cut": signals.front_cut > FRONT_CUT_SHARE,
        "fronts-disagree": signals.spread_mm > SPREAD_MM,
        "fronts-far-apart": signals.spread_mm > WIDE_SPREAD_MM,
        "cleavage-closed": not one_sided and signals.floor_mm < MIN_FLOOR_MM,
        "torn": signals.solid < MIN_SOLID,
        "wrapped": signals.folded_mm > 0,
    }


def _central_valley(line: Field) -> float:
    """Return the deepest valley in the central third of the columns, in rows."""
    third = len(line) // 3
    return float(valley_depths(line)[third : len(line) - third].max())


def _floor_px(body: Body, chest: Chest, scan: Scan) -> int:
    """Return how many columns beside the mid-line are about as deep as the deepest."""
    half = round(FLOOR_HALF_WIDTH_MM / scan.mm_per_px)
    middle = int(chest.midline_px)
    beside = slice(max(0, middle - half), middle + half)
    front = np.where(np.isnan(body.front), body.mask.shape[1], body.front)[:, beside]
    before = front - chest.sternum[:, None]
    deepest = np.percentile(before, FLOOR_PERCENTILE, axis=0)
    return int((deepest >= deepest.max() - FLOOR_DEPTH_MM / scan.mm_per_px).sum())


def _solid(body: Body, chest: Chest, scan: Scan) -> float:
    """Return the share of body between its front and the chest wall's arc."""
    rows = np.arange(body.mask.shape[1])[None, :, None]
    behind = rows >= np.nan_to_num(body.front, nan=np.inf)[:, None, :]
    region = behind & (rows < wall_rows(chest, scan)[:, None, :])
    return float((body.mask & region).sum() / max(region.sum(), 1))
