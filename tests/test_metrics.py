"""Equations 1-5: by arithmetic, by hand-made geometry, and against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, directed_hausdorff

from model.errors import GeometryError
from model.loss import dice_loss
from model.metrics import Surface, overlap, surface_distance

Mask = NDArray[np.bool_]


def box(shape: tuple[int, ...], *ranges: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def pair_of(found: Surface) -> tuple[float | None, float | None]:
    return found.hausdorff_mm, found.hd95_mm


def as_logits(masks: torch.Tensor) -> torch.Tensor:
    return (masks - 0.5) * 200


def test_dice_loss_is_equation_1_over_the_whole_batch() -> None:
    probabilities = torch.tensor([0.2, 0.5, 0.9, 0.6]).reshape(2, 1, 1, 2)
    masks = torch.tensor([0.0, 1.0, 1.0, 0.0]).reshape(2, 1, 1, 2)
    loss = dice_loss(torch.logit(probabilities), masks, epsilon=0.5)
    expected = 1 - (2 * (0.5 + 0.9) + 0.5) / ((0.2 + 0.5 + 0.9 + 0.6) + 2 + 0.5)
    assert loss.item() == pytest.approx(expected)
    assert loss.shape == ()


def test_dice_loss_of_a_perfect_batch_is_zero() -> None:
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, 0, 2:5, 2:5] = 1
    assert dice_loss(as_logits(masks), masks).item() == pytest.approx(0)


def test_dice_loss_of_a_rightly_empty_batch_is_zero() -> None:
    masks = torch.zeros(2, 1, 8, 8)
    assert dice_loss(as_logits(masks), masks).item() == pytest.approx(0)


def test_dice_loss_of_a_missed_mask_keeps_only_epsilon() -> None:
    masks = torch.ones(1, 1, 3, 3)
    loss = dice_loss(as_logits(torch.zeros(1, 1, 3, 3)), masks)
    assert loss.item() == pytest.approx(1 - 1 / (9 + 1))


def test_dice_loss_pulls_every_logit_towards_its_mask() -> None:
    masks = torch.zeros(2, 1, 4, 4)
    masks[1, 0, 1:3, 1:3] = 1
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    torch.autograd.backward(dice_loss(logits, masks))
    assert logits.grad is not None
    assert (logits.grad[masks == 1] < 0).all()
    assert (logits.grad[masks == 0] > 0).all()


def test_dice_loss_of_bfloat16_logits_is_float32() -> None:
    """In bfloat16 sigmoid(1) alone would be wrong in its third digit."""
    masks = torch.ones(1, 1, 255, 257, dtype=torch.bool)
    loss = dice_loss(torch.ones(1, 1, 255, 257, dtype=torch.bfloat16), masks)
    pixels, p = 255 * 257, 1 / (1 + np.exp(-1))
    assert loss.dtype == torch.float32
    expected = 1 - (2 * p * pixels + 1) / ((p + 1) * pixels + 1)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_overlap_of_two_shifted_squares_by_arithmetic() -> None:
    predicted = box((10, 10), (0, 4), (0, 5))
    reference = box((10, 10), (2, 8), (0, 5))
    found = overlap(predicted, reference)
    assert (found.predicted_px, found.reference_px) == (4 * 5, 6 * 5)
    assert found.dice == pytest.approx(2 * 10 / (20 + 30))
    assert found.iou == pytest.approx(10 / (20 + 30 - 10))
    assert found.precision == pytest.approx(10 / 20)
    assert found.recall == pytest.approx(10 / 30)
    assert not found.both_empty


def test_overlap_of_a_case_is_not_the_mean_of_its_slices() -> None:
    predicted = box((2, 4, 4), (0, 1), (0, 4), (0, 4))
    reference = predicted | box((2, 4, 4), (1, 2), (0, 1), (0, 1))
    assert overlap(predicted, reference).dice == pytest.approx(2 * 16 / (16 + 17))


def test_both_empty_agree_and_are_marked() -> None:
    empty = box((5, 5))
    empty[:] = False
    found = overlap(empty, empty)
    assert found.both_empty
    assert (found.dice, found.iou, found.precision, found.recall) == (1, 1, 1, 1)


@pytest.mark.parametrize("missed", [True, False])
def test_one_empty_has_no_overlap_at_all(missed: bool) -> None:  # noqa: FBT001
    empty, full = np.zeros((5, 5), np.bool_), np.ones((5, 5), np.bool_)
    found = overlap(empty, full) if missed else overlap(full, empty)
    assert (found.dice, found.iou, found.both_empty) == (0, 0, False)
    assert (found.precision, found.recall) == ((1, 0) if missed else (0, 1))


masks_of_one_shape = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9).map(
    lambda shape: arrays(np.bool_, shape)
)


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    masks = draw(masks_of_one_shape)
    return draw(masks), draw(masks)


@given(mask_pairs())
@settings(deadline=None)
def test_equations_2_to_4_are_the_limit_of_epsilon_outside_the_sums(
    pair: tuple[Mask, Mask],
) -> None:
    p, g = (mask.astype(float) for mask in pair)
    found, epsilon = overlap(*pair), 1e-9
    shared = (p * g).sum() + epsilon
    assert found.precision == pytest.approx(shared / (p.sum() + epsilon), abs=1e-8)
    assert found.recall == pytest.approx(shared / (g.sum() + epsilon), abs=1e-8)
    union = (p + g - p * g).sum() + epsilon
    assert found.iou == pytest.approx(shared / union, abs=1e-8)


@given(mask_pairs())
@settings(deadline=None)
def test_dice_and_iou_are_symmetric_and_bound_to_each_other(
    pair: tuple[Mask, Mask],
) -> None:
    found, swapped = overlap(*pair), overlap(*pair[::-1])
    assert (found.dice, found.iou) == (swapped.dice, swapped.iou)
    assert (found.precision, found.recall) == (swapped.recall, swapped.precision)
    assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"\(4, 4\) predicted, \(4, 5\)"):
        overlap(np.ones((4, 4), np.bool_), np.ones((4, 5), np.bool_))


def test_probabilities_are_refused() -> None:
    with pytest.raises(GeometryError, match="threshold"):
        overlap(np.full((4, 4), 0.3), np.ones((4, 4), np.bool_))


def test_distance_of_two_squares_side_by_side() -> None:
    """Columns 1-3 and 6-9: their far edges are 5 and 6 columns from the other."""
    predicted = box((12, 12), (4, 8), (1, 4))
    reference = box((12, 12), (4, 8), (6, 10))
    found = surface_distance(predicted, reference, spacing_mm=(3.0, 0.5))
    assert found.hausdorff_mm == pytest.approx(6 * 0.5)


def test_spacing_of_each_axis_counts_in_its_order() -> None:
    first, second = box((6, 8, 9), (0, 1), (0, 1), (0, 1)), box((6, 8, 9))
    second[:] = False
    second[2, 3, 6] = True
    found = surface_distance(first, second, spacing_mm=(3.0, 2.0, 0.5))
    expected = np.sqrt((2 * 3.0) ** 2 + (3 * 2.0) ** 2 + (6 * 0.5) ** 2)
    assert pair_of(found) == pytest.approx((expected, expected))


def test_distance_is_between_surfaces_not_regions() -> None:
    """The rim of a hole in the middle of 9 x 9 is 4 - 1 from the outer surface.

    Distances to the region, not to its surface, would give 1.
    """
    solid = box((11, 11), (1, 10), (1, 10))
    hollow = solid.copy()
    hollow[5, 5] = False
    found = surface_distance(hollow, solid, spacing_mm=(1.0, 1.0))
    assert found.hausdorff_mm == pytest.approx(3)


def test_hd95_leaves_an_outlier_aside() -> None:
    """Of 4 * 20 - 4 surface pixels and one stray, 1 of 77 is far: below 5 %."""
    reference = box((60, 60), (5, 25), (5, 25))
    predicted = reference.copy()
    predicted[24, 54] = True
    found = surface_distance(predicted, reference, spacing_mm=(1.0, 1.0))
    assert pair_of(found) == pytest.approx((30, 0))


def test_hd95_is_the_larger_directed_percentile() -> None:
    """A line of 1 against one of 101 pixels: directed distances 0, and 0 to 100."""
    point, line = box((1, 101), (0, 1), (0, 1)), box((1, 101), (0, 1), (0, 101))
    found = surface_distance(point, line, spacing_mm=(1.0, 1.0))
    assert pair_of(found) == pytest.approx((100, 95))


def test_both_empty_have_no_distance() -> None:
    empty = np.zeros((4, 4), np.bool_)
    assert surface_distance(empty, empty, spacing_mm=(1.0, 1.0)) == Surface(None, None)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_one_empty_is_a_diagonal_away(order: slice) -> None:
    pair = (np.zeros((30, 80), np.bool_), box((30, 80), (3, 4), (3, 4)))[order]
    found = surface_distance(*pair, spacing_mm=(1.0, 0.5))
    assert pair_of(found) == pytest.approx((50, 50))


@pytest.mark.parametrize("spacing_mm", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0)])
def test_a_spacing_that_does_not_fit_is_refused(spacing_mm: tuple[float, ...]) -> None:
    mask = np.ones((4, 4), np.bool_)
    with pytest.raises(GeometryError, match="spacing"):
        surface_distance(mask, mask, spacing_mm=spacing_mm)


def surface_points(mask: Mask, spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Foreground voxels with a face neighbour outside, voxel by voxel."""
    points = []
    for voxel in np.argwhere(mask):
        steps = [s * step for step in np.eye(mask.ndim, dtype=int) for s in (-1, 1)]
        around = [voxel + step for step in steps]
        if not all(_inside(mask, place) for place in around):
            points.append(voxel * spacing_mm)
    return np.array(points)


