import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from model.sides import find_mid_column, split

SHAPE = (6, 40, 60)
Mask = NDArray[np.bool_]


def box(first: int, last: int, *, top: int = 10) -> Mask:
    """Columns ``first`` to ``last`` (exclusive) in rows ``top`` to 30, all slices."""
    mask = np.zeros(SHAPE, bool)
    mask[:, top:30, first:last] = True
    return mask


masks = st.tuples(*[st.integers(1, 6)] * 3).flatmap(
    lambda shape: arrays.arrays(np.bool_, shape)
)


@settings(max_examples=100, deadline=None)
@given(mask=masks, mid_column=st.none() | st.integers(-2, 8))
def test_no_voxel_is_on_both_sides_and_none_is_lost(
    mask: Mask, mid_column: int | None
) -> None:
    right, left = split(mask, mid_column=mid_column)
    assert not (right & left).any()
    np.testing.assert_array_equal(right | left, mask)


def test_two_breasts_are_cut_in_the_middle_of_the_gap() -> None:
    mask = box(8, 26) | box(36, 54)
    assert find_mid_column(mask) == (26 + 36) / 2
    right, left = split(mask)
    np.testing.assert_array_equal(right, box(8, 26))
    np.testing.assert_array_equal(left, box(36, 54))


def test_the_gap_counts_not_the_middle_of_the_image() -> None:
    mask = box(2, 20) | box(28, 46)
    assert find_mid_column(mask) == (20 + 28) / 2


def test_tissue_before_the_sternum_is_cut_at_the_valley() -> None:
    breasts, skin = box(8, 26) | box(34, 52), box(8, 52, top=24)
    right, left = split(breasts | skin)
    assert right.sum() == left.sum()
    assert find_mid_column(breasts | skin) == (26 + 34) / 2


@pytest.mark.parametrize(("first", "last"), [(4, 24), (4, 34), (14, 32)])
def test_a_lone_breast_stays_whole(first: int, last: int) -> None:
    mask = box(first, last)
    right, left = split(mask)
    np.testing.assert_array_equal(right, mask)
    assert not left.any()
    mirrored_right, mirrored_left = split(mask[:, :, ::-1])
    np.testing.assert_array_equal(mirrored_left, mask[:, :, ::-1])
    assert not mirrored_right.any()


def test_an_empty_mask_has_two_empty_sides() -> None:
    right, left = split(np.zeros(SHAPE, bool))
    assert not right.any()
    assert not left.any()


def test_a_given_mid_column_is_obeyed_also_beyond_the_edges() -> None:
    mask = box(8, 26)
    assert split(mask, mid_column=10)[0].sum() == 2 * 20 * 6
    assert not split(mask, mid_column=-3)[0].any()
    assert not split(mask, mid_column=60)[1].any()


def test_the_given_mask_is_left_alone() -> None:
    mask = box(8, 26)
    split(mask)[0][:] = True
    np.testing.assert_array_equal(mask, box(8, 26))
