"""The boundary's opinion of a mask."""

from dataclasses import replace

import numpy as np
from bodies import Prone

from model.boundary import find_region, region_or_refusal
from model.shape import read_shape

BODY = Prone()


def test_a_mask_on_the_breasts_agrees_with_the_boundary() -> None:
    region = find_region(BODY.image(), BODY.placement)
    shape = read_shape(region, region.mask)
    assert (shape.refusal, shape.overlap, shape.confidence) == ("", 1.0, 1.0)


def test_a_mask_elsewhere_does_not() -> None:
    region = find_region(BODY.image(), BODY.placement)
    elsewhere = np.roll(region.mask, BODY.grid_px // 2, axis=1)
    shape = read_shape(region, elsewhere)
    assert shape.overlap is not None
    assert shape.overlap < 0.2


def test_a_flat_body_is_refused_with_what_was_found() -> None:
    flat = replace(BODY, right=False, left=False)
    refused = region_or_refusal(flat.image(), flat.placement)
    shape = read_shape(refused, np.ones((24, 128, 128), bool))
    assert "a front that stands out" in shape.refusal
    assert (shape.overlap, shape.confidence) == (None, 0.0)
