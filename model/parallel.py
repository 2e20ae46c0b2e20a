"""One training on several ranks: the same batches, statistics and gradients as on one.

A batch is divided among the ranks. What couples its slices is computed over all of
them: the sums of the Dice loss, BatchNorm's means and variances, and the draws of
dropout. So the weights are those of one process, up to the order of additions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those of a training; rank 0 alone decides and writes."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank decides and writes."""
        return self.rank == 0

    def agreed(self, value: Value) -> Value:
        """Return what rank 0 gave; no rank goes on before it did."""
        if self.count == 1:
            return value
        held: list[Any] = [value if self.leads else None]
        dist.broadcast_object_list(held, src=0)
        given: Value = held[0]
        return given

    def gathered(self, value: Value) -> list[Value]:
        """Return what every rank gave, in their order."""
        if self.count == 1:
            return [value]
        held: list[Any] = [None] * self.count
        dist.all_gather_object(held, value)
        return held

    def summed(self, sums: Tensor) -> Tensor:
        """Return the sum over the ranks; gradients flow back to each."""
        if self.count == 1:
            return sums
        total: Tensor = _Summed.apply(sums)
        return total

    def part(self, count: int) -> slice:
        """Return which of ``count`` slices this rank takes."""
        start = self.rank * count // self.count
        return slice(start, (self.rank + 1) * count // self.count)


ALONE = Ranks()


class Shared:
    """A network whose layers look beyond this rank while a batch is divided."""

    def __init__(self, network: nn.Module, ranks: Ranks) -> None:
        self.ranks = ranks
        self.slices = 0
        """How many the divided batch holds; 0 while no batch is divided."""
        self.trained: nn.Module = network
        if ranks.count > 1:
            self._replace(network)
            self.trained = DistributedDataParallel(network)

    @contextmanager
    def divided(self, slices: int) -> Iterator[slice]:
        """Divide a batch; one of fewer slices than ranks is done whole by each."""
        if slices < self.ranks.count:
            yield slice(None)
            return
        self.slices = slices if self.ranks.count > 1 else 0
        try:
            yield self.ranks.part(slices)
        finally:
            self.slices = 0

    def summed(self, sums: Tensor) -> Tensor:
        """Return the sum over the ranks of a divided batch, of a whole one itself."""
        return self.ranks.summed(sums) if self.slices else sums

    def _replace(self, network: nn.Module) -> None:
        for name, layer in network.named_children():
            if type(layer) is nn.BatchNorm2d:
                setattr(network, name, SharedBatchNorm2d(layer, self))
            elif type(layer) is nn.Dropout:
                setattr(network, name, SharedDropout(layer.p, self))
            else:
                self._replace(layer)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm whose statistics are those of the whole divided batch.

    PyTorch's SyncBatchNorm computes the same, on CUDA alone.
    """

    def __init__(self, layer: nn.BatchNorm2d, shared: Shared) -> None:
        super().__init__(layer.num_features, eps=layer.eps, momentum=layer.momentum)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.shared = shared

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """Normalise (N, C, H, W) over N, H and W of all ranks."""
        if not (self.training and self.shared.slices):
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        count = self.shared.slices * values[0, 0].numel()
        mean = self._over_all(values) / count
        centred = values - mean
        variance = self._over_all(centred**2) / count
        self._remember(mean.detach().flatten(), variance.detach().flatten(), count)
        scale = self.weight[None, :, None, None] * torch.rsqrt(variance + self.eps)
        return (centred * scale + self.bias[None, :, None, None]).to(input.dtype)

    def _over_all(self, values: Tensor) -> Tensor:
        return self.shared.ranks.summed(values.sum(dim=(0, 2, 3), keepdim=True))

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics as BatchNorm2d does, the variance unbiased."""
        if not self.track_running_stats:
            return
        if self.running_mean is None or self.running_var is None:
            return
        share = 0.0 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1), share)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


class SharedDropout(nn.Module):
    """Dropout that draws for the whole divided batch and keeps this rank's part."""

    def __init__(self, p: float, shared: Shared) -> None:
        super().__init__()
        self.p, self.shared = p, shared

    def forward(self, values: Tensor) -> Tensor:
        """Drop values (N, ...) as one process would."""
        if not (self.training and self.shared.slices):
            return nn.functional.dropout(values, self.p, self.training)
        whole = values.new_empty((self.shared.slices, *values.shape[1:]))
        if values.is_contiguous(memory_format=torch.channels_last):
            whole = whole.to(memory_format=torch.channels_last)
        noise = whole.bernoulli_(1 - self.p).div_(1 - self.p)
        return values * noise[self.shared.ranks.part(self.shared.slices)]


class _Summed(torch.autograd.Function):
    """The sum over all ranks. Every rank's loss is the same, so gradients add too."""

    @staticmethod
    def forward(_context: Any, sums: Tensor) -> Tensor:
        total = sums.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
