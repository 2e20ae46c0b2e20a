"""Targets vary about the label rule by known distances, and never at the skin."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.pretraining.annotator import Annotation, annotated
from model.pretraining.bank import BREAST, SHAPE, Bank
from model.pretraining.sampler import Batches, Mix, Stage
from model.pretraining.view import Frame, View, draw_view, indices
from model.synthetic.tissues import Tissue

ROWS, FIRST, BORDER = SHAPE[1], 100, 120
STEP_MM = 0.5
DEPTH_MM = (BORDER - FIRST) * 1.5
Slab = NDArray[np.uint8]


def slab(behind: Tissue, *, first: int = FIRST, breast: bool = True) -> Slab:
    """Return a slice of air, 1.5 mm of skin, fat to the border, and what is behind."""
    plane = np.full(SHAPE[1:], behind, np.uint8)
    plane[:first] = Tissue.AIR
    plane[first:BORDER] = Tissue.FAT
    plane[first] = Tissue.SKIN
    plane[first:BORDER] |= BREAST * breast
    return plane


def view_of(*planes: Slab, number: int = 0) -> View:
    """Return a slice seen every ``STEP_MM`` within 12 mm of the mid-line."""
    volume = np.stack(planes)
    y = np.arange(-40, 40, STEP_MM, dtype=np.float32) + STEP_MM / 2
    x = np.arange(-12, 12, STEP_MM, dtype=np.float32) + 0.1
    frame = Frame(64, STEP_MM, y, x, (0, 0), depth_mm=2.0)
    at_y, at_x = np.broadcast_arrays(y[:, None], x[None, :])
    seen = volume[number][indices(at_y, at_x)]
    tissue = (seen & ~BREAST,)
    breast = seen >= BREAST
    return View(frame, 0.0, at_y, at_x, tissue, tissue, breast, volume, number)


def depths_mm(
    view: View, annotation: Annotation, draws: int = 200
) -> NDArray[np.float64]:
    """Return the depth of the mask, draw by column, its front the skin's always."""
    masks = np.stack(
        [
            annotated(view, annotation, np.random.default_rng(seed)).breast
            for seed in range(draws)
        ]
    )
    front = view.breast.argmax(axis=0)
    assert (masks.argmax(axis=1) == front).all()
    depths: NDArray[np.float64] = masks.sum(axis=1) * STEP_MM
    return depths


def test_the_border_at_the_muscle_moves_both_ways_by_no_more_than_stated() -> None:
    moved = depths_mm(view_of(slab(Tissue.MUSCLE)), Annotation(muscle_mm=1.5))
    moved -= DEPTH_MM
    assert np.abs(moved).max() == pytest.approx(1.5, abs=STEP_MM)
    assert moved.mean() == pytest.approx(0, abs=0.15)
    assert moved.std() > 0.5
    # smooth: neighbouring columns are never further apart than one point
    assert np.abs(np.diff(moved, axis=1)).max() <= STEP_MM


def test_the_cut_moves_on_each_side_for_itself_through_fat() -> None:
    moved = depths_mm(view_of(slab(Tissue.FAT)), Annotation(cut_mm=4.0)) - DEPTH_MM
    assert np.abs(moved).max() == pytest.approx(4, abs=STEP_MM)
    assert moved.mean() == pytest.approx(0, abs=0.4)
    right, left = moved[:, 0], moved[:, -1]
    assert abs(np.corrcoef(right, left)[0, 1]) < 0.2
    assert (moved[:, :20] == right[:, None]).all()


def test_the_cut_never_moves_into_muscle() -> None:
    moved = depths_mm(view_of(slab(Tissue.MUSCLE)), Annotation(cut_mm=4.0)) - DEPTH_MM
    assert moved.max() == 0


def test_the_band_ends_a_slice_sooner_or_later_without_a_rim_of_skin() -> None:
    last, beyond = slab(Tissue.MUSCLE), slab(Tissue.FAT, first=FIRST + 1, breast=False)
    for number in (0, 1):
        view = view_of(last, beyond, number=number)
        area = [
            annotated(view, Annotation(end_mm=3.5), np.random.default_rng(n)).breast
            for n in range(200)
        ]
        whole = [bool(mask.any()) for mask in area]
        # a slice up in a quarter of the draws, one down in a quarter
        assert np.mean(whole) == pytest.approx((0.75, 0.25)[number], abs=0.08)
        depth = DEPTH_MM - 1.5 * number
        assert {m.sum() / m.shape[1] * STEP_MM for m in area} == {0, depth}


def test_without_skin_the_mask_is_what_lies_under_it() -> None:
    view = view_of(slab(Tissue.MUSCLE))
    bare = annotated(view, Annotation(include_skin=False), np.random.default_rng(0))
    assert (view.breast & ~bare.breast == (view.before[0] == Tissue.SKIN)).all()
    assert (bare.breast <= view.breast).all()


def test_on_a_patient_the_mask_keeps_out_of_air_and_at_the_skin(bank: Bank) -> None:
    wide = Annotation(muscle_mm=1.5, cut_mm=4.0, end_mm=5.0)
    changed = 0
    for seed in range(20):
        view = draw_view(bank.patient(0), 64, np.random.default_rng(seed))
        found = annotated(view, wide, np.random.default_rng(seed)).breast
        assert not (found & (view.before[0] == Tissue.AIR)).any()
        changed += int((found ^ view.breast).any())
    assert changed > 10


def test_off_is_the_label_rule_and_on_leaves_the_images(bank: Bank) -> None:
    stage = Stage(until=1.0, grid_px=64, batch=4)
    plain = Batches(bank, Mix(), 1, stage)
    off = Batches(bank, Mix(), 1, stage, Annotation())
    on = Batches(bank, Mix(), 1, stage, Annotation(muscle_mm=1.5, cut_mm=4.0))
    assert off[0][1].equal(plain[0][1])
    assert on[0][0].equal(plain[0][0])
    assert not on[0][1].equal(plain[0][1])
    assert on[0][1].equal(on[0][1])
