"""Stop advice: known curves, and nothing claimed that the test set cannot tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.advice import GO_ON, STOP, UNCLEAR, Ahead, Point, advise, expected_gain
from model.statistics import Interval

# The rest to 1 is 0.4 / sqrt(patients): 0.2 at 4, 0.1 at 16, 0.05 at 64.
ROOT = [Point(4, 0.8), Point(16, 0.9)]
FLAT = [Point(4, 0.9), Point(8, 0.9001), Point(12, 0.9)]
SURE = Interval(-0.001, -0.003, 0.001)


def test_a_power_law_is_gone_on_with() -> None:
    assert expected_gain(ROOT, 48) == pytest.approx(0.1 - 0.05)


def test_a_curve_that_falls_promises_nothing() -> None:
    assert expected_gain([Point(4, 0.9), Point(8, 0.8)], 4) == 0


def test_one_round_says_nothing_of_the_next() -> None:
    assert expected_gain(ROOT[:1], 4) is None
    assert expected_gain([Point(4, 0.8), Point(4, 0.9)], 4) is None
    advice = advise(ROOT[:1], Ahead(4, 0.005), last_gain=None)
    assert (advice.verdict, advice.expected_gain) == (GO_ON, None)


def test_a_rising_curve_is_worth_another_round() -> None:
    advice = advise(ROOT, Ahead(48, 0.005, minutes=90), last_gain=SURE)
    assert advice.verdict == GO_ON
    assert "48 more patients are expected to add 0.0500 Dice for about 90 minutes" in (
        advice.reason
    )


def test_a_flat_curve_is_stopped_only_where_the_test_set_is_sure() -> None:
    ahead = Ahead(4, 0.005)
    assert advise(FLAT, ahead, last_gain=SURE).verdict == STOP
    wide = Interval(0.001, -0.02, 0.02)
    unsure = advise(FLAT, ahead, last_gain=wide)
    assert unsure.verdict == UNCLEAR
    assert "the last round added +0.0010 (-0.0200 to +0.0200)" in unsure.reason
    assert advise(FLAT, ahead, last_gain=None).verdict == UNCLEAR
    assert advise(FLAT, ahead, last_gain=Interval(0.0, None, None)).verdict == UNCLEAR


def test_an_empty_pool_ends_the_loop_whatever_the_curve() -> None:
    assert advise(ROOT, Ahead(0, 0.005), last_gain=None).verdict == STOP


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.integers(1, 50),
)
def test_a_gain_never_leads_beyond_a_dice_of_one(dices: list[float], more: int) -> None:
    curve = [Point(2 * at + 2, dice) for at, dice in enumerate(dices)]
    gain = expected_gain(curve, more)
    assert gain is not None
    assert gain >= 0
