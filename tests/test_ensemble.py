"""Ensembles: disagreement and votes by arithmetic, looks of a network of one weight."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.calibration import entropy
from model.engine import Engine
from model.ensemble import (
    EMBEDDING_SIZE,
    Look,
    combined,
    disagreement,
    embed,
    look,
    voted,
)
from model.network import new_network
from model.preprocess import network_input

CPU = Engine("cpu", "fp32")


def boxes(*widths: int) -> list[NDArray[np.bool_]]:
    """Masks of one slice and ten columns, filled from the left."""
    return [np.arange(10)[None, None] < width for width in widths]


class Leftish(nn.Module):
    """Calls bright pixels breast, more readily at the left: it knows left and right."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, slices: Tensor) -> Tensor:
        tilt = torch.linspace(1, -1, slices.shape[-1])
        return self.scale * (slices[:, :1] + tilt)

    def encode(self, slices: Tensor) -> Tensor:
        return slices.mean(dim=(2, 3))


def voxels() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (3, 2, 4, 8)).astype(np.float32)


def test_disagreement_is_one_minus_the_mean_dice_of_all_pairs() -> None:
    # Dice of widths 4 and 6: 2*4/10; 4 and 8: 2*4/12; 6 and 8: 2*6/14.
    expected = 1 - (8 / 10 + 8 / 12 + 12 / 14) / 3
    assert disagreement(boxes(4, 6, 8)) == pytest.approx(expected)
    assert disagreement(boxes(5, 5)) == 0
    assert disagreement(boxes(0, 3)) == 1


def test_masks_that_agree_on_nothing_are_no_agreement() -> None:
    assert disagreement(boxes(0, 0, 0)) == 1


def test_a_vote_is_the_majority_and_half_is_none() -> None:
    assert voted(boxes(2, 5, 7)).sum() == 5
    assert voted(boxes(2, 6)).sum() == 2


def test_a_look_turns_the_mirrored_mask_back() -> None:
    seen = look(voxels(), Leftish(), CPU, temperature=None)
    bright = network_input(voxels())[:, 0]
    tilt = np.linspace(1, -1, 8)
    assert (seen.masks[0] == (bright + tilt >= 0)).all()
    assert (seen.masks[1] == (bright - tilt >= 0)).all()
    assert seen.entropy is None


def test_entropy_is_of_the_calibrated_mean_per_predicted_pixel() -> None:
    seen = look(voxels(), Leftish(scale=3.0), CPU, temperature=3.0)
    bright, tilt = network_input(voxels())[:, 0], np.linspace(1, -1, 8)
    both = np.stack([bright + tilt, bright - tilt])
    mean = (1 / (1 + np.exp(-both))).mean(axis=0)
    expected = entropy(mean).sum() / (mean >= 0.5).sum()
    assert seen.entropy == pytest.approx(expected, rel=1e-5)


def test_an_ensemble_has_every_members_masks_and_the_first_ones_features() -> None:
    four, six, eight = boxes(4, 6, 8)
    looks = [Look((four, six), 0.1, (0.0,)), Look((eight, eight), 0.3, (1.0,))]
    found = combined(looks, ["x", "y"])
    assert found.disagreement == pytest.approx(disagreement(boxes(4, 6, 8, 8)))
    assert found.entropy == pytest.approx(0.2)
    assert (found.embedding, found.members) == ((0.0,), 4)
    assert found.checkpoints == ("x", "y")
    looks[1] = Look(looks[1].masks, None, ())
    assert combined(looks, ["x", "y"]).entropy is None


def test_projected_features_keep_distances() -> None:
    low, high = voxels() * 0.2, voxels()
    near, far = (np.array(embed(v, Leftish(), CPU)) for v in (low, high))
    assert len(near) == EMBEDDING_SIZE
    apart = network_input(high).mean(axis=(0, 2, 3)) - network_input(low).mean(
        axis=(0, 2, 3)
    )
    assert math.dist(near, far) == pytest.approx(np.linalg.norm(apart), rel=0.5)
    assert embed(low, Leftish(), CPU) == tuple(near)


def test_a_network_without_features_has_no_embedding() -> None:
    assert embed(voxels(), nn.Conv2d(2, 1, 1), CPU) == ()


def test_fcn_resnet50_shows_2048_channels() -> None:
    with torch.inference_mode():
        features = new_network(seed=0).eval().encode(torch.zeros(2, 2, 32, 32))
    assert features.shape == (2, 2048)