def _inside(mask: Mask, place: NDArray[np.intp]) -> bool:
    within = (place >= 0).all() and (place < mask.shape).all()
    return bool(within and mask[tuple(place)])


spacings = st.tuples(*[st.sampled_from([0.5, 0.8, 1.0, 2.5])] * 3)


@given(mask_pairs(), spacings)
@settings(deadline=None)
def test_hausdorff_of_random_masks_is_scipy_s(
    pair: tuple[Mask, Mask], spacing: tuple[float, float, float]
) -> None:
    spacing_mm = spacing[: pair[0].ndim]
    a, b = (surface_points(mask, spacing_mm) for mask in pair)
    found = surface_distance(*pair, spacing_mm=spacing_mm)
    if not (len(a) and len(b)):
        assert (found.hausdorff_mm is None) == (len(a) == len(b))
        return
    both_ways = max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0])
    assert found.hausdorff_mm == pytest.approx(both_ways)
    distances = cdist(a, b)
    ways = [np.percentile(distances.min(axis=axis), 95) for axis in (0, 1)]
    assert found.hd95_mm == pytest.approx(max(ways))


def blob(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> Mask:
    grid = np.moveaxis(np.indices(shape), 0, -1)
    return np.asarray(np.linalg.norm(grid - centre, axis=-1) <= radius)


@pytest.mark.parametrize(
    ("centre", "radius"),
    [((6, 9, 10), 5.0), ((6, 18, 25), 5.0), ((6, 26, 45), 0.0), ((6, 12, 12), 99)],
    ids=["near", "apart", "far and few", "everything"],
)
def test_tree_and_map_find_the_same_distances(
    centre: tuple[float, ...], radius: float
) -> None:
    """Near surfaces are searched in a tree, bad masks mapped: no seam between them."""
    reference = blob((12, 27, 46), (6, 9, 9), 5)
    predicted = blob((12, 27, 46), centre, radius)
    spacing_mm = (2.0, 0.7, 0.7)
    a, b = (surface_points(mask, spacing_mm) for mask in (predicted, reference))
    distances = cdist(a, b)
    found = surface_distance(predicted, reference, spacing_mm=spacing_mm)
    farthest = max(distances.min(axis=axis).max() for axis in (0, 1))
    assert found.hausdorff_mm == pytest.approx(farthest)
