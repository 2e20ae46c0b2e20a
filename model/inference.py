"""From a slice stack to probabilities and a mask."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.engine import Engine
from model.preprocess import network_input

THRESHOLD = 0.5
BATCH_BY_DEVICE = {"cpu": 1, "cuda": 16}
"""Batching buys nothing on a CPU and costs memory."""


def predict(
    voxels: NDArray[np.floating], network: nn.Module, engine: Engine
) -> NDArray[np.float32]:
    """Return breast probability (slices, rows, columns) of a stack.

    ``voxels`` is (slices, 2, rows, columns) as in ``SliceStack``.
    """
    network.eval().to(engine.device).to(memory_format=torch.channels_last)
    out = np.empty((len(voxels), *voxels.shape[2:]), np.float32)
    for part in _parts(len(voxels), engine):
        out[part] = _predict_batch(voxels[part], network, engine)
    return out


def _parts(slices: int, engine: Engine) -> Iterator[slice]:
    batch = BATCH_BY_DEVICE.get(torch.device(engine.device).type, 1)
    return (slice(start, start + batch) for start in range(0, slices, batch))


@torch.inference_mode()
def _predict_batch(
    voxels: NDArray[np.floating], network: nn.Module, engine: Engine
) -> NDArray[np.float32]:
    batch = torch.from_numpy(network_input(voxels)).to(
        engine.device, memory_format=torch.channels_last
    )
    with engine.autocast():
        logits = network(batch)
    probability: NDArray[np.float32] = logits.float().sigmoid()[:, 0].cpu().numpy()
    return probability
