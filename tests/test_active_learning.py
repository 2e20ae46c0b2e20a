"""Rounds as values: written once, read back the same, and nobody tested is learned."""

from dataclasses import replace

import pytest
from rounds import ROUND, opening

from model.active_learning import (
    Opening,
    RoundRecord,
    efforts_of,
    gain,
)
from model.advice import Point
from model.errors import StoreError


def test_an_opening_and_a_record_come_back_the_same() -> None:
    assert Opening.from_json(opening().to_json()) == opening()
    assert RoundRecord.from_json(ROUND.to_json()) == ROUND
    untested = replace(ROUND, tested=None)
    assert RoundRecord.from_json(untested.to_json()) == untested


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"format": "brs-round/2"}', opening().to_json()]
)
def test_what_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises(StoreError, match="needed JSON of format brs-round/1"):
        RoundRecord.from_json(text)


def test_the_curve_is_the_test_set_s_where_there_is_one() -> None:
    assert ROUND.point == Point(6, 0.85)
    assert replace(ROUND, tested=None).point == Point(6, 0.8)


def test_a_gain_is_paired_over_what_both_were_tested_on() -> None:
    assert ROUND.tested is not None
    before = replace(ROUND.tested, sessions={"t1": 0.7, "t2": 0.8, "t9": 0.1})
    found = gain(before, ROUND.tested)
    assert found is not None
    # 0.9 - 0.7 and 0.8 - 0.8; t9 was tested once.
    assert found.mean == pytest.approx(0.1)
    assert gain(None, ROUND.tested) is None
    assert gain(replace(before, sessions={"t9": 0.1}), ROUND.tested) is None


def test_efforts_are_those_of_all_rounds() -> None:
    (asked, other), second = ROUND.masks, replace(ROUND, number=2)
    again = replace(asked, session="s9")
    found = efforts_of([ROUND, replace(second, masks=(again,))])
    assert found.keys() == {asked.session, "s9"}
    assert other.effort is None
