"""Intervals and tests against textbook numbers and against counting everything."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.statistics import LEAST_PAIRS, Interval, holm, interval, paired


def test_the_interval_of_many_patients_is_that_of_a_normal_mean() -> None:
    values = np.random.default_rng(0).normal(0.9, 0.02, 400)
    found = interval(values)
    half = 1.96 * values.std(ddof=1) / 400**0.5
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert found.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    found = [interval(rng.exponential(1.0, 40)) for _ in range(100)]
    held = sum(i.low < 1 < i.high for i in found if i.low and i.high)
    assert 88 <= held <= 99  # a skewed truth of 40 patients; 95 expected


def test_a_weighted_mean_is_the_mean_over_slices() -> None:
    # Ten slices of 0.9 and thirty of 0.5.
    found = interval(np.array([0.9, 0.5]), np.array([10.0, 30.0]))
    assert found.mean == pytest.approx((10 * 0.9 + 30 * 0.5) / 40)
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(0.9)


def test_one_patient_has_no_interval_and_equal_ones_a_point() -> None:
    assert interval(np.array([0.7])).low is None
    equal = interval(np.full(9, 0.7))
    assert equal.low == equal.high == pytest.approx(0.7)


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(2).random(12)
    assert interval(values) == interval(values)


def exact_p(differences: list[float]) -> float:
    """Count the sign patterns whose rank sum is as far from the middle."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    middle = ranks.sum() / 2
    sums = [np.dot(ranks, signs) for signs in product((0, 1), repeat=len(ranks))]
    far = abs(np.dot(ranks, np.array(differences) > 0) - middle)
    return float(np.mean([abs(s - middle) >= far for s in sums]))


@given(
    hnp.arrays(
        float,
        st.integers(LEAST_PAIRS, 9),
        elements=st.integers(-99, 99).filter(bool).map(float),
        unique=True,
    ).filter(lambda d: len(set(np.abs(d))) == len(d))
)
def test_p_counts_all_signs_of_the_ranks(differences: np.ndarray) -> None:
    found = paired(differences, np.zeros_like(differences))
    assert found.p == pytest.approx(exact_p(differences.tolist()))


def test_the_signed_rank_test_of_conover_s_twins() -> None:
    # Conover, Practical Nonparametric Statistics, 3rd ed. (1999), 5.7, example 1:
    # aggressiveness of twelve pairs of twins; sum of the negative ranks 24.5, of the
    # positive ones 41.5, one pair equal.
    first = np.array([86, 71, 77, 68, 91, 72, 77, 91, 70, 71, 88, 87.0])
    second = np.array([88, 77, 76, 64, 96, 72, 65, 90, 65, 80, 81, 72.0])
    found = paired(first, second)
    assert found.rank_biserial == pytest.approx((41.5 - 24.5) / 66)
    assert found.p == pytest.approx(0.45, abs=0.03)


def test_holm_steps_down() -> None:
    # 4 * 0.005, 3 * 0.01, then 2 * 0.03; 0.04 may not fall below that.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_shift_of_all_pairs_is_the_largest_effect() -> None:
    values = np.linspace(0.5, 0.9, 10)
    found = paired(values + np.linspace(0.01, 0.02, 10), values)
    assert found.rank_biserial == 1
    assert found.p == pytest.approx(2 / 2**10)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0.015)


def test_results_that_are_the_same_do_not_differ() -> None:
    values = np.linspace(0.5, 0.9, 10)
    found = paired(values, values)
    assert (found.p, found.rank_biserial) == (1.0, None)
    assert found.difference == Interval(0, 0, 0)


def test_five_pairs_tell_nothing() -> None:
    values = np.linspace(0.5, 0.9, 5)
    assert paired(values + 1, values).p is None
