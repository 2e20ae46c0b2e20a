"""Minutes that drafts spare: path lengths counted by hand, and a site's own pace."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.effort import ASSUMED, SITE, Effort, effort, minutes, pace
from model.errors import GeometryError

SPACING_MM = (3.0, 2.0, 2.0)


def box(top: int = 4, bottom: int = 14, *, slices: int = 2) -> np.ndarray:
    mask = np.zeros((5, 20, 20), bool)
    mask[1 : 1 + slices, top:bottom, 5:15] = True
    return mask


def test_without_a_draft_every_contour_is_drawn() -> None:
    found = effort(box(), None, spacing_mm=SPACING_MM)
    # Two slices of a 10 x 10 square: 4 x 9 = 36 contour pixels of 2 mm each.
    assert (found.slices, found.drawn_mm) == (2, 2 * 36 * 2.0)
    assert found.changed_mm is None
    assert found.needed_mm == found.drawn_mm


def test_an_equal_draft_needs_nothing() -> None:
    found = effort(box(), box(), spacing_mm=SPACING_MM)
    assert (found.changed_mm, found.draft_dice, found.needed_mm) == (0.0, 1.0, 0.0)


def test_a_moved_edge_is_drawn_anew() -> None:
    found = effort(box(), box(bottom=12), spacing_mm=SPACING_MM)
    # The lower edge lies 2 px = 4 mm deeper: its 10 pixels, and one more on either
    # side, are farther than 1.5 mm from the draft's contour. The draft has too much
    # only the 8 pixels inside of its own lower edge.
    assert found.changed_mm == 2 * (10 + 2) * 2.0
    # Dice = 2 x 80 / (100 + 80).
    assert found.draft_dice == pytest.approx(160 / 180)


def test_less_than_the_tolerance_is_left_as_it_is() -> None:
    fine = (3.0, 0.7, 0.7)
    assert effort(box(), box(bottom=13), spacing_mm=fine).changed_mm == 0.0


def test_a_slice_too_many_is_wiped_out_and_one_too_few_is_drawn() -> None:
    more = effort(box(slices=2), box(slices=3), spacing_mm=SPACING_MM)
    assert more.changed_mm == 36 * 2.0
    fewer = effort(box(slices=3), box(slices=2), spacing_mm=SPACING_MM)
    assert fewer.changed_mm == 36 * 2.0


def test_a_draft_worse_than_none_spares_nothing() -> None:
    wrong = box(top=16, bottom=20)
    wrong[:, :, :] = True
    found = effort(box(slices=1), wrong, spacing_mm=SPACING_MM)
    assert found.changed_mm is not None
    assert found.changed_mm > found.drawn_mm
    assert found.needed_mm == found.drawn_mm


def test_masks_of_two_grids_are_refused() -> None:
    with pytest.raises(GeometryError, match="draft and settled mask"):
        effort(box(), box()[:3], spacing_mm=SPACING_MM)


@given(st.integers(0, 2**32 - 1))
def test_the_path_lies_between_nothing_and_all_of_both(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [rng.random((2, 12, 12)) < 0.5 for _ in range(2)]
    found, other = (
        effort(masks[a], masks[b], spacing_mm=SPACING_MM) for a, b in ((0, 1), (1, 0))
    )
    assert found.changed_mm is not None
    assert 0 <= found.changed_mm <= found.drawn_mm + other.drawn_mm
    assert found.changed_mm == other.changed_mm, "mending either way is as long"


def test_few_timings_leave_the_assumed_pace() -> None:
    efforts = {"a": Effort(10, 500.0), "b": Effort(30, 1500.0, 500.0, 0.9)}
    found = pace(efforts, {"a": 9.0}, minutes_per_slice=0.5)
    # 40 slices of half a minute over 2000 mm.
    assert (found.source, found.timed) == (ASSUMED, 1)
    assert found.per_mm == pytest.approx(20 / 2000)
    total = minutes(list(efforts.values()), found)
    assert total.from_scratch == pytest.approx(20)
    assert total.saved == pytest.approx(10), "1000 of 2000 mm were not drawn"


def test_a_site_s_timings_give_its_pace() -> None:
    # Four minutes a session and one minute for each 100 mm, drawn or mended.
    efforts = {
        "a": Effort(10, 100.0),
        "b": Effort(10, 900.0),
        "c": Effort(10, 900.0, 300.0, 0.9),
        "d": Effort(10, 800.0, 0.0, 1.0),
        "e": Effort(10, 500.0, 400.0, 0.8),
    }
    timings = {"a": 5.0, "b": 13.0, "c": 7.0, "d": 4.0, "e": 8.0, "unknown": 99.0}
    found = pace(efforts, timings, minutes_per_slice=0.5)
    assert (found.source, found.timed) == (SITE, 5)
    assert (found.per_session, found.per_mm) == pytest.approx((4.0, 0.01))
    # c, d and e spared 600 + 800 + 100 mm.
    assert minutes(list(efforts.values()), found).saved == pytest.approx(15.0)


def test_a_pace_is_never_below_zero() -> None:
    efforts = {name: Effort(5, 100.0 * at) for at, name in enumerate("abcde", 1)}
    faster = {name: 10.0 - at for at, name in enumerate("abcde")}
    found = pace(efforts, faster, minutes_per_slice=0.5)
    assert found.per_mm == 0
    assert found.per_session == pytest.approx(8.0), "the mean of 10, 9, 8, 7, 6"
