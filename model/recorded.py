"""The gradients of a batch, recorded once on a GPU and replayed.

A step starts over a thousand kernels one by one, and at the sizes of a training a GPU
is done with them sooner than the processor has started them. A CUDA graph starts all
of them at once: the same kernels in the same order, dropout drawing on as before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from model.batches import Batch

Gradients = Callable[[Tensor, Tensor], Tensor]
"""Leaves the gradients of a batch in the parameters, and returns its loss.

It reads nothing back from the device, and nothing but the batch and the network's own
tensors changes between its calls.
"""


@dataclass(frozen=True, slots=True)
class _Recording:
    """A graph, the batch that it reads, and what it writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    loss: Tensor
    gradients: tuple[tuple[nn.Parameter, Tensor], ...]

    def replay(self, batch: Batch) -> Tensor:
        for own, given in zip(self.batch, batch, strict=True):
            own.copy_(given)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.loss.clone()


@dataclass(slots=True)
class Recorder:
    """Computes the gradients of batches on a GPU, replaying those of a known shape.

    The first batch of a shape is computed as it comes, because libraries prepare
    themselves when they are first called.
    """

    parameters: Sequence[nn.Parameter]
    _recordings: dict[torch.Size, _Recording | None] = field(default_factory=dict)

    def loss(self, compute: Gradients, batch: Batch) -> Tensor:
        """Return the loss of a batch, its gradients in the parameters.

        ``compute`` is the same at every call.
        """
        shape = batch[0].shape
        if shape not in self._recordings:
            self._recordings[shape] = None
            return compute(*batch)
        recording = self._recordings[shape] or self._record(compute, batch)
        self._recordings[shape] = recording
        return recording.replay(batch)

    def _record(self, compute: Gradients, batch: Batch) -> _Recording:
        """Record, which computes nothing yet; all graphs share their memory."""
        known = [found for found in self._recordings.values() if found]
        pool = known[0].graph.pool() if known else None
        graph, own = torch.cuda.CUDAGraph(), (batch[0].clone(), batch[1].clone())
        # The energy meters' thread may ask the driver meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            loss = compute(*own).detach()
        gradients = [(p, p.grad) for p in self.parameters if p.grad is not None]
        return _Recording(graph, own, loss, tuple(gradients))
