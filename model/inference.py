"""From a slice stack to probabilities and a mask."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.engine import Engine
from model.preprocess import network_input

logger = logging.getLogger(__name__)

THRESHOLD = 0.5
BATCH_BY_DEVICE = {"cpu": 1, "cuda": 16}
"""Batching buys nothing on a CPU and costs memory."""


Progress = Callable[[float], None]
"""Hears the share of the slices that is done, 0 to 1."""


def unfollowed(_share: float) -> None:
    """Hear nothing of the progress."""


def predict(
    voxels: NDArray[np.floating],
    network: nn.Module,
    engine: Engine,
    *,
    batch: int | None = None,
    progress: Progress = unfollowed,
) -> NDArray[np.float32]:
    """Return breast probability (slices, rows, columns) of a stack.

    ``voxels`` is (slices, 2, rows, columns) as in ``SliceStack``. Where a batch of
    slices does not fit into the device's memory, half of it is tried, down to one
    slice.
    """
    logits = predict_logits(voxels, network, engine, batch=batch, progress=progress)
    return torch.from_numpy(logits).sigmoid_().numpy()


def predict_logits(
    voxels: NDArray[np.floating],
    network: nn.Module,
    engine: Engine,
    *,
    batch: int | None = None,
    progress: Progress = unfollowed,
) -> NDArray[np.float32]:
    """Return what ``predict`` takes the sigmoid of; the mask is where it is >= 0."""
    network.eval().to(engine.device).to(memory_format=torch.channels_last)
    out = np.empty((len(voxels), *voxels.shape[2:]), np.float32)
    size = batch or BATCH_BY_DEVICE.get(torch.device(engine.device).type, 1)
    done = 0
    while done < len(voxels):
        part = slice(done, done + size)
        try:
            out[part] = _logits(voxels[part], network, engine)[:, 0].cpu().numpy()
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            logger.warning("out of memory on %s: %d slices a batch", engine, size)
            continue
        done = min(done + size, len(voxels))
        progress(done / len(voxels))
    return out


@torch.inference_mode()
def _logits(voxels: NDArray[np.floating], network: nn.Module, engine: Engine) -> Tensor:
    batch = torch.from_numpy(network_input(voxels)).to(
        engine.device, memory_format=torch.channels_last
    )
    with engine.autocast():
        logits = network(batch)
    found: Tensor = logits.float()
    return found
