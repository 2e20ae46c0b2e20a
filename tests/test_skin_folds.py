"""Skin folds are thin dark clefts where breast meets chest; nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest

from model.pretraining.bank import Bank
from model.pretraining.sampler import Batches, Mix, Stage
from model.pretraining.skin_folds import (
    LINED,
    Cleft,
    _crease,
    _taut,
    with_cleft,
    with_fold,
)
from model.pretraining.view import Frame, View, draw_view
from model.synthetic.tissues import Tissue

DOWN = Cleft(0.0, 0.0, 1.0, 0.0, 0.0, length_mm=1e6, half_mm=0.4, skin_mm=2.0)
STAGE = Stage(until=1.0, grid_px=64, batch=4)


def fat_view(mm: float) -> View:
    """Return 20 mm of fat on each side of the origin, the last 5 mm muscle."""
    y = x = np.arange(-20, 20, mm, dtype=np.float32) + mm / 2
    at_y, at_x = np.broadcast_arrays(y[:, None], x[None, :])
    tissue = np.where(at_y < 15, Tissue.FAT, Tissue.MUSCLE).astype("u1")
    frame = Frame(32, mm, y, x, (0, 0), depth_mm=2.0)
    layers = (tissue,)
    volume = tissue[None]
    return View(frame, 0.0, at_y, at_x, layers, layers, tissue > 0, volume, 0)


@pytest.mark.parametrize("mm", [0.5, 1.0, 1.6])
def test_a_cleft_holds_the_same_air_on_every_raster_and_stops_at_muscle(
    mm: float,
) -> None:
    view = fat_view(mm)
    cleft = with_cleft(view, DOWN).cleft
    assert cleft is not None
    width_mm = cleft.sum(axis=1) * mm
    inside = (view.frame.y_mm > -2) & (view.frame.y_mm < 15)
    assert width_mm[inside] == pytest.approx(0.8, rel=1e-3)
    assert not width_mm[~inside].any()
    assert cleft.max() <= 1


def test_a_cleft_tapers_and_ends() -> None:
    view = fat_view(0.5)
    air = with_cleft(view, replace(DOWN, length_mm=10.0)).cleft
    assert air is not None
    width = air.sum(axis=1)[(view.frame.y_mm > 0) & (view.frame.y_mm < 10)]
    assert (np.diff(width) <= 1e-5).all()
    assert not air[view.frame.y_mm > 10].any()


def test_skin_lines_both_sides_in_both_phases() -> None:
    view = fat_view(0.5)
    lined = with_cleft(view, replace(DOWN, length_mm=10.0))
    for tissue in (*lined.before, *lined.after):
        skin = (tissue == Tissue.SKIN).sum(axis=1) * 0.5
        # 2 mm on each side of 0.8 mm
        assert skin[view.frame.y_mm > 0][0] == pytest.approx(4.8, abs=0.51)
        assert not skin[view.frame.y_mm < 0].any()
        assert not skin[view.frame.y_mm > 12].any()


def test_a_crease_is_where_a_taut_string_stands_off_the_most() -> None:
    depth = np.array([0, 1, 2, 9, 4, 5, 9], np.float32)
    assert _taut(depth).tolist() == [0, 1, 2, 3, 4, 5, 9]
    x = np.arange(40, 80, 2, dtype=np.float32)
    # a straight front has no crease; pushed in 10 mm at one place it has one there
    flank = np.stack([x - 40, x], axis=1)
    assert _crease(flank) is None
    flank[7] += (10, -10)
    found = _crease(flank)
    assert found is not None
    assert found.tolist() == flank[7].tolist()


def test_on_a_patient_folds_are_short_and_in_front_of_the_muscle(bank: Bank) -> None:
    seen = 0
    for seed in range(24):
        view = draw_view(bank.patient(0), 64, np.random.default_rng(seed))
        found = with_fold(view, 1.0, np.random.default_rng(seed))
        if found.cleft is None:
            continue
        seen += 1
        # at most 3 mm wide and 25 mm long, bends and stretches aside
        assert found.cleft.sum() * view.frame.mm**2 < 1.4 * 3 * 25
        changed = found.before[0] != view.before[0]
        assert set(np.unique(view.before[0][changed])) <= set(LINED)
        assert found.breast is view.breast
    assert seen > 6


def test_folds_change_the_image_alone_and_off_nothing(bank: Bank) -> None:
    plain, off, on = (
        [Batches(bank, mix, 1, STAGE)[step] for step in range(3)]
        for mix in (Mix(), Mix(skin_folds=0.0), Mix(skin_folds=1.0))
    )
    assert all(a[0].equal(b[0]) for a, b in zip(plain, off, strict=True))
    assert all(a[1].equal(b[1]) for a, b in zip(plain, on, strict=True))
    assert not all(a[0].equal(b[0]) for a, b in zip(plain, on, strict=True))
