"""Many cases at once have the masks of each alone, and no failure is lost."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cases import filled_store, small_network

from model import torch_runner
from model.crowd import Job, at_once, predicted
from model.engine import Engine
from model.inference import predict_logits
from model.torch_runner import TorchRunner

CPU = Engine("cpu", "fp32")
NAMES = ("a", "b", "c", "d", "e")


class Counted(TorchRunner):
    """A runner that takes two slices at once and remembers how many it was given."""

    def __init__(self) -> None:
        super().__init__(small_network(), CPU, 32)
        self.batch = 2
        self.sizes: list[int] = []

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        self.sizes.append(len(inputs))
        return super().logits(inputs)


def test_cases_predicted_together_have_the_masks_of_each_alone(tmp_path: Path) -> None:
    store, runner = filled_store(tmp_path, NAMES), Counted()
    found = dict(predicted(NAMES, runner, store, CPU))
    assert tuple(found) == NAMES
    for name in NAMES:
        alone = predict_logits(store.stack(name), small_network(), CPU) >= 0
        assert np.array_equal(found[name], alone)
    # Four slices each: two cases fill four batches of two, the fifth is left over.
    assert runner.sizes == [2] * 10


def test_a_batch_is_filled_across_cases(tmp_path: Path) -> None:
    runner = Counted()
    runner.batch = 3
    assert len(list(predicted(NAMES, runner, filled_store(tmp_path, NAMES), CPU))) == 5
    # Twelve slices may be held: three cases, then two.
    assert runner.sizes == [3, 3, 3, 3, 3, 3, 2]


@pytest.mark.parametrize(
    ("batch", "grid_px", "expected"),
    [
        *((16, 256, 16), (16, 128, 64), (16, 96, 113), (16, 192, 28)),
        *((16, 512, 4), (2, 512, 1), (1, 32, 1)),
    ],
)
def test_smaller_slices_are_batched_by_their_pixels(
    batch: int, grid_px: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(torch_runner.BATCH_BY_DEVICE, "cpu", batch)
    assert TorchRunner(small_network(), CPU, grid_px).batch == expected


def test_jobs_are_done_while_others_are_made() -> None:
    began = threading.Event()

    def jobs() -> Iterator[Job]:
        yield began.set
        assert began.wait(10), "the first waits for the second to be made"
        yield lambda: None

    at_once(jobs())


def test_a_job_that_fails_is_not_forgotten() -> None:
    done: list[int] = []
    with pytest.raises(ZeroDivisionError):
        at_once(
            [partial(done.append, 1), partial(divmod, 1, 0), lambda: done.append(2)]
        )
    assert sorted(done) == [1, 2]
