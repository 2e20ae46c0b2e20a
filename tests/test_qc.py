from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model.shape import Shape
from plugin.qc import (
    AREA_JUMP,
    EDGE_MM2,
    EMPTY_SIDE_ML,
    END_SHARE,
    FLIP_HOLD,
    FLIP_REVIEW,
    FRAGMENT_SHARE,
    Evidence,
    Verdict,
    assess,
)

SPACING_MM = (4.0, 2.0, 2.0)
SHAPE = (40, 60, 120)
RADIUS_MM = 50.0
Mask = NDArray[np.bool_]


def ball(centre: tuple[float, float, float], radius_mm: float = RADIUS_MM) -> Mask:
    """Return a ball, its centre in voxels."""
    offsets_mm = np.moveaxis(np.indices(SHAPE), 0, -1) - centre
    inside: Mask = np.linalg.norm(offsets_mm * SPACING_MM, axis=-1) <= radius_mm
    return inside


RIGHT, LEFT = ball((20, 30, 30)), ball((20, 30, 90))
NOTHING = np.zeros(SHAPE, bool)
VOXEL_ML = 4 * 2 * 2 / 1000


def judge(
    right: Mask = RIGHT, left: Mask = LEFT, evidence: Evidence | None = None
) -> Verdict:
    return assess(right, left, spacing_mm=SPACING_MM, evidence=evidence)


def test_two_round_breasts_are_published_without_a_reason() -> None:
    assert judge() == Verdict("publish", ())


def test_an_empty_mask_is_held() -> None:
    verdict = judge(NOTHING, NOTHING)
    assert verdict.verdict == "hold"
    assert verdict.reasons[0] == "the mask is empty"


def test_an_empty_side_is_reviewed() -> None:
    no_right, no_left = judge(right=NOTHING), judge(left=NOTHING)
    assert no_right == Verdict("review", ("right side empty (0.0 ml)",))
    assert no_left == Verdict("review", ("left side empty (0.0 ml)",))


SOUND = Shape(refusal="", confidence=1.0, flags=(), overlap=0.8)
REFUSED = Shape("a body 150 mm wide", confidence=0.0, flags=(), overlap=None)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (REFUSED, "no breasts of a prone patient by the body's shape: a body 150 mm"),
        (replace(SOUND, overlap=0.39), "Dice 0.39 with the region of the body's bound"),
        (
            replace(SOUND, confidence=0.49, flags=("torn",)),
            "body's shape in doubt: torn",
        ),
    ],
)
def test_a_body_of_another_shape_is_reviewed(shape: Shape, reason: str) -> None:
    assert judge(evidence=Evidence(shape=SOUND, flip_dice=0.95)).verdict == "publish"
    verdict = judge(evidence=Evidence(shape=shape, flip_dice=0.95))
    assert verdict.verdict == "review"
    assert verdict.reasons[0].startswith(reason)


def test_another_shape_and_a_doubting_mirror_image_together_hold_a_mask() -> None:
    doubted = FLIP_REVIEW - 0.01
    assert judge(evidence=Evidence(flip_dice=doubted)).verdict == "review"
    held = judge(evidence=Evidence(shape=REFUSED, flip_dice=doubted))
    assert held.verdict == "hold"
    assert len(held.reasons) == 2


def test_a_pair_of_equal_images_is_reviewed() -> None:
    verdict = judge(evidence=Evidence(same_images=True))
    assert verdict == Verdict(
        "review", ("the pre- and post-contrast images are the same",)
    )


def test_a_mask_without_signal_is_reviewed() -> None:
    assert judge(evidence=Evidence(silent_share=0.09)).verdict == "publish"
    verdict = judge(evidence=Evidence(silent_share=0.4))
    reason = "no signal in 40% of the mask before contrast: a subtraction?"
    assert verdict == Verdict("review", (reason,))


def test_slices_that_repeat_each_other_are_reviewed() -> None:
    assert judge(evidence=Evidence(repeated_share=0.02)).verdict == "publish"
    verdict = judge(evidence=Evidence(repeated_share=0.37))
    reason = (
        "37% of the mask's voxels repeat in the next slice: "
        "a projection over slices (MIP)?"
    )
    assert verdict == Verdict("review", (reason,))


def test_a_few_voxels_are_no_breast() -> None:
    speck = NOTHING.copy()
    speck[20, 30, 20:30] = True
    (reason,) = (r for r in judge(speck).reasons if "empty" in r)
    assert reason == f"right side empty ({10 * VOXEL_ML:.1f} ml)"
    assert 10 * VOXEL_ML < EMPTY_SIDE_ML


def test_a_stray_region_is_a_fragment() -> None:
    stray = RIGHT.copy()
    stray[15:26, 50:59, 50:58] = True
    share = 1 - RIGHT.sum() / stray.sum()
    assert share > FRAGMENT_SHARE
    reason = f"right side in 2 pieces, {share:.0%} outside the largest"
    assert judge(right=stray) == Verdict("review", (reason,))


def test_a_single_stray_voxel_is_not_worth_a_review() -> None:
    stray = RIGHT.copy()
    stray[20, 58, 58] = True
    assert judge(right=stray).verdict == "publish"


