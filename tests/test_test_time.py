"""The benchmark of refinements scores what it says."""

import numpy as np
import pytest

from benchmarks.test_time import STEPS, Case, score, summary
from model.refine import Refinement


def case() -> Case:
    """Ten slices of 5 mm, breast in 2 to 7; the network misses one and invents one."""
    truth = np.zeros((10, 8, 8), bool)
    truth[2:8, 2:6, 2:6] = True
    plain = truth.astype(np.float32)
    plain[4] = 0
    plain[9, 0, :4] = 1
    return Case(0, truth, plain, plain.copy(), slice_mm=5.0)


def test_scores_are_those_of_arithmetic() -> None:
    # 6 slices of 16 px; 5 are found, and 4 px elsewhere: 2 * 80 / (96 + 84).
    found = score(case(), Refinement())
    assert found.dice == pytest.approx(160 / 180)
    # 4 px of 4 breast-free slices of 64.
    assert found.false_share == pytest.approx(4 / 256)


def test_a_step_that_helps_shows_it() -> None:
    steps = STEPS["smooth 4 mm, islands, holes"]
    better, before = score(case(), steps), score(case(), STEPS["nothing"])
    assert better.dice > before.dice
    assert summary([better])["false_area_percent"] == 0
