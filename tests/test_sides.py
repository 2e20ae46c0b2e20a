"""Right and left: disjoint, nothing lost, cut along the patient's own mid-line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from model.sides import find_mid_columns, split

SHAPE = (12, 60, 90)
SPACING_MM = (6.0, 2.0, 2.0)
Mask = NDArray[np.bool_]


def box(first: int, last: int, *, top: int = 10, bottom: int = 40) -> Mask:
    """Columns ``first`` to ``last`` (exclusive), rows likewise, in all slices."""
    mask = np.zeros(SHAPE, bool)
    mask[:, top:bottom, first:last] = True
    return mask


def lobe(first: int, last: int) -> Mask:
    """A breast in these columns: its front falls back from row 10 to row 34."""
    columns = np.arange(SHAPE[2]) + 0.5
    share = (2 * columns - first - last) / (last - first)
    rows = np.arange(SHAPE[1])[:, None]
    plane = (rows >= 10 + 24 * share**2) & (rows < 40) & (np.abs(share) < 1)
    return np.repeat(plane[None], SHAPE[0], axis=0)


def askew(mask: Mask, columns_per_slice: int) -> Mask:
    """Return every slice moved to the left of the patient by its share."""
    moved = [np.roll(plane, columns_per_slice * k, 1) for k, plane in enumerate(mask)]
    return np.stack(moved)


def halves(mask: Mask) -> tuple[Mask, Mask]:
    return split(mask, find_mid_columns(mask, SPACING_MM))


masks = st.tuples(*[st.integers(1, 6)] * 3).flatmap(
    lambda shape: arrays.arrays(np.bool_, shape)
)
spacings = st.tuples(*[st.floats(0.5, 40)] * 3)


@settings(max_examples=200, deadline=None)
@given(mask=masks, spacing_mm=spacings)
def test_no_voxel_is_on_both_sides_and_none_is_lost(
    mask: Mask, spacing_mm: tuple[float, float, float]
) -> None:
    right, left = split(mask, find_mid_columns(mask, spacing_mm))
    assert not (right & left).any()
    np.testing.assert_array_equal(right | left, mask)


@settings(max_examples=50, deadline=None)
@given(
    inner=st.integers(34, 50),
    widths=st.tuples(st.integers(14, 22), st.integers(14, 22)),
    gap=st.integers(2, 12),
    tilt=st.integers(-1, 1),
)
def test_two_breasts_are_told_apart_wherever_and_however_they_lie(
    inner: int, widths: tuple[int, int], gap: int, tilt: int
) -> None:
    # A column of 2 mm for each slice of 6 mm: 18 degrees askew.
    start = inner - 6 * tilt
    right = askew(lobe(start - widths[0], start), tilt)
    left = askew(lobe(start + gap, start + gap + widths[1]), tilt)
    found, other = halves(right | left)
    np.testing.assert_array_equal(found, right)
    np.testing.assert_array_equal(other, left)


def test_tissue_before_the_sternum_is_cut_in_the_middle_of_the_valley() -> None:
    mask = lobe(10, 30) | lobe(40, 60) | box(10, 60, top=35)
    assert (find_mid_columns(mask, SPACING_MM) == (30 + 40) // 2).all()
    right, left = halves(mask)
    assert right.sum() == left.sum()


@pytest.mark.parametrize(("first", "last"), [(6, 36), (6, 50), (20, 48)])
def test_a_lone_breast_stays_whole(first: int, last: int) -> None:
    mask = box(first, last)
    right, left = halves(mask)
    np.testing.assert_array_equal(right, mask)
    assert not left.any()
    mirrored_right, mirrored_left = halves(mask[:, :, ::-1])
    np.testing.assert_array_equal(mirrored_left, mask[:, :, ::-1])
    assert not mirrored_right.any()


def test_a_lone_breast_with_a_flat_other_side_is_cut_in_one_column() -> None:
    # The other side's skin lies 5 rows of 2 mm before the sternum: no second lobe.
    mask = box(8, 40) | box(8, 80, top=36) | box(55, 80, top=31)
    cuts = find_mid_columns(mask, SPACING_MM)
    assert (cuts == cuts[0]).all()
    assert 40 <= cuts[0] <= 55


def test_a_stray_slice_does_not_bend_the_mid_line() -> None:
    mask = lobe(10, 30) | lobe(40, 60)
    mask[5] = lobe(10, 18)[5] | lobe(22, 60)[5]
    cuts = find_mid_columns(mask, SPACING_MM)
    assert (np.abs(cuts - 35) <= 1).all()


def test_slices_without_breasts_lie_on_the_line_of_the_others() -> None:
    breasts = askew(lobe(10, 30) | lobe(40, 60), 1)
    skin = askew(box(10, 60, top=38), 1)
    breasts[:3], breasts[9:] = False, False
    cuts = find_mid_columns(breasts | skin, SPACING_MM)
    assert (np.abs(cuts - (35 + np.arange(12))) <= 1).all()


def test_an_empty_mask_has_two_empty_sides() -> None:
    right, left = halves(np.zeros(SHAPE, bool))
    assert not right.any()
    assert not left.any()


def test_a_given_mid_column_is_obeyed_also_beyond_the_edges() -> None:
    mask = box(8, 26, top=10, bottom=30)
    assert split(mask, 10)[0].sum() == 2 * 20 * 12
    assert not split(mask, -3)[0].any()
    assert not split(mask, 90)[1].any()


def test_the_given_mask_is_left_alone() -> None:
    mask = box(8, 26)
    halves(mask)[0][:] = True
    np.testing.assert_array_equal(mask, box(8, 26))
