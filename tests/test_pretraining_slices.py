from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.preprocess import network_input, robust_maximum
from model.pretraining.bank import BREAST, Bank
from model.pretraining.coil import Coil
from model.pretraining.look import Look, draw_look
from model.pretraining.sampler import Batches, Mix, Stage
from model.pretraining.scanner import (
    Faults,
    _folded,
    _ghosted,
    _padded,
    _ringing,
    _robust_maximum,
    image,
    target,
)
from model.pretraining.view import Frame, View, draw_view
from model.synthetic.appearance import FATTY
from model.synthetic.tissues import TISSUES, Tissue

EVEN = Coil(1e9, 1e9, 1e9, balance=0.0, spot=0.0, spot_mm=1.0, spot_x_mm=0.0)
CLEAN = Faults(
    axis=1,
    blur_px=(0.0, 0.0),
    kept=(1.0, 1.0),
    ghost=0.0,
    ghost_step=0.25,
    fold=0.5,
    noise=0.0,
    pedestal=0.0,
)


def batches(bank: Bank, seed: int = 1, *, grid_px: int = 64) -> Batches:
    return Batches(bank, Mix(), seed, Stage(until=1.0, grid_px=grid_px, batch=2))


def flat_view(rows: int, columns: int, margin_px: tuple[int, int] = (0, 0)) -> View:
    """Return a view of fat alone, 1 mm a raster point."""
    shape = rows + 2 * margin_px[0], columns + 2 * margin_px[1]
    y, x = (np.arange(n, dtype=np.float32) for n in shape)
    fat = np.full(shape, Tissue.FAT, np.uint8)
    frame = Frame(32, 1.0, y, x, margin_px, depth_mm=2.0)
    places = np.broadcast_to(y[:, None], shape), np.broadcast_to(x, shape)
    return View(frame, 0.0, *places, (fat,), (fat,), fat > 0, fat[None], 0)


def test_a_step_is_always_the_same_batch_and_another_step_another(bank: Bank) -> None:
    first, again, other = (batches(bank)[step][0] for step in (4, 4, 5))
    assert first.equal(again)
    assert not first.equal(other)
    assert not first.equal(batches(bank, seed=2)[4][0])


def test_a_batch_has_the_shape_and_range_of_network_input(bank: Bank) -> None:
    slices, masks = batches(bank)[0]
    assert slices.shape == (2, 2, 64, 64)
    assert masks.shape == (2, 1, 64, 64)
    lowest, highest = network_input(np.array([0.0, 1e9]))
    assert lowest <= slices.min()
    assert slices.max() <= highest
    assert set(masks.flatten().tolist()) <= {0.0, 1.0}


def test_cropped_batches_lose_their_posterior_third_alone(bank: Bank) -> None:
    drawn = batches(bank, grid_px=96)[0]
    whole, cropped = (
        replace(batches(bank, grid_px=96), mix=Mix(cropped=share)).crop(0, drawn)
        for share in (0.0, 1.0)
    )
    assert whole is drawn
    # two thirds of 96 rows
    assert cropped[0].shape == (2, 2, 64, 96)
    assert cropped[0].equal(whole[0][:, :, :64])
    assert cropped[1].equal(whole[1][:, :, :64])


def test_masks_lie_in_the_body_of_the_pre_contrast_phase(bank: Bank) -> None:
    seen = 0
    for seed in range(20):
        view = draw_view(bank.patient(0), 64, np.random.default_rng(seed))
        assert not (view.breast & (view.before[0] == Tissue.AIR)).any()
        seen += int(view.breast.any())
    assert seen > 10


def test_without_motion_faults_or_texture_an_image_is_its_table(bank: Bank) -> None:
    view = draw_view(bank.patient(0), 64, np.random.default_rng(3))
    look = draw_look(np.random.default_rng(3), suppressed=0.5, anything=0.25)
    drawn = image(view, look, bank.patient(0), np.random.default_rng(3))
    assert drawn.shape == (2, 64, 64)
    assert np.isfinite(drawn).all()
    assert drawn.min() >= 0


