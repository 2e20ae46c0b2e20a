"""From a slice stack to probabilities and a mask."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
    return _mapped(voxels, network, engine, torch.sigmoid)


def predict_logits(
    voxels: NDArray[np.floating], network: nn.Module, engine: Engine
) -> NDArray[np.float32]:
    """Return what ``predict`` takes the sigmoid of; the mask is where it is >= 0."""
    return _mapped(voxels, network, engine, torch.clone)


def _mapped(
    voxels: NDArray[np.floating],
    network: nn.Module,
    engine: Engine,
    of_logits: Callable[[Tensor], Tensor],
) -> NDArray[np.float32]:
    network.eval().to(engine.device).to(memory_format=torch.channels_last)
    out = np.empty((len(voxels), *voxels.shape[2:]), np.float32)
    for part in _parts(len(voxels), engine):
        logits = _logits(voxels[part], network, engine)
        out[part] = of_logits(logits)[:, 0].cpu().numpy()
    return out


def _parts(slices: int, engine: Engine) -> Iterator[slice]:
    batch = BATCH_BY_DEVICE.get(torch.device(engine.device).type, 1)
    return (slice(start, start + batch) for start in range(0, slices, batch))


@torch.inference_mode()
def _logits(voxels: NDArray[np.floating], network: nn.Module, engine: Engine) -> Tensor:
    batch = torch.from_numpy(network_input(voxels)).to(
        engine.device, memory_format=torch.channels_last
    )
    with engine.autocast():
        logits = network(batch)
    found: Tensor = logits.float()
    return found