def test_a_missing_slice_is_a_jump_of_the_area() -> None:
    gap = LEFT.copy()
    gap[20] = False
    (reason,) = (r for r in judge(left=gap).reasons if "changes" in r)
    assert reason == "left side changes by 100% between slices 20 and 21"


@pytest.mark.parametrize(("slice_mm", "verdict"), [(4.0, "review"), (8.0, "publish")])
def test_thick_slices_may_change_more(slice_mm: float, verdict: str) -> None:
    """Squares of 50, 72 and 100 % of the largest area, in steps above ``AREA_JUMP``."""
    mask = NOTHING.copy()
    for index, width in enumerate((24, 60, 100, 60, 24), start=10):
        mask[index, 10:40, 10 : 10 + width] = True
    assert AREA_JUMP < (100 - 60) / 100 < AREA_JUMP * 8 / 4
    found = assess(mask, mask, spacing_mm=(slice_mm, 2.0, 2.0))
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("centre", "edge"),
    [
        ((20, 20, 30), "anterior edge"),
        ((20, 40, 30), "posterior edge"),
        ((20, 30, 20), "patient's right edge"),
        ((20, 30, 98), "patient's left edge"),
    ],
)
def test_a_mask_that_meets_an_edge_is_cut_off(
    centre: tuple[float, float, float], edge: str
) -> None:
    (reason,) = judge(right=ball(centre)).reasons
    assert edge in reason


@pytest.mark.parametrize(("centre", "end"), [(6, "feet"), (33, "head")])
def test_a_breast_that_goes_on_beyond_the_slices_is_reviewed(
    centre: int, end: str
) -> None:
    mask = ball((centre, 30, 30))
    index = 0 if end == "feet" else -1
    areas = mask.sum(axis=(1, 2))
    assert areas[index] / areas.max() > END_SHARE
    reason = f"right side goes on beyond the last slice at the {end}"
    assert judge(right=mask) == Verdict("review", (reason,))


def test_a_touch_below_the_limit_is_no_reason() -> None:
    mask = RIGHT.copy()
    count = int(EDGE_MM2 / (4 * 2)) - 1
    mask[20, 0:30, 30] = True  # a strand of one column to the anterior edge
    assert mask[:, 0].sum() < count
    assert judge(right=mask).verdict == "publish"


@pytest.mark.parametrize(
    ("dice", "verdict"),
    [
        (None, "publish"),
        (FLIP_REVIEW, "publish"),
        (FLIP_REVIEW - 0.01, "review"),
        (FLIP_HOLD, "review"),
        (FLIP_HOLD - 0.01, "hold"),
    ],
)
def test_a_mirror_image_that_disagrees_is_a_reason(
    dice: float | None, verdict: str
) -> None:
    found = judge(evidence=Evidence(flip_dice=dice))
    assert found.verdict == verdict
    assert len(found.reasons) == (verdict != "publish")


@pytest.mark.parametrize(
    ("confidence", "verdict"), [(None, "publish"), (0.5, "publish"), (0.49, "review")]
)
def test_an_unsure_choice_of_series_is_a_reason(
    confidence: float | None, verdict: str
) -> None:
    assert judge(evidence=Evidence(pair_confidence=confidence)).verdict == verdict


def test_every_flag_of_the_series_is_a_reason() -> None:
    flags = ("unilateral", "order-by-series-number")
    assert judge(evidence=Evidence(pair_flags=flags)) == Verdict(
        "review", tuple(f"image series flagged: {flag}" for flag in flags)
    )


VOLUME_ML = (RIGHT.sum() + LEFT.sum()) * VOXEL_ML


@pytest.mark.parametrize(
    ("name", "limits", "verdict"),
    [
        ("volume_ml", (VOLUME_ML - 1, VOLUME_ML + 1), "publish"),
        ("volume_ml", (VOLUME_ML + 1, VOLUME_ML + 2), "review"),
        ("left_right_ratio", (0.5, 2.0), "publish"),
        ("left_right_ratio", (1.1, 2.0), "review"),
        ("nearest_point_mm", (10.0, 40.0), "review"),
        ("breast_size_mm", (10.0, 40.0), "publish"),
    ],
)
def test_a_value_outside_of_the_training_cases_is_a_reason(
    name: str, limits: tuple[float, float], verdict: str
) -> None:
    evidence = Evidence(
        features={"nearest_point_mm": 50.0}, training_range={name: limits}
    )
    found = judge(evidence=evidence)
    assert found.verdict == verdict
    assert all(reason.startswith(name) for reason in found.reasons)


def test_a_ratio_with_an_empty_side_is_not_judged() -> None:
    evidence = Evidence(training_range={"left_right_ratio": (0.9, 1.1)})
    assert judge(left=NOTHING, evidence=evidence).reasons == (
        "left side empty (0.0 ml)",
    )


def test_one_slice_and_one_voxel_are_measured_without_failing() -> None:
    one = np.ones((1, 1, 1), bool)
    assert assess(one, ~one, spacing_mm=(1.0, 1.0, 1.0)).verdict == "review"