def test_the_target_is_padded_like_the_product_pads() -> None:
    # 40 x 64 raster points are 20 x 32 pixels: 6 rows before, 6 behind
    found = target(flat_view(40, 64))
    assert np.flatnonzero(found.any(axis=1)).tolist() == list(range(6, 26))
    assert found[6:26].all()


def test_padding_keeps_what_does_not_fit_out() -> None:
    values = np.ones((5, 9), np.float32)
    padded = _padded(values, 8)
    assert padded.sum() == 5 * 8
    assert padded[1:6].all()


def test_what_lies_beyond_one_side_appears_at_the_other() -> None:
    view = flat_view(4, 6, margin_px=(0, 2))
    signal = np.tile(np.arange(10, dtype=np.float32), (4, 1))
    folded = _folded(signal, view, CLEAN)
    # the image is columns 2-7; 8 and 9 fold onto 2 and 3, 0 and 1 onto 6 and 7
    assert folded[0].tolist() == [2 + 4.0, 3 + 4.5, 4, 5, 6 + 0.0, 7 + 0.5]


def test_only_what_pulsates_leaves_sharp_ghosts_along_the_phase_encoding() -> None:
    tissue = np.full((4, 8), Tissue.FAT, np.uint8)
    tissue[0, 0] = Tissue.BLOOD
    signal = np.zeros((4, 8), np.float32)
    signal[0, 0] = 1.0
    ghosted = _ghosted(signal, tissue, replace(CLEAN, ghost=0.1))
    # 2 x 0.1 a quarter of 8 columns away on both sides, 0.4 x 0.1 half way round
    assert ghosted[0].tolist() == pytest.approx([1, 0, 0.2, 0, 0.04, 0, 0.2, 0])
    assert not ghosted[1:].any()


def test_a_cut_spectrum_keeps_the_mean_and_rings_beside_an_edge() -> None:
    signal = np.ones((16, 16), np.float32)
    signal[:, 8:] = 3
    rung = _ringing(signal, replace(CLEAN, kept=(1.0, 0.5)))
    assert rung.mean() == pytest.approx(2.0, abs=1e-4)
    assert rung.max() > 3.05
    assert np.array_equal(_ringing(signal, CLEAN), signal)


def test_the_robust_maximum_of_fat_alone_is_the_products() -> None:
    volume = np.full((12, 50, 50), Tissue.FAT | BREAST, np.uint8)
    table = np.zeros(TISSUES, np.float32)
    table[Tissue.FAT] = 0.8
    view = replace(flat_view(8, 8), frame=replace(flat_view(8, 8).frame))
    deep = replace(view.frame, y_mm=np.full(8, 1e3, np.float32))
    found = _robust_maximum(volume, table, EVEN, replace(view, frame=deep))
    assert found == pytest.approx(robust_maximum(np.full((3, 3, 3), 0.8)))


def test_an_even_coil_is_one_and_a_shallow_one_falls_to_an_e_th() -> None:
    y = np.array([-40.0, 60.0], np.float32)
    x = np.zeros(2, np.float32)
    assert EVEN.at(0.0, y, x) == pytest.approx([1, 1])
    near, far = replace(EVEN, depth_mm=100.0).at(0.0, y, x)
    assert far / near == pytest.approx(np.exp(-1))


@pytest.mark.parametrize(("suppressed", "anything"), [(1.0, 0.0), (0.0, 0.0), (0, 1)])
def test_air_is_dark_and_only_suppressed_fat_can_return(
    suppressed: float, anything: float
) -> None:
    for seed in range(20):
        look: Look = draw_look(
            np.random.default_rng(seed), suppressed=suppressed, anything=anything
        )
        assert look.pre[Tissue.AIR] == look.post[Tissue.AIR] == 0
        assert (look.post >= look.pre).all()
        others = np.delete(look.lost_fat, list(FATTY))
        assert not others.any()
        assert look.lost_fat.any() == (suppressed == 1)


def test_slices_are_drawn_near_the_ends_and_beyond_them(
    bank: Bank, tmp_path: Path
) -> None:
    area: list[NDArray[np.float64]] = []
    for seed in range(60):
        view = draw_view(bank.patient(0), 64, np.random.default_rng(seed))
        area.append(view.breast.mean())
    empty = float(np.mean([a == 0 for a in area]))
    assert 0.05 < empty < 0.5
