"""The front of a mask: first rows, its line over slices, valley, mid-line, sternum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from model.front import front_rows, midline, profile, sternal_rows, valley_depths


def line(*rows: float) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def test_front_rows_are_the_first_of_each_column() -> None:
    mask = np.zeros((1, 5, 3), bool)
    mask[0, 2:, 0] = True
    mask[0, 4, 1] = True
    assert np.array_equal(front_rows(mask), [[2, 4, np.nan]], equal_nan=True)


def test_profile_needs_enough_slices() -> None:
    front = np.array([[3, np.nan], [5, 7], [9, np.nan]], np.float32)
    assert np.array_equal(profile(front, min_slices=1, depth_px=20), [3, 7])
    assert np.array_equal(profile(front, min_slices=2, depth_px=20), [5, 20])
    assert np.array_equal(profile(front, min_slices=9, depth_px=20), [9, 20])


def test_valley_depth_is_below_the_lower_lobe() -> None:
    assert np.array_equal(
        valley_depths(line(9, 2, 6, 9, 4, 9)), [0, 0, 4 - 2, 9 - 4, 0, 0]
    )
    assert not valley_depths(line(1, 2, 3, 4)).any()


def test_midline_is_the_middle_of_the_valley() -> None:
    front = np.full(90, 50.0, np.float32)
    front[20:38], front[50:70] = 10, 20
    assert midline(front, depth_px=100) == pytest.approx(44.0)
    flat = np.full(90, 50.0, np.float32)
    assert midline(flat, depth_px=100) == pytest.approx(45.0)


def test_midline_beside_a_lone_breast_is_in_the_gap() -> None:
    lone = np.full(90, 100.0, np.float32)
    lone[10:50] = 20
    assert 50 <= midline(lone, depth_px=100) <= 60


def test_sternal_rows_need_skin_on_half_the_columns_beside_the_midline() -> None:
    front = np.full((2, 100), np.nan, np.float32)
    front[0, 30:70] = 40
    front[1, 46:50] = 40
    rows = sternal_rows(front, midline_px=50.0, mm_per_px=2.0)
    assert rows[0] == 40
    assert np.isnan(rows[1])


FRONTS = arrays.arrays(
    np.float32, (5, 40), elements=st.sampled_from([3.0, 4.0, 7.5, 30.0, np.nan])
)


@given(front=FRONTS)
def test_a_sternal_row_is_the_90th_percentile_of_the_rows_seen(
    front: NDArray[np.float32],
) -> None:
    found = sternal_rows(front, midline_px=20.0, mm_per_px=5.0)
    for beside, row in zip(front[:, 13:27], found, strict=True):
        seen = beside[~np.isnan(beside)]
        expected = np.percentile(seen, 90) if len(seen) >= 7 else np.nan
        assert row == expected or (np.isnan(row) and np.isnan(expected))
