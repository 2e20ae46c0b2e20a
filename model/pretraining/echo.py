"""Slices used more than once, because a GPU trains faster than processors draw.

A step sees new slices and, mirrored, those of some steps before: repeated at once they
would teach nothing, repeated among others they teach nearly as much as new ones (data
echoing, Choi et al. 2019, arXiv 1907.05550).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch

from model.batches import Batch
from model.pretraining.sampler import Stage

ROUNDS = 6
"""How often each grid has its turn until slices come again."""


def reach(stage: Stage) -> int:
    """Return how many steps back the oldest slices of a batch were drawn."""
    return (stage.echo - 1) * _distance(stage)


def echoed(groups: Iterable[Batch], stage: Stage, *, before: int) -> Iterator[Batch]:
    """Yield a batch a step from the groups that the steps drew.

    The first ``before`` groups are of steps already done, at most ``reach`` of them.
    """
    kept: deque[Batch] = deque(maxlen=max(reach(stage), 1))
    for number, group in enumerate(groups):
        if number >= before:
            yield _joined([group, *_echoes(kept, stage)])
        kept.append(group)


def _distance(stage: Stage) -> int:
    return ROUNDS * len(stage.grids_px)


def _echoes(kept: Sequence[Batch], stage: Stage) -> Iterator[Batch]:
    for times in range(1, stage.echo):
        back = times * _distance(stage)
        if back <= len(kept):
            group = kept[-back]
            yield _mirrored(group) if times % 2 else group


def _mirrored(batch: Batch) -> Batch:
    slices, masks = batch
    return slices.flip(-1), masks.flip(-1)


def _joined(parts: Sequence[Batch]) -> Batch:
    slices, masks = zip(*parts, strict=True)
    return torch.cat(slices), torch.cat(masks)
