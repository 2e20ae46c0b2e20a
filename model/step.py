"""One step of the optimizer on a batch, computed whole or in parts.

Parts are for cards that do not hold a whole batch's activations. The Dice loss is a
ratio of sums over the batch, not a mean over its slices, so the gradients of the parts'
own losses would be another gradient. Here every part is computed twice: first without
gradients, for the sums of the whole batch, then for the gradient that these sums ask
of it. That costs a third more than the whole batch at once, and the gradient is that
of the whole batch's loss. Only BatchNorm sees the parts: it normalises by the
statistics of each part, as it would with smaller batches.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RAdam

from model.batches import Batch
from model.engine import Engine
from model.loss import dice_loss_of, dice_sums
from model.parallel import ALONE, Ranks, Shared
from model.recorded import Recorder


@dataclass(slots=True)
class Learner:
    """What a step changes, and what computes it."""

    shared: Shared
    optimizer: Optimizer
    engine: Engine
    accumulate: int = 1
    """Parts in which a batch is computed."""
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        """Get ready to record whole batches."""
        groups = self.optimizer.param_groups
        parameters = [each for group in groups for each in group["params"]]
        self.recorder = Recorder(parameters)

    def step(self, slices: Tensor, masks: Tensor) -> Tensor:
        """Change the weights once; return the Dice loss of the whole batch.

        Nothing is read back from the device, so that it never waits for the host.
        """
        self.optimizer.zero_grad(set_to_none=True)
        parts = _parts(slices, masks, self.accumulate)
        loss = self._at_once(parts[0]) if len(parts) == 1 else self._in_parts(parts)
        self.optimizer.step()
        return loss.detach()

    def _at_once(self, batch: Batch) -> Tensor:
        if self.engine.on_gpu and self.shared.ranks.count == 1:
            return self.recorder.loss(self._whole, batch)
        return self._whole(*batch)

    def _whole(self, slices: Tensor, masks: Tensor) -> Tensor:
        with self._sums(slices, masks) as sums:
            loss = dice_loss_of(sums)
            loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def _in_parts(self, parts: list[Batch]) -> Tensor:
        total = self._total(parts).requires_grad_()
        loss = dice_loss_of(total)
        (slope,) = torch.autograd.grad(loss, total)
        for part in parts:
            with self._sums(*part) as sums:
                sums.backward(slope)  # type: ignore[no-untyped-call]
        return loss

    @torch.no_grad()
    def _total(self, parts: list[Batch]) -> Tensor:
        """Return the sums of all parts; the second pass draws the same dropout."""
        total = torch.zeros(3, device=parts[0][0].device)
        with torch.random.fork_rng(_gpus(self.engine)), _forgetful(self.shared.trained):
            for part in parts:
                with self._sums(*part) as sums:
                    total += sums
        return total

    @contextmanager
    def _sums(self, slices: Tensor, masks: Tensor) -> Iterator[Tensor]:
        """Yield the sums of the Dice loss over all ranks while they share a batch."""
        with self.shared.divided(len(slices)) as own:
            with self.engine.autocast():
                logits = self.shared.trained(slices[own])
            yield self.shared.summed(dice_sums(logits.float(), masks[own]))


def new_learner(
    network: nn.Module,
    engine: Engine,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    accumulate: int = 1,
    ranks: Ranks = ALONE,
) -> Learner:
    """Move a network to where and how it trains fastest, and return its learner."""
    network.to(engine.device).to(memory_format=torch.channels_last)
    shared = Shared(network, ranks)
    optimizer = RAdam(
        network.parameters(), lr=learning_rate, weight_decay=weight_decay, foreach=True
    )
    return Learner(shared, optimizer, engine, accumulate)


def _parts(slices: Tensor, masks: Tensor, count: int) -> list[Batch]:
    """Return a batch in parts of equal size, or of one slice more."""
    count = min(count, len(slices))
    pairs = zip(slices.tensor_split(count), masks.tensor_split(count), strict=True)
    return list(pairs)


@contextmanager
def _forgetful(network: nn.Module) -> Iterator[None]:
    """Let BatchNorm normalise by each batch and not remember it."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, was in zip(norms, tracked, strict=True):
            norm.track_running_stats = was


def _gpus(engine: Engine) -> list[torch.device]:
    """Return the device whose random numbers dropout draws, if it is no CPU."""
    device = torch.device(engine.device)
    return [device] if device.type == "cuda" else []
