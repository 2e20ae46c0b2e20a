"""The leakage guard: a patient on both sides, by key or by images, ends it loudly."""

import pytest
from cases import case_info

from model.errors import LeakageError
from model.leakage import Member, check_apart, check_start

LEARNED = [Member("a", "p1", "i1"), Member("b", "p2", "i2")]


def test_two_sessions_of_one_patient_may_be_learned_together() -> None:
    check_apart([*LEARNED, Member("c", "p1", "i3")], [Member("t", "p9", "i9")])


def test_a_patient_on_both_sides_is_named() -> None:
    with pytest.raises(LeakageError, match="one patient on both sides: a with t"):
        check_apart(LEARNED, [Member("t", "p1", "i9")])


def test_a_copy_under_another_name_is_found_by_its_images() -> None:
    with pytest.raises(LeakageError, match="equal images of two patients: b and t"):
        check_apart(LEARNED, [Member("t", "p9", "i2")])


def test_a_copy_within_the_training_would_lie_on_both_sides_of_a_fold() -> None:
    with pytest.raises(LeakageError, match="equal images of two patients: a and c"):
        check_apart([*LEARNED, Member("c", "p3", "i1")], [])


def test_weights_that_learned_from_a_tested_case_are_told() -> None:
    tested = [case_info("seen"), case_info("new")]
    check_start({"source-other"}, tested)
    with pytest.raises(
        LeakageError, match="learned from tested patients: seen; needed"
    ):
        check_start({"source-other", "source-seen"}, tested)
