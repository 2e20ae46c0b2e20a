"""BAG of a session before anyone annotated it: from a network's mask, or without one.

The network draws the breasts on every n-th slice, which is enough for rows and
columns. The body's boundary is asked as well. Where both hardly overlap, one of them
is wrong, and the boundary's features are kept; where the boundary refuses the body's
shape, the network's are, if its mirror image agrees: very small breasts look like none
to the boundary. Both rows ask for a person by their confidence.
"""

import logging
from dataclasses import dataclass

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from model.bag import BagFeatures, TouchRule, measure, overlay_map, touch_rule
from model.boundary import BreastRegion, find_region
from model.errors import RegionError
from model.metrics import overlap
from model.preprocess import ORIENTATION, Placement, pre_to_stack
from model.refine import FLIP_STEP
from plugin.bag_grid import BAG_GRID_PX, on_bag_grid
from plugin.drawing import predict_mask
from plugin.pipeline import Segmenter
from plugin.qc import FLIP_HOLD, MIN_OVERLAP
from plugin.session import OpenSession
from plugin.version import VERSION

logger = logging.getLogger(__name__)

APART_MM = 6.0
"""Between the slices that a network looks at for ranking, at most: the nearest point
of true masks then moves by 0 mm in median and 2 mm at worst in 19 of 20 phantoms."""
DOUBTED = 0.4
"""Confidence in features whose two sources disagree: a person should look."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredBag:
    """Features with their source and confidence, and the map they were read from."""

    features: BagFeatures
    overlay: NDArray[np.int32]


def method_of(segmenter: Segmenter | None) -> str:
    """Return what decides the features of a session, besides its images."""
    return segmenter.run_key("bag") if segmenter else f"boundary {VERSION}"


def measure_session(session: OpenSession, segmenter: Segmenter | None) -> MeasuredBag:
    """Return a session's features, by ``segmenter`` where there is one.

    Raises
    ------
    RegionError
        If this is no bilateral volume of a prone patient's breasts.
    """
    pre, placement = pre_to_stack(session.pre, grid_px=BAG_GRID_PX)
    try:
        region = find_region(pre, placement)
    except RegionError as error:
        if segmenter is None:
            raise
        return _of_another_shape(session, segmenter, error)
    sure = min(region.confidence, session.pair.confidence)
    if segmenter is None:
        return _by_boundary(region, placement, sure)
    step = step_of(session)
    mask, _ = predict_mask(thinned(session, step), segmenter)
    on_grid, _ = on_bag_grid(mask)
    dice = overlap(on_grid, region.mask[step // 2 :: step]).dice
    if dice < MIN_OVERLAP:
        _warn(session, f"Dice {dice:.2f} with the body's boundary, which is measured")
        return _by_boundary(region, placement, min(sure, DOUBTED))
    return _by_network(session, mask, sure)


def thinned(session: OpenSession, step: int) -> OpenSession:
    """Return the session with every ``step``-th slice, in canonical order."""
    return OpenSession(
        session.session_id,
        session.pair,
        _every(session.pre, step),
        _every(session.post, step),
        session.source_key,
    )


def thinned_rule(slices: int, step: int) -> TouchRule:
    """Return the touch rule of a thinned volume: as many mm in as few slices."""
    rule = touch_rule(grid_px=BAG_GRID_PX, slices=slices)
    return TouchRule(rule.min_px, max(1, round(rule.min_slices / step)))


def _every(volume: Volume, step: int) -> Volume:
    return volume.to_patient_orientation(ORIENTATION)[step // 2 :: step]


def step_of(session: OpenSession) -> int:
    """Return which share of a session's slices the network looks at."""
    canonical = session.pre.to_patient_orientation(ORIENTATION)
    return max(1, int(APART_MM / canonical.spacing[0]))


def _of_another_shape(
    session: OpenSession, segmenter: Segmenter, error: RegionError
) -> MeasuredBag:
    """Return the network's features of a body that the boundary refuses.

    Raises
    ------
    RegionError
        The boundary's own, where the network finds nothing or contradicts itself.
    """
    thin = thinned(session, step_of(session))
    mask, flip_dice = predict_mask(thin, segmenter, flip_step=FLIP_STEP)
    if not mask.array.any() or flip_dice is None or flip_dice < FLIP_HOLD:
        raise error
    _warn(session, f"{error.found}; the network's mask is measured")
    return _by_network(session, mask, min(DOUBTED, session.pair.confidence))


def _by_network(session: OpenSession, mask: Volume, confidence: float) -> MeasuredBag:
    on_grid, placement = on_bag_grid(mask)
    slices = session.pre.to_patient_orientation(ORIENTATION).spatial_shape[0]
    features = measure(
        on_grid,
        placement,
        source="checkpoint",
        confidence=confidence,
        rule=thinned_rule(slices, step_of(session)),
    )
    return MeasuredBag(features, overlay_map(on_grid))


def _warn(session: OpenSession, found: str) -> None:
    logger.warning("session %s is measured with doubt: %s", session.session_id, found)


def _by_boundary(
    region: BreastRegion, placement: Placement, confidence: float
) -> MeasuredBag:
    features = measure(region.mask, placement, source="boundary", confidence=confidence)
    return MeasuredBag(features, overlay_map(region.mask))
