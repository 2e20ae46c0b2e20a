"""From a slice stack to probabilities and a mask, whatever engine runs the network."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from model.engine import Engine
from model.preprocess import network_input

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

THRESHOLD = 0.5

Progress = Callable[[float], None]
"""Hears the share of the slices that is done, 0 to 1."""


@runtime_checkable
class Runner(Protocol):
    """A network made ready on one engine."""

    batch: int
    """How many slices it takes at once."""

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (N, rows, columns) of network inputs (N, 2, rows, columns).

        Raises ``MemoryError`` where so many slices do not fit at once.
        """
        ...


def unfollowed(_share: float) -> None:
    """Hear nothing of the progress."""


def predict(
    voxels: NDArray[np.floating],
    network: "nn.Module | Runner",
    engine: Engine,
    *,
    progress: Progress = unfollowed,
) -> NDArray[np.float32]:
    """Return breast probability (slices, rows, columns) of a stack.

    ``voxels`` is (slices, 2, rows, columns) as in ``SliceStack``. ``network`` is run
    as it is when it is ready on an engine, else by PyTorch on ``engine``.
    """
    logits = predict_logits(voxels, network, engine, progress=progress)
    probability: NDArray[np.float32] = expit(logits, out=logits)
    return probability


def predict_logits(
    voxels: NDArray[np.floating],
    network: "nn.Module | Runner",
    engine: Engine,
    *,
    progress: Progress = unfollowed,
) -> NDArray[np.float32]:
    """Return what ``predict`` takes the sigmoid of; the mask is where it is >= 0.

    Where a batch does not fit into the device's memory, half of it is tried, down to
    one slice.
    """
    runner = as_runner(network, engine, voxels.shape[-1])
    out = np.empty((len(voxels), *voxels.shape[2:]), np.float32)
    size, done = runner.batch, 0
    while done < len(voxels):
        part = slice(done, done + size)
        try:
            out[part] = runner.logits(network_input(voxels[part]))
        except MemoryError:
            if size == 1:
                raise
            size //= 2
            logger.warning("out of memory on %s: %d slices a batch", engine, size)
            continue
        done = min(done + size, len(voxels))
        progress(done / len(voxels))
    return out


def as_runner(network: "nn.Module | Runner", engine: Engine, grid_px: int) -> Runner:
    """Return a network ready for slices of a grid; PyTorch is imported for its own."""
    if isinstance(network, Runner):
        return network
    from model.torch_runner import TorchRunner

    return TorchRunner(network, engine, grid_px)
