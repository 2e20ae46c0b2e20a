"""BAG of masks whose nearest point, size, area and volume are known by arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.bag import BagFeatures, TouchRule, measure, overlay_map, touch_rule
from model.errors import EmptyMaskError
from model.preprocess import Placement

SQUARE = Placement(
    grid_px=256,
    mm_per_px=1.25,
    slice_mm=2.0,
    top_px=0,
    left_px=0,
    rows_px=256.0,
    columns_px=256.0,
)
WIDE = Placement(
    grid_px=256,
    mm_per_px=1.5,
    slice_mm=2.0,
    top_px=30,
    left_px=0,
    rows_px=196.0,
    columns_px=256.0,
)


def boxes(
    *spans: tuple[slice, slice, slice], shape: tuple[int, int, int] = (60, 256, 256)
) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for span in spans:
        mask[span] = True
    return mask


RIGHT = (slice(10, 50), slice(40, 140), slice(40, 100))
LEFT = (slice(10, 50), slice(60, 140), slice(156, 216))
STERNUM = (slice(10, 50), slice(110, 140), slice(100, 156))


def bag_of(mask: NDArray[np.bool_], placement: Placement = SQUARE) -> BagFeatures:
    return measure(mask, placement, source="annotation")


def test_two_boxes_measure_as_their_arithmetic() -> None:
    features = bag_of(boxes(RIGHT, LEFT, STERNUM))
    assert features.nearest_point_px == 40
    assert features.nearest_point_mm == pytest.approx(40 * 1.25)
    assert features.nearest_column_px == 40
    assert features.origin_distance_mm == pytest.approx(np.hypot(40, 40) * 1.25)
    assert features.breast_size_px == 100
    assert features.breast_size_mm == pytest.approx(125.0)
    assert features.sternal_size_px == pytest.approx(110 - 40)
    assert features.sternal_size_mm == pytest.approx(70 * 1.25)
    assert features.area_px == 100 * 60 + 80 * 60 + 30 * 56
    assert features.area_mm2 == pytest.approx(features.area_px * 1.25**2)
    voxel_ml = 1.25 * 1.25 * 2.0 / 1000
    assert features.right_ml == pytest.approx(40 * (6000 + 30 * 28) * voxel_ml)
    assert features.left_ml == pytest.approx(40 * (4800 + 30 * 28) * voxel_ml)
    assert features.volume_ml == pytest.approx(features.right_ml + features.left_ml)
    assert (features.source, features.confidence) == ("annotation", 1.0)
    assert (features.grid_px, features.mm_per_px) == (256, 1.25)


def test_overlay_counts_slices() -> None:
    mask = boxes(RIGHT, (slice(0, 20), slice(130, 150), slice(40, 50)))
    overlay = overlay_map(mask)
    assert overlay.shape == (256, 256)
    assert overlay[50, 60] == 40
    assert overlay[135, 45] == 50
    assert overlay[145, 45] == 20
    assert overlay.sum() == mask.sum()


def test_rows_touched_too_narrowly_or_in_too_few_slices_do_not_count() -> None:
    tip = boxes(
        RIGHT,
        (slice(20, 40), slice(30, 40), slice(60, 63)),
        (slice(20, 22), slice(20, 40), slice(50, 80)),
        (slice(10, 50), slice(140, 150), slice(40, 43)),
    )
    features = bag_of(tip)
    assert features.nearest_point_px == 40
    assert features.breast_size_px == 100
    loose = measure(tip, SQUARE, source="annotation", rule=TouchRule(3, 2))
    assert loose.nearest_point_px == 20
    assert loose.breast_size_px == 130
    assert loose.rule == TouchRule(min_px=3, min_slices=2)


@pytest.mark.parametrize(
    ("grid_px", "slices", "expected"),
    [
        (256, 160, TouchRule(4, 3)),
        (256, 50, TouchRule(4, 3)),
        (256, 49, TouchRule(4, 2)),
        (128, 160, TouchRule(2, 3)),
        (512, 160, TouchRule(8, 3)),
        (32, 16, TouchRule(1, 2)),
    ],
)
def test_touch_rule_follows_grid_and_slices(
    grid_px: int, slices: int, expected: TouchRule
) -> None:
    assert touch_rule(grid_px=grid_px, slices=slices) == expected


def test_padding_is_excluded() -> None:
    features = bag_of(boxes(RIGHT, LEFT), WIDE)
    assert features.nearest_point_px == 40 - 30
    assert features.nearest_point_mm == pytest.approx(10 * 1.5)
    in_padding = boxes(RIGHT, LEFT, (slice(None), slice(0, 30), slice(None)))
    assert bag_of(in_padding, WIDE) == features


def test_separate_breasts_have_no_sternal_size() -> None:
    features = bag_of(boxes(RIGHT, LEFT))
    assert features.sternal_size_px is None
    assert features.sternal_size_mm is None
    voxel_ml = 1.25 * 1.25 * 2.0 / 1000
    assert features.right_ml == pytest.approx(40 * 6000 * voxel_ml)


def test_a_lone_breast_past_the_image_centre_stays_on_its_side() -> None:
    lone = boxes((slice(10, 50), slice(40, 140), slice(50, 136)))
    features = bag_of(lone)
    assert features.left_ml == 0.0
    assert features.right_ml == features.volume_ml > 0


def test_sternal_size_ignores_slices_beyond_the_breasts() -> None:
    body = boxes(RIGHT, LEFT, STERNUM, (slice(0, 60), slice(125, 140), slice(40, 216)))
    assert bag_of(body).sternal_size_px == pytest.approx(70)


@pytest.mark.parametrize(
    "mask",
    [boxes(), boxes((slice(0, 2), slice(40, 90), slice(40, 90)))],
    ids=["nothing", "two-slices"],
)
def test_an_empty_mask_is_refused(mask: NDArray[np.bool_]) -> None:
    with pytest.raises(EmptyMaskError, match=r"no row touched; needed 4 px"):
        bag_of(mask)


@settings(max_examples=25, deadline=None)
@given(shift=st.integers(-40, 100))
def test_moving_a_mask_by_rows_moves_only_its_nearest_point(shift: int) -> None:
    mask = boxes(RIGHT, LEFT, STERNUM)
    before, after = bag_of(mask), bag_of(np.roll(mask, shift, axis=1))
    assert after.nearest_point_px == before.nearest_point_px + shift
    assert after.breast_size_px == before.breast_size_px
    assert after.sternal_size_px == before.sternal_size_px
    assert after.volume_ml == before.volume_ml


@settings(max_examples=15, deadline=None)
@given(
    shift=st.integers(-20, 20),
    order=st.permutations(list(range(12))),
    seed=st.integers(0, 99),
)
def test_columns_slices_and_mirror_keep_the_lengths(
    shift: int, order: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    top = rng.integers(20, 60, 2)
    mask = boxes(
        (slice(2, 10), slice(top[0], 110), slice(40, 110)),
        (slice(2, 10), slice(top[1], 110), slice(146, 216)),
        (slice(2, 10), slice(80, 110), slice(110, 146)),
        shape=(12, 256, 256),
    )
    expected = bag_of(mask)
    moved = bag_of(np.roll(mask, shift, axis=2)[order])
    mirrored = bag_of(mask[:, :, ::-1])
    assert expected.nearest_point_px == top.min()
    for other in (moved, mirrored):
        assert other.nearest_point_px == expected.nearest_point_px
        assert other.breast_size_px == expected.breast_size_px
        assert other.sternal_size_px == expected.sternal_size_px
        assert other.area_px == expected.area_px
    assert moved.right_ml == pytest.approx(expected.right_ml)
    assert mirrored.right_ml == pytest.approx(expected.left_ml)
