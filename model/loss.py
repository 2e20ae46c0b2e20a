"""Dice loss: equation (1) of arXiv 2601.02538, with epsilon once per sum."""

import torch
from torch import Tensor


def dice_loss(logits: Tensor, masks: Tensor, *, epsilon: float = 1.0) -> Tensor:
    """Return the soft Dice loss over the whole batch, a float32 scalar in 0 to 1.

    Logits and masks are (N, 1, H, W); the sigmoid is applied here. Float32 whatever
    the inputs are: bfloat16 keeps three digits of a sum of many thousand pixels.
    Equation (1).
    """
    return dice_loss_of(dice_sums(logits, masks), epsilon=epsilon)


def dice_sums(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the sums that the Dice loss needs: shared, predicted, true, (3,)."""
    probabilities, truth = logits.float().sigmoid(), masks.float()
    shared = (probabilities * truth).sum()
    return torch.stack((shared, probabilities.sum(), truth.sum()))


def dice_loss_of(sums: Tensor, *, epsilon: float = 1.0) -> Tensor:
    """Return the loss of ``dice_sums``, which may be of several parts of a batch."""
    shared, predicted, truth = sums
    loss: Tensor = 1 - (2 * shared + epsilon) / (predicted + truth + epsilon)
    return loss
