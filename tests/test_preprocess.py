"""The canonical stack: where pixels land, what scaling keeps, and the way back."""

import numpy as np
import pytest
from highdicom import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.errors import GeometryError
from model.preprocess import (
    mask_to_stack,
    network_input,
    place,
    pre_to_stack,
    robust_maximum,
    to_source,
    to_stack,
)


def volume(
    array: NDArray[np.generic],
    *,
    spacing: tuple[float, float, float] = (2.0, 1.0, 1.0),
    orientation: str = "HPL",
) -> Volume:
    return Volume.from_components(
        np.asarray(array),
        spacing=spacing,
        position=(10.0, -20.0, 30.0),
        patient_orientation=orientation,
        coordinate_system="PATIENT",
    )


def body(shape: tuple[int, int, int] = (3, 40, 60)) -> NDArray[np.float32]:
    array = np.zeros(shape, np.float32)
    array[:, 10:35, 8:52] = 100.0
    return array


def test_stack_scales_isotropically_and_pads_the_short_side() -> None:
    stack = to_stack(volume(body()), volume(2 * body()), grid_px=30)
    placement = stack.placement
    assert placement.mm_per_px == pytest.approx(60 / 30)
    assert (placement.top_px, placement.left_px) == (5, 0)
    assert stack.voxels.shape == (3, 2, 30, 30)
    assert not stack.voxels[:, :, :5].any()
    assert stack.voxels[1, 0, 15, 15] == pytest.approx(1.0)
    assert stack.voxels[1, 1, 15, 15] == pytest.approx(2.0)


def test_the_pre_series_alone_is_the_same_channel_of_the_stack() -> None:
    rng = np.random.default_rng(0)
    whole = volume(rng.integers(0, 900, (3, 40, 60)).astype(np.uint16))
    stack = to_stack(whole, volume(2 * body()), grid_px=30)
    pre, placement = pre_to_stack(whole, grid_px=30)
    assert placement == stack.placement
    assert np.array_equal(pre, stack.voxels[:, 0])


def test_non_square_pixels_are_not_stretched() -> None:
    stack = to_stack(
        volume(body(), spacing=(2.0, 2.0, 1.0)),
        volume(body(), spacing=(2.0, 2.0, 1.0)),
        grid_px=40,
    )
    rows = np.flatnonzero(stack.voxels[0, 0].max(axis=1) > 0.5)
    columns = np.flatnonzero(stack.voxels[0, 0].max(axis=0) > 0.5)
    assert len(rows) == pytest.approx(25 * 2.0 / 2.0, abs=1)
    assert len(columns) == pytest.approx(44 * 1.0 / 2.0, abs=1)


def test_area_averaging_keeps_the_mean() -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(50, 100, (2, 64, 64)).astype(np.float32)
    stack = to_stack(volume(array), volume(array), grid_px=16)
    restored = stack.voxels[:, 0].mean() * robust_maximum(array)
    assert restored == pytest.approx(array.mean(), rel=0.01)


@settings(max_examples=30, deadline=None)
@given(
    orientation=st.sampled_from(["HPL", "FPL", "HAL", "HPR", "FAR"]),
    rows=st.integers(24, 70),
    columns=st.integers(24, 70),
    row_mm=st.floats(0.5, 2.0),
)
def test_a_smooth_field_returns_to_its_source_voxels(
    orientation: str, rows: int, columns: int, row_mm: float
) -> None:
    r, c = np.mgrid[:rows, :columns]
    plane = 100 + 50 * np.sin(r * row_mm / 15) + 30 * np.cos(c / 15)
    source = volume(
        np.stack([plane, 2 * plane]).astype(np.float32),
        spacing=(3.0, row_mm, 1.0),
        orientation=orientation,
    )
    stack = to_stack(source, source, grid_px=128)
    back = to_source(stack.voxels[:, 0], stack)
    scale = robust_maximum(source.array)
    assert np.allclose(back.affine, source.affine)
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert np.allclose(back.array[inner] * scale, source.array[inner], rtol=0.05)
    mask = to_source(stack.voxels[:, 0], stack, threshold=0.5)
    assert mask.array.dtype == np.uint8
    assert np.array_equal(mask.array, back.array >= 0.5)


@pytest.mark.parametrize("orientation", ["HPL", "FAR", "FPL"])
def test_masks_follow_the_image_through_reversed_acquisitions(orientation: str) -> None:
    array = np.zeros((3, 40, 60), np.float32)
    array[2, 5:15, 40:55] = 1
    mask = volume(array, orientation=orientation)
    stack = to_stack(mask, mask, grid_px=60)
    assert np.array_equal(mask_to_stack(mask, stack), stack.voxels[:, 0] >= 0.5)


def test_a_pair_on_two_grids_is_refused() -> None:
    with pytest.raises(GeometryError, match="post-contrast series: found a grid that"):
        to_stack(volume(body()), volume(body(), spacing=(2.5, 1.0, 1.0)))
    with pytest.raises(GeometryError, match=r"\(4, 40, 60\) voxels beside"):
        to_stack(volume(body()), volume(body((4, 40, 60))))


def test_a_blank_series_is_refused() -> None:
    blank = volume(np.zeros((3, 8, 8)))
    with pytest.raises(GeometryError, match="no voxel above zero"):
        to_stack(blank, blank)


def test_robust_maximum_ignores_air_and_hot_voxels() -> None:
    array = body((10, 40, 60))
    array[0, 20, 20] = 1e6
    assert robust_maximum(array) == pytest.approx(100.0)


def test_network_input_is_monotonic_and_bounded() -> None:
    values = network_input(np.array([-1.0, 0.0, 1.0, 2.25, 50.0], np.float32))
    assert values[0] == values[1] < values[2] < values[3] == values[4]
    assert values[2] == pytest.approx((1 - 0.5) / 0.35)


def test_place_centres_a_tall_image() -> None:
    placement = place(volume(np.zeros((2, 80, 40))).get_geometry(), 100)
    assert (placement.top_px, placement.left_px) == (0, 25)
    assert placement.columns_px == pytest.approx(50)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("seed", range(4))
def test_integers_are_counted_to_the_percentile_of_their_sorted_values(
    dtype: type[np.integer], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    lowest = max(np.iinfo(dtype).min, -300)
    pre = rng.integers(lowest, 120, (3, 17, 11 + seed)).astype(dtype)
    pre[0, :seed] = 127
    body = pre[pre > 0.1 * np.percentile(pre, 99.5)]
    assert robust_maximum(pre) == pytest.approx(np.percentile(body, 99.0), rel=1e-12)
    assert robust_maximum(pre.astype(np.float32)) == pytest.approx(robust_maximum(pre))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_volume_without_signal_has_no_maximum(dtype: type[np.generic]) -> None:
    with pytest.raises(GeometryError, match="no voxel above zero"):
        robust_maximum(np.zeros((2, 3, 4), dtype))
