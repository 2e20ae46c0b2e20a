"""The same training three ways: plain PyTorch, from .nii.gz, and as brs trains."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import RAdam
from torch.optim.optimizer import Optimizer

from benchmarks.phantom_cases import Cases
from model.batches import Batch
from model.dataset import Fold, SliceIndex, epoch_order
from model.engine import Engine
from model.loss import dice_loss
from model.network import new_network
from model.preprocess import network_input
from model.progress import TrainConfig
from model.train import Bench, _prepare, _Run, _train


class Trainer(Protocol):
    """A network and what trains it."""

    @property
    def network(self) -> nn.Module:
        """Return the network that is trained."""
        ...

    def epoch(self, order: Sequence[SliceIndex]) -> None:
        """Train on every slice of ``order`` once, in batches."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """What every way trains on, and how."""

    cases: Cases
    fold: Fold
    config: TrainConfig

    def order(self, epoch: int) -> list[SliceIndex]:
        """Return the slices of an epoch, as ``model.train`` shuffles them."""
        infos = [self.cases.store.info(name) for name in self.fold.train]
        return epoch_order(infos, seed=self.config.seed, epoch=epoch)


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train; ``start`` gives it from its first weights."""

    name: str
    engine: Engine
    start: Callable[[], Trainer]
    epochs: int
    setting: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(slots=True)
class PlainTrainer:
    """The loop that one writes first: fp32, contiguous, PyTorch's own defaults."""

    network: nn.Module
    optimizer: Optimizer
    size: int
    feed: Callable[[Sequence[SliceIndex]], Batch]

    def epoch(self, order: Sequence[SliceIndex]) -> None:
        """Train on every slice of ``order`` once."""
        self.network.train()
        for start in range(0, len(order), self.size):
            slices, masks = self.feed(order[start : start + self.size])
            loss = dice_loss(self.network(slices), masks)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()


@dataclass(slots=True)
class OurTrainer:
    """The epoch of ``model.train``, without its validation and its files."""

    run: _Run

    @property
    def network(self) -> nn.Module:
        """Return the network that is trained."""
        return self.run.network

    def epoch(self, order: Sequence[SliceIndex]) -> None:
        """Train on every slice of ``order`` once."""
        _train(self.run, order)


def methods(
    task: Task, best: Engine, scratch: Path, *, gzip_epochs: int
) -> list[Method]:
    """Return every way, the one that others are compared with first, ours last."""
    plain, epochs = Engine(best.device, "fp32"), task.config.epochs
    device = best.device

    def preloaded() -> Trainer:
        return _plain(task, device, _preloaded(task, device))

    def gzipped() -> Trainer:
        return _plain(task, device, _gzipped(task, device))

    def ours() -> Trainer:
        bench = Bench(task.cases.store, scratch, best)
        return OurTrainer(_prepare(_network(task), task.fold, task.config, bench))

    found = [Method("plain fp32, preloaded", plain, preloaded, epochs)]
    if device != "cpu":
        name = "plain fp32 without TF32, preloaded"
        found.append(Method(name, plain, preloaded, epochs, without_tf32))
    name = "plain fp32, .nii.gz slice by slice"
    found.append(Method(name, plain, gzipped, min(gzip_epochs, epochs)))
    return [*found, Method(f"brs ({best})", best, ours, epochs)]


@contextmanager
def without_tf32() -> Iterator[None]:
    """Let cuDNN convolve in fp32 throughout; as it was before, afterwards."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _network(task: Task) -> nn.Module:
    return new_network(seed=task.config.seed)


def _plain(
    task: Task, device: str, feed: Callable[[Sequence[SliceIndex]], Batch]
) -> Trainer:
    network, config = _network(task).to(device), task.config
    optimizer = RAdam(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    return PlainTrainer(network, optimizer, config.batch, feed)


def _preloaded(task: Task, device: str) -> Callable[[Sequence[SliceIndex]], Batch]:
    """Hold every slice of the training on the device, ready for the network."""
    store, names = task.cases.store, task.fold.train
    slices, masks = (
        torch.from_numpy(np.concatenate(parts)).to(device)
        for parts in (
            [network_input(store.stack(name)) for name in names],
            [store.mask(name)[:, None].astype(np.float32) for name in names],
        )
    )
    each = [(name, at) for name in names for at in range(store.info(name).slices)]
    place = {index: at for at, index in enumerate(each)}

    def feed(part: Sequence[SliceIndex]) -> Batch:
        at = torch.tensor([place[index] for index in part], device=device)
        return slices[at], masks[at]

    return feed


def _gzipped(task: Task, device: str) -> Callable[[Sequence[SliceIndex]], Batch]:
    def feed(part: Sequence[SliceIndex]) -> Batch:
        found = [task.cases.read(index) for index in part]
        slices = network_input(np.stack([voxels for voxels, _ in found]))
        masks = np.stack([mask for _, mask in found])[:, None].astype(np.float32)
        return _sent(slices, device), _sent(masks, device)

    return feed


def _sent(values: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(values).to(device)
