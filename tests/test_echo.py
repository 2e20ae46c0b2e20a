from collections.abc import Iterator

import pytest
import torch

from model.batches import Batch
from model.pretraining.echo import echoed, reach
from model.pretraining.sampler import Stage

ONCE = Stage(until=1.0, grid_px=8, batch=2)
TWICE = Stage(until=1.0, grid_px=8, batch=4, echo=2)
THRICE = Stage(until=1.0, grid_px=8, batch=6, echo=3, others_px=(16,))


def drawn(first: int, stop: int) -> Iterator[Batch]:
    """Yield groups of two slices whose left column tells their step."""
    for step in range(first, stop):
        slices, masks = torch.zeros(2, 2, 8, 8), torch.zeros(2, 1, 8, 8)
        slices[..., 0], masks[..., 0] = step, step
        yield slices, masks


def told(batch: Batch) -> list[tuple[int, bool]]:
    """Return the step that drew each slice, and whether it is mirrored."""
    slices, masks = batch
    assert torch.equal(slices[:, :1], masks)
    left, right = slices[:, 0, 0, 0], slices[:, 0, 0, -1]
    return [(int(max(a, b)), bool(b > a)) for a, b in zip(left, right, strict=True)]


def test_without_echo_a_batch_is_what_its_step_drew() -> None:
    assert reach(ONCE) == 0
    batches = [told(batch) for batch in echoed(drawn(1, 3), ONCE, before=0)]
    assert batches == [[(1, False)] * 2, [(2, False)] * 2]


def test_slices_come_again_mirrored_after_six_steps() -> None:
    assert reach(TWICE) == 6
    batches = [told(batch) for batch in echoed(drawn(1, 9), TWICE, before=0)]
    assert [len(batch) for batch in batches] == [2] * 6 + [4] * 2
    assert batches[6] == [(7, False)] * 2 + [(1, True)] * 2


def test_the_third_time_they_are_not_mirrored_and_their_grid_has_its_turn() -> None:
    assert reach(THRICE) == 24
    last = list(echoed(drawn(1, 26), THRICE, before=0))[-1]
    assert told(last) == [(25, False)] * 2 + [(13, True)] * 2 + [(1, False)] * 2
    assert THRICE.grid_at(25) == THRICE.grid_at(13) == THRICE.grid_at(1) == 16


@pytest.mark.parametrize("step", [3, 8, 40])
def test_a_run_that_goes_on_sees_the_batches_of_one_that_never_stopped(
    step: int,
) -> None:
    whole = list(echoed(drawn(0, 41), THRICE, before=0))[step:]
    first = max(0, step - reach(THRICE))
    rest = list(echoed(drawn(first, 41), THRICE, before=step - first))
    assert [told(batch) for batch in rest] == [told(batch) for batch in whole]
