"""Passes over stored cases that change no weight: statistics, and validation."""

from collections.abc import Sequence

import torch
from torch import nn

from model.batches import Feed, batches
from model.dataset import SliceIndex
from model.parallel import ALONE, Ranks
from model.torch_runner import slices_at_once

BATCH = 8


@torch.inference_mode()
def calibrate(network: nn.Module, order: Sequence[SliceIndex], feed: Feed) -> None:
    """Set BatchNorm's statistics to their mean over the slices of ``order``."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    network.train()
    for number, (slices, _) in enumerate(batches(order, BATCH, feed), 1):
        for norm in norms:
            # A cumulative mean. By a momentum of None the device would be waited for.
            norm.momentum = 1 / number
        with feed.engine.autocast():
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
