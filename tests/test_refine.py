"""What is done to probabilities after the network: each step by known answers."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor, nn

from model.engine import Engine
from model.inference import predict
from model.preprocess import Placement, SliceStack
from model.refine import (
    Look,
    Refinement,
    mirror_image,
    predict_stack,
    refine,
    smooth_along_body,
    without_holes,
    without_islands,
)

Probability = NDArray[np.float32]
CPU = Engine("cpu", "fp32")
EVERY_STEP = Refinement(smooth_mm=4.0, islands=True, holes=True)
volumes = arrays.array_shapes(min_dims=3, max_dims=3, max_side=6).flatmap(
    lambda shape: arrays.arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
)


class SeesRight(nn.Module):
    """Calls breast what lies in the first columns of the image, and is bright."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, slices: Tensor) -> Tensor:
        seen = torch.arange(slices.shape[-1]) < self.columns
        return torch.where(seen, 20.0, -20.0) * (slices[:, :1] > 0) - 1e-3


def sees(columns: int) -> Look:
    return partial(predict, network=SeesRight(columns), engine=CPU)


def stack(voxels: Probability) -> SliceStack:
    size = voxels.shape[-1]
    placement = Placement(size, 2.0, 3.0, 0, 0, size, size)
    return SliceStack(voxels, placement, source=None)  # type: ignore[arg-type]


def bright(slices: int = 6, size: int = 8) -> Probability:
    return np.ones((slices, 2, size, size), np.float32)


@settings(max_examples=100, deadline=None)
@given(probability=volumes)
def test_no_step_leaves_zero_to_one_or_changes_what_it_was_given(
    probability: Probability,
) -> None:
    before = probability.copy()
    refined = refine(probability, 3.0, EVERY_STEP)
    assert refined.dtype == np.float32
    assert refined.min() >= 0
    assert refined.max() <= 1 + 1e-6
    np.testing.assert_array_equal(probability, before)
    np.testing.assert_array_equal(refine(probability, 3.0, Refinement()), before)


def test_smoothing_is_a_gaussian_in_millimetres() -> None:
    one = np.zeros((9, 1, 1), np.float32)
    one[4] = 1
    # 6 mm over slices of 3 mm: two slices. exp(-1/8) is the ratio to a neighbour.
    smoothed = smooth_along_body(one, 3.0, 6.0)[:, 0, 0]
    assert smoothed[5] / smoothed[4] == pytest.approx(np.exp(-1 / 8), rel=1e-3)
    same = smooth_along_body(one, 1.5, 3.0)[:, 0, 0]
    np.testing.assert_allclose(smoothed, same)


def test_a_missing_slice_is_mended_and_a_lone_one_removed() -> None:
    probability = np.ones((9, 2, 2), np.float32)
    probability[4] = 0
    assert (smooth_along_body(probability, 3.0, 4.0) > 0.5).all()
    assert (smooth_along_body(1 - probability, 3.0, 4.0) < 0.5).all()


def test_small_pieces_go_and_a_second_breast_stays() -> None:
    probability = np.zeros((4, 10, 30), np.float32)
    probability[:, 2:8, 2:12] = 0.9  # 240 voxels
    probability[:, 2:8, 20:22] = 0.8  # 48, a fifth
    probability[0, 9, 29] = 0.7  # 1
    probability[2, 0, 0] = 0.4  # no mask at all
    cleaned = without_islands(probability)
    assert cleaned[0, 9, 29] == 0
    cleaned[0, 9, 29] = np.float32(0.7)
    np.testing.assert_array_equal(cleaned, probability)


def test_what_a_slice_encloses_is_filled() -> None:
    probability = np.zeros((2, 7, 7), np.float32)
    probability[0, 1:6, 1:6] = 0.9
    probability[0, 3, 3] = 0.1
    probability[1, 1:6, 1:5] = 0.9  # a bay, open to the side: no hole
    probability[1, 3, 4] = 0.1
    filled = without_holes(probability)
    assert filled[0, 3, 3] == 1
    np.testing.assert_array_equal(filled[1], probability[1])


def test_an_empty_mask_stays_empty() -> None:
    nothing = np.zeros((3, 4, 4), np.float32)
    np.testing.assert_array_equal(refine(nothing, 3.0, EVERY_STEP), nothing)


def test_the_mirror_image_is_turned_back() -> None:
    seen = mirror_image(sees(3), bright()) >= 0.5
    assert not seen[..., :5].any()
    assert seen[..., 5:].all()


def test_a_network_that_contradicts_its_mirror_image_is_measured() -> None:
    # 5 of 8 columns, and 5 from the other side: 2 in common, Dice 2 * 2 / 10.
    found = predict_stack(stack(bright()), sees(5), Refinement())
    assert found.flip_dice == pytest.approx(0.4)
    symmetric = predict_stack(stack(bright()), sees(8), Refinement())
    assert symmetric.flip_dice == 1


def test_only_every_fourth_slice_is_mirrored_unless_all_are_averaged() -> None:
    voxels = bright(slices=8)
    voxels[1:4] = voxels[5:] = -1  # slices 0 and 4 alone show something
    found = predict_stack(stack(voxels), sees(5), Refinement())
    assert found.flip_dice == pytest.approx(0.4)
    skipped = predict_stack(stack(voxels), sees(5), Refinement(), flip_step=0)
    assert skipped.flip_dice is None


def test_averaging_keeps_what_both_see() -> None:
    averaged = predict_stack(
        stack(bright()), sees(5), Refinement(mirrored=True), flip_step=0
    )
    row = averaged.probability[0, 0]
    np.testing.assert_allclose(row, [0.5] * 3 + [1] * 2 + [0.5] * 3, atol=1e-3)
    assert averaged.flip_dice == pytest.approx(0.4)
