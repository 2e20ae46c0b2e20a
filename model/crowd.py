"""Many stored cases at once: predicted in full batches, and worked on side by side.

A GPU is done with a small case in less time than it takes to start its kernels, to
measure the mask's surface, or to flush a file to the disk.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from model.dataset import CaseStore
from model.engine import Engine
from model.ensemble import Mask
from model.inference import Runner, predict_logits
from model.processors import available

BATCHES = 4
"""Predicted before their cases are worked on: few, so that both go on side by side."""

Job = Callable[[], None]


def at_once(jobs: Iterable[Job]) -> None:
    """Do jobs beside each other and beside what makes them; raise what one raised."""
    with ThreadPoolExecutor(available()) as hands:
        for done in [hands.submit(job) for job in jobs]:
            done.result()


def predicted(
    case_ids: Sequence[str], runner: Runner, store: CaseStore, engine: Engine
) -> Iterator[tuple[str, Mask]]:
    """Yield stored cases of one grid with their masks (slices, rows, columns)."""
    for part in _parts(case_ids, store, BATCHES * runner.batch):
        stacks = [store.stack(case_id) for case_id in part]
        logits = predict_logits(np.concatenate(stacks), runner, engine)
        ends = np.cumsum([len(stack) for stack in stacks])[:-1]
        for case_id, found in zip(part, np.split(logits, ends), strict=True):
            yield case_id, found >= 0


def _parts(
    case_ids: Sequence[str], store: CaseStore, slices: int
) -> Iterator[list[str]]:
    """Yield cases in their order, as many as have so many slices, at least one."""
    part: list[str] = []
    held = 0
    for case_id in case_ids:
        own = store.info(case_id).slices
        if part and held + own > slices:
            yield part
            part, held = [], 0
        part.append(case_id)
        held += own
    if part:
        yield part
