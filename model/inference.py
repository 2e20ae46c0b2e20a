"""From a slice stack to probabilities and a mask, whatever engine runs the network."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from model.engine import Engine
from model.preprocess import network_input

if TYPE_CHECKING:
    from torch import nn

THRESHOLD = 0.5


@runtime_checkable
class Runner(Protocol):
    """A network made ready on one engine."""

    batch: int
    """How many slices it takes at once."""

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (N, rows, columns) of network inputs (N, 2, rows, columns)."""
        ...


def predict(
    voxels: NDArray[np.floating], network: "nn.Module | Runner", engine: Engine
) -> NDArray[np.float32]:
    """Return breast probability (slices, rows, columns) of a stack.

    ``voxels`` is (slices, 2, rows, columns) as in ``SliceStack``. ``network`` is run
    as it is when it is ready on an engine, else by PyTorch on ``engine``.
    """
    logits = predict_logits(voxels, network, engine)
    probability: NDArray[np.float32] = expit(logits, out=logits)
    return probability


def predict_logits(
    voxels: NDArray[np.floating], network: "nn.Module | Runner", engine: Engine
) -> NDArray[np.float32]:
    """Return what ``predict`` takes the sigmoid of; the mask is where it is >= 0."""
    runner = as_runner(network, engine)
    out = np.empty((len(voxels), *voxels.shape[2:]), np.float32)
    for part in _parts(len(voxels), runner.batch):
        out[part] = runner.logits(network_input(voxels[part]))
    return out


def as_runner(network: "nn.Module | Runner", engine: Engine) -> Runner:
    """Return a network ready to run; PyTorch is imported only for its own."""
    if isinstance(network, Runner):
        return network
    from model.torch_runner import TorchRunner

    return TorchRunner(network, engine)


def _parts(slices: int, batch: int) -> Iterator[slice]:
    return (slice(start, start + batch) for start in range(0, slices, batch))
