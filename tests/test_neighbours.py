"""Openings, parts and maxima are scipy's own, and filling leaves the front alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from model.front import front_rows
from model.neighbours import (
    Field,
    Mask,
    filled,
    highest_within,
    largest_part,
    opened,
)

SHAPES = arrays.array_shapes(min_dims=3, max_dims=3, max_side=9)
MASKS = arrays.arrays(np.bool_, SHAPES)
FIELDS = arrays.arrays(np.float32, SHAPES, elements=st.floats(-8, 8, width=32))
CROSS = ndimage.generate_binary_structure(2, 1)[None]


def mask_of(*rows: str) -> Mask:
    """Return one slice, drawn with # for the body."""
    return np.array([[[pixel == "#" for pixel in row] for row in rows]])


@given(mask=MASKS, radius_px=st.integers(1, 3))
def test_an_opening_is_scipys(mask: Mask, radius_px: int) -> None:
    expected = ndimage.binary_opening(mask, CROSS, iterations=radius_px)
    assert np.array_equal(opened(mask, radius_px), expected)


def test_an_opening_keeps_a_cross_and_drops_what_holds_none() -> None:
    cross = mask_of("......", "..#..#", ".###.#", "..#..#", "......")
    kept = mask_of("......", "..#...", ".###..", "..#...", "......")
    assert np.array_equal(opened(cross, 1), kept)


@given(values=FIELDS, half=st.tuples(*[st.integers(0, 7)] * 3))
def test_the_highest_nearby_is_scipys(
    values: Field, half: tuple[int, int, int]
) -> None:
    size = tuple(2 * reach + 1 for reach in half)
    expected = ndimage.maximum_filter(values, size)
    assert np.array_equal(highest_within(values, half), expected)


def test_the_highest_nearby_ends_at_its_reach() -> None:
    values = np.zeros((1, 1, 9), np.float32)
    values[0, 0, 4] = 3
    found = highest_within(values, (0, 0, 2))
    assert found[0, 0].tolist() == [0, 0, 3, 3, 3, 3, 3, 0, 0]


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        (mask_of("##.#", "...#", "...#"), mask_of("...#", "...#", "...#")),
        (mask_of("##..", "..##"), mask_of("##..", "....")),
        (mask_of("....", "...."), mask_of("....", "....")),
    ],
)
def test_the_largest_part_is_kept_and_of_equals_the_first(
    mask: Mask, kept: Mask
) -> None:
    assert np.array_equal(largest_part(mask), kept)


def test_holes_are_filled_where_the_front_does_not_reach_them() -> None:
    body = mask_of("......", ".####.", ".#..#.", ".####.", ".#....", ".#.###")
    whole = mask_of("......", ".####.", ".####.", ".####.", ".#....", ".#.###")
    assert np.array_equal(filled(body), whole)


@given(mask=MASKS)
def test_filling_leaves_the_front_where_it_was(mask: Mask) -> None:
    whole = filled(mask)
    assert not (mask & ~whole).any()
    assert np.array_equal(front_rows(whole), front_rows(mask), equal_nan=True)
