"""Ideas for the trainer that ``benchmarks.trainer_options`` tries, and only it.

Each is a context in which ``model.train.fit`` does something else.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import (
    affine_grid,
    binary_cross_entropy_with_logits,
    grid_sample,
)

from model import train
from model.batches import Batch, batches
from model.loss import dice_loss_of, dice_sums
from model.train import Bench

TURN_DEG = 10.0
STRETCH = 0.1
SHIFT = 0.1
"""Of half the image."""
GAIN = 0.2
AVERAGED_EPOCHS = 4


def changed(slices: Tensor, masks: Tensor) -> Batch:
    """Return slices and masks turned, stretched and shifted together, grey at random.

    Slices are (N, 2, H, W), masks (N, 1, H, W); each has its own change.
    """
    count, uniform = len(slices), torch.distributions.Uniform(-1.0, 1.0)
    draw = uniform.sample((count, 6)).to(slices.device)
    angle = torch.deg2rad(draw[:, 0] * TURN_DEG)
    scale = 1 + draw[:, 1] * STRETCH
    turned = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1)
    matrix = turned.reshape(count, 2, 2) * scale[:, None, None]
    placed = torch.cat((matrix, draw[:, 2:4, None] * SHIFT), dim=2)
    grid = affine_grid(placed, list(masks.shape), align_corners=False)
    moved = grid_sample(slices, grid, padding_mode="border", align_corners=False)
    outline = grid_sample(masks, grid, mode="nearest", align_corners=False)
    gain, offset = (1 + GAIN * draw[:, 4]), GAIN * draw[:, 5]
    return moved * gain[:, None, None, None] + offset[:, None, None, None], outline


def changed_batches(*arguments: Any) -> Iterator[Batch]:
    """Yield training batches, changed."""
    for slices, masks in batches(*arguments):
        yield changed(slices, masks)


def sums_with_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the sums of the Dice loss, of the cross-entropy, and the pixels, (5,)."""
    entropy = binary_cross_entropy_with_logits(logits, masks.float(), reduction="sum")
    pixels = torch.full_like(entropy, masks.numel())
    return torch.cat((dice_sums(logits, masks), torch.stack((entropy, pixels))))


def loss_with_entropy(sums: Tensor) -> Tensor:
    """Return the Dice loss plus the mean binary cross-entropy."""
    return dice_loss_of(sums[:3]) + sums[3] / sums[4]


def augmented() -> AbstractContextManager[object]:
    """Train on changed slices."""
    return patch.object(train, "batches", changed_batches)


def with_entropy() -> AbstractContextManager[object]:
    """Train by Dice loss and cross-entropy."""
    stack = ExitStack()
    stack.enter_context(patch("model.step.dice_sums", sums_with_entropy))
    stack.enter_context(patch("model.step.dice_loss_of", loss_with_entropy))
    return stack


@dataclass(slots=True)
class Recent:
    """Keeps the weights of the last epochs while a fold is fitted."""

    states: list[dict[str, Tensor]] = field(default_factory=list)

    def watching(self) -> AbstractContextManager[object]:
        """Be told of every epoch's end."""
        remember = train._remember

        def remembered(run: Any, record: Any, bench: Bench) -> None:
            state = run.network.state_dict()
            self.states.append({k: v.detach().clone() for k, v in state.items()})
            del self.states[:-AVERAGED_EPOCHS]
            remember(run, record, bench)

        return patch.object(train, "_remember", remembered)

    def mean(self) -> dict[str, Tensor]:
        """Return the mean of these weights, and of BatchNorm's statistics."""
        last = self.states[-1]
        return {
            name: torch.stack([s[name].float() for s in self.states]).mean(0).to(v)
            for name, v in last.items()
        }
