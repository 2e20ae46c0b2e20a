"""Passes that change no weight: statistics, and validation on stored cases."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from model.batches import Feed, batches
from model.dataset import SliceIndex
from model.engine import Engine
from model.parallel import ALONE, Ranks
from model.torch_runner import slices_at_once

BATCH = 8


def calibrate(network: nn.Module, order: Sequence[SliceIndex], feed: Feed) -> None:
    """Set BatchNorm's statistics to their mean over the slices of ``order``."""
    inputs = (slices for slices, _ in batches(order, BATCH, feed))
    measure_statistics(network, inputs, feed.engine)


@torch.inference_mode()
def measure_statistics(
    network: nn.Module, inputs: Iterable[Tensor], engine: Engine
) -> None:
    """Set BatchNorm's statistics to their mean over batches of network inputs."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    network.train()
    for number, slices in enumerate(inputs, 1):
        for norm in norms:
            # A cumulative mean. By a momentum of None the device would be waited for.
            norm.momentum = 1 / number
        with engine.autocast():
            network(slices)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.inference_mode()
def validate(
    network: nn.Module, case_ids: Sequence[str], feed: Feed, ranks: Ranks = ALONE
) -> float:
    """Return the Dice loss (1) over all voxels of the cases, 0 to 1, no epsilon."""
    network.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=feed.engine.device)
    infos = [feed.cases.info(case_id) for case_id in case_ids]
    own = infos[ranks.rank :: ranks.count]
    order = [(info.case_id, index) for info in own for index in range(info.slices)]
    size = max(BATCH, slices_at_once(feed.engine, infos[0].grid_px))
    for batch, masks in batches(order, size, feed):
        with feed.engine.autocast():
            probability = network(batch).float().sigmoid()
        parts = (probability * masks).sum(), (probability + masks).sum()
        sums += torch.stack(parts).double()
    overlap, total = ranks.summed(sums.cpu())
    return float(1 - 2 * overlap / total)
