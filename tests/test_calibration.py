"""Calibration: temperatures, errors and entropies that are known beforehand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.calibration import (
    MOST_PIXELS,
    TEMPERATURE_RANGE,
    calibrated,
    calibration_error,
    entropy,
    fit_temperature,
    thinned,
)


def test_thinning_is_even_and_leaves_few_pixels_alone() -> None:
    values = np.arange(12).reshape(3, 4)
    assert thinned(values, pixels=2 * MOST_PIXELS).tolist() == [0, 2, 4, 6, 8, 10]
    assert thinned(values, pixels=12).tolist() == list(range(12))


@given(logit=st.floats(0.5, 12), right=st.integers(51, 99))
def test_one_confidence_is_scaled_to_its_accuracy(logit: float, right: int) -> None:
    truth = np.arange(100) < right
    # sigmoid(z / T) = right / 100 where T = z / log(right / (100 - right)).
    expected = logit / math.log(right / (100 - right))
    found = fit_temperature(np.full(100, logit), truth)
    low, high = TEMPERATURE_RANGE
    assert found == pytest.approx(min(max(expected, low), high), rel=1e-3)


def test_logits_three_times_too_large_have_temperature_three() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 200_000)
    truth = rng.random(logits.size) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(3 * logits, truth) == pytest.approx(3, rel=0.02)
    found = calibrated((3 * logits).astype(np.float32), truth)
    assert found.ece > 0.05
    assert found.ece_calibrated < 0.01


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    probability = np.array([0.9] * 10 + [0.4] * 10)
    truth = np.array([True] * 8 + [False] * 2 + [False] * 9 + [True])
    # Sure 0.9 and right 8 of 10; sure 0.6 and right 9 of 10.
    expected = (10 * abs(0.9 - 0.8) + 10 * abs(0.6 - 0.9)) / 20
    assert calibration_error(probability, truth) == pytest.approx(expected)


def test_sure_and_right_is_no_error_and_no_entropy() -> None:
    probability, truth = np.array([0.0, 1.0]), np.array([False, True])
    assert calibration_error(probability, truth) == 0
    assert entropy(probability).tolist() == [0, 0]


def test_entropy_of_a_coin_is_log_2() -> None:
    values = entropy(np.array([0.5, 0.25]))
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert values == pytest.approx([math.log(2), quarter])
