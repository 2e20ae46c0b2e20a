"""Stored slices as batches of tensors, image and mask always treated together."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from model.dataset import CaseStore, SliceIndex
from model.engine import Engine
from model.preprocess import network_input


def batches(
    order: Sequence[SliceIndex],
    size: int,
    cases: CaseStore,
    engine: Engine,
    mirrored: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield slices (N, 2, H, W) and masks (N, 1, H, W) on the engine's device.

    Those where ``mirrored`` is set are turned left to right, both together.
    """
    if mirrored is None:
        mirrored = np.zeros(len(order), bool)
    stacks = {case_id: cases.stack(case_id) for case_id, _ in order}
    masks = {case_id: cases.mask(case_id) for case_id, _ in order}
    for start in range(0, len(order), size):
        part, flip = order[start : start + size], mirrored[start : start + size]
        voxels = network_input(np.stack([stacks[c][s] for c, s in part]))
        target = np.stack([masks[c][s] for c, s in part])[:, None]
        voxels[flip], target[flip] = voxels[flip][..., ::-1], target[flip][..., ::-1]
        slices = torch.from_numpy(voxels).to(engine.device)
        yield (
            slices.to(memory_format=torch.channels_last),
            torch.from_numpy(target.astype(np.float32)).to(engine.device),
        )


def halved(slices: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return slices and masks with half the rows and columns, 2 x 2 px averaged."""
    return avg_pool2d(slices, 2), (avg_pool2d(masks, 2) >= 0.5).float()
