"""A network run by PyTorch, on any device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.engine import Engine

BATCH_BY_DEVICE = {"cpu": 1, "cuda": 32}
"""Batching buys nothing on a CPU and costs memory."""
BATCHED_PX = 256
"""Rows and columns of the slices that these are batches of."""


def slices_at_once(engine: Engine, grid_px: int) -> int:
    """Return how many slices of a grid a device predicts best in one batch."""
    batch = BATCH_BY_DEVICE.get(torch.device(engine.device).type, 1)
    return max(1, batch * BATCHED_PX**2 // grid_px**2) if batch > 1 else 1


class TorchRunner:
    """A network on a device, channels last, in the engine's precision.

    A GPU takes as many slices at once as their rows and columns (``grid_px``) allow.
    """

    def __init__(self, network: nn.Module, engine: Engine, grid_px: int) -> None:
        network.eval().to(engine.device).to(memory_format=torch.channels_last)
        self.network, self.engine = network, engine
        self.batch = slices_at_once(engine, grid_px)

    @torch.inference_mode()
    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (N, rows, columns) of network inputs (N, 2, rows, columns).

        Raises ``MemoryError`` where so many slices do not fit at once.
        """
        try:
            return self._logits(inputs)
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"out of memory on {self.engine}") from error

    def _logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        slices = torch.from_numpy(inputs).to(
            self.engine.device, memory_format=torch.channels_last
        )
        with self.engine.autocast():
            logits = self.network(slices)
        found: NDArray[np.float32] = logits.float()[:, 0].cpu().numpy()
        return found
