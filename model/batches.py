"""Stored slices as batches of tensors, image and mask always treated together.

On a GPU that has room the cases stay there as they are stored, and a batch is made
without the host; else each batch is read from the memory maps and sent.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from model.dataset import CaseInfo, CaseStore, SliceIndex
from model.engine import Engine
from model.preprocess import INPUT_CENTRE, INPUT_CLIP, INPUT_SPREAD, network_input

logger = logging.getLogger(__name__)

RESIDENT_SHARE = 0.5
"""Of a GPU's free memory; the rest is for weights, moments and activations."""
BYTES_PER_PIXEL = 2 * 2 + 1
"""Two channels in float16, and the mask."""

Batch = tuple[Tensor, Tensor]
"""Slices (N, 2, H, W), channels last, and masks (N, 1, H, W), float32, on a device."""


class Feed(Protocol):
    """Stored cases from which batches are made for an engine."""

    cases: CaseStore
    engine: Engine

    def batch(self, part: Sequence[SliceIndex], flips: Sequence[bool]) -> Batch:
        """Return these slices; those that are flipped are turned left to right."""
        ...


class Mapped:
    """Cases that are read from their memory maps, batch after batch."""

    def __init__(self, cases: CaseStore, engine: Engine) -> None:
        self.cases, self.engine = cases, engine
        self._open: dict[str, tuple[NDArray[np.float16], NDArray[np.bool_]]] = {}

    def batch(self, part: Sequence[SliceIndex], flips: Sequence[bool]) -> Batch:
        """Return these slices, read now."""
        flip = np.asarray(flips, bool)
        opened = [(self._case(case_id), index) for case_id, index in part]
        voxels = network_input(np.stack([stack[i] for (stack, _), i in opened]))
        target = np.stack([mask[i] for (_, mask), i in opened])[:, None]
        voxels[flip], target[flip] = voxels[flip][..., ::-1], target[flip][..., ::-1]
        slices = self._sent(voxels).to(memory_format=torch.channels_last)
        return slices, self._sent(target.astype(np.float32))

    def _case(self, case_id: str) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        if case_id not in self._open:
            self._open[case_id] = self.cases.stack(case_id), self.cases.mask(case_id)
        return self._open[case_id]

    def _sent(self, values: NDArray[np.float32]) -> Tensor:
        """Return the values on the device; a GPU fetches them as the host goes on."""
        here = torch.from_numpy(values)
        if self.engine.device == "cpu":
            return here
        return here.pin_memory().to(self.engine.device, non_blocking=True)


class Resident:
    """Cases that lie on the device as they are stored, float16 and bool."""

    def __init__(
        self, cases: CaseStore, case_ids: Sequence[str], engine: Engine
    ) -> None:
        self.cases, self.engine = cases, engine
        self._there = {
            case_id: (
                torch.from_numpy(np.array(cases.stack(case_id))).to(engine.device),
                torch.from_numpy(np.array(cases.mask(case_id))).to(engine.device),
            )
            for case_id in case_ids
        }

    def batch(self, part: Sequence[SliceIndex], flips: Sequence[bool]) -> Batch:
        """Return these slices, gathered on the device."""
        found = [
            self._slice(*index, flip) for index, flip in zip(part, flips, strict=True)
        ]
        voxels = torch.stack([voxels for voxels, _ in found]).float()
        slices = voxels.clamp_(0.0, INPUT_CLIP).sqrt_()
        slices = slices.sub_(INPUT_CENTRE).div_(INPUT_SPREAD)
        masks = torch.stack([mask for _, mask in found])[:, None].float()
        return slices.to(memory_format=torch.channels_last), masks

    def _slice(
        self,
        case_id: str,
        index: int,
        flip: bool,  # noqa: FBT001
    ) -> tuple[Tensor, Tensor]:
        stack, mask = self._there[case_id]
        if not flip:
            return stack[index], mask[index]
        return stack[index].flip(-1), mask[index].flip(-1)


def open_feed(cases: CaseStore, case_ids: Sequence[str], engine: Engine) -> Feed:
    """Return what feeds an engine: its own memory where half of that is enough."""
    if not engine.on_gpu:
        return Mapped(cases, engine)
    needed = sum(_bytes(cases.info(case_id)) for case_id in case_ids)
    free, _ = torch.cuda.mem_get_info(engine.device)
    stays = needed <= RESIDENT_SHARE * free
    how = "stay on" if stays else "are sent, batch by batch, to"
    logger.info(
        "%.1f GB of cases %s %s, where %.1f GB are free",
        needed / 1e9,
        how,
        engine.device,
        free / 1e9,
    )
    return Resident(cases, case_ids, engine) if stays else Mapped(cases, engine)


def batches(
    order: Sequence[SliceIndex],
    size: int,
    feed: Feed,
    mirrored: NDArray[np.bool_] | None = None,
) -> Iterator[Batch]:
    """Yield slices (N, 2, H, W) and masks (N, 1, H, W) on the feed's device.

    Those where ``mirrored`` is set are turned left to right, both together.
    """
    if mirrored is None:
        mirrored = np.zeros(len(order), bool)
    for start in range(0, len(order), size):
        part = slice(start, start + size)
        yield feed.batch(order[part], mirrored[part].tolist())


def halved(slices: Tensor, masks: Tensor) -> Batch:
    """Return slices and masks with half the rows and columns, 2 x 2 px averaged."""
    return avg_pool2d(slices, 2), (avg_pool2d(masks, 2) >= 0.5).float()


def _bytes(info: CaseInfo) -> int:
    return info.slices * info.grid_px**2 * BYTES_PER_PIXEL
