"""BAG of a session before anyone annotated it: from a network's mask, or without one.

The body's boundary judges every session first: what is no bilateral volume of a prone
patient is refused, with a network as well. The network then draws the breasts on every
n-th slice, which is enough for rows and columns; where its mask and the boundary's
region hardly overlap, one of both is wrong, and the boundary's features are kept with
a confidence that asks for a person.
"""

import logging
from dataclasses import dataclass

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from model.bag import BagFeatures, TouchRule, measure, overlay_map, touch_rule
from model.boundary import BreastRegion, find_region
from model.metrics import overlap
from model.preprocess import ORIENTATION, Placement, to_stack
from plugin.bag_grid import BAG_GRID_PX, on_bag_grid
from plugin.drawing import predict_mask
from plugin.pipeline import Segmenter
from plugin.qc import MIN_OVERLAP
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
    stack = to_stack(session.pre, session.post, grid_px=BAG_GRID_PX)
    region = find_region(stack.voxels[:, 0], stack.placement)
    sure = min(region.confidence, session.pair.confidence)
    if segmenter is None:
        return _by_boundary(region, stack.placement, sure)
    step = max(1, int(APART_MM / stack.placement.slice_mm))
    mask, placement = on_bag_grid(predict_mask(thinned(session, step), segmenter))
    dice = overlap(mask, region.mask[step // 2 :: step]).dice
    if dice < MIN_OVERLAP:
        logger.warning(
            "session %s: Dice %.2f of the network's mask with the body's boundary; "
            "the boundary is measured",
            session.session_id,
            dice,
        )
        return _by_boundary(region, stack.placement, min(sure, DOUBTED))
    rule = thinned_rule(len(stack.voxels), step)
    features = measure(mask, placement, source="checkpoint", confidence=sure, rule=rule)
    return MeasuredBag(features, overlay_map(mask))


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


def _by_boundary(
    region: BreastRegion, placement: Placement, confidence: float
) -> MeasuredBag:
    features = measure(region.mask, placement, source="boundary", confidence=confidence)
    return MeasuredBag(features, overlay_map(region.mask))
