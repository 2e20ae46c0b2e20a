"""Less work for the same mask: what the network need not see, and when it must."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sessions import untrained_checkpoint
from torch import nn
from torch.nn.functional import interpolate

from model.checkpoint import ReadyCheckpoint
from model.engine import Engine
from model.fidelity import Fidelity, held_out_stack
from model.inference import predict
from model.phantom import draw_patient, draw_site, make_case
from model.preprocess import SliceStack, mask_to_stack, to_stack
from model.scope import (
    ALIGN_PX,
    EVERYTHING,
    Window,
    _span,
    find_window,
    placed,
    within,
)
from plugin import scope_proof
from plugin.engines import Choice
from plugin.proofs import Proofs
from plugin.scope_proof import proven_scope

ENGINE = Engine("cpu", "fp32")


@pytest.fixture(scope="module")
def stack() -> SliceStack:
    return held_out_stack(96)


class Coarse(nn.Module):
    """A network with the features' stride that looks no farther than its own cell."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.cells = nn.Conv2d(2, 1, ALIGN_PX, stride=ALIGN_PX)

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        return interpolate(self.cells(slices), scale_factor=ALIGN_PX)


def test_a_breast_window_is_smaller_and_aligned(stack: SliceStack) -> None:
    window = find_window(stack.voxels, stack.placement, "breast")
    shape = (len(stack.voxels), 96, 96)
    assert 0.2 < window.share(shape) < 0.95
    for axis in (window.rows, window.columns):
        assert axis.start % ALIGN_PX == axis.stop % ALIGN_PX == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_window_holds_the_whole_breast(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patient, site = draw_patient(rng), draw_site(rng, slices=24, matrix_px=128)
    case = make_case(patient, site, seed=seed)
    pre, post = case.phases[:2]
    stack = to_stack(pre, post, grid_px=96)
    breast = mask_to_stack(
        pre.with_array((case.right | case.left) * np.uint8(1)), stack
    )
    window = find_window(stack.voxels, stack.placement, "breast")
    assert breast.any()
    assert breast[window.index].sum() == breast.sum()


def test_what_the_window_holds_is_predicted_as_in_the_whole(stack: SliceStack) -> None:
    window = find_window(stack.voxels, stack.placement, "breast")
    whole = predict(stack.voxels, Coarse(), ENGINE)
    found = within(window, stack.voxels, lambda part: predict(part, Coarse(), ENGINE))
    assert np.array_equal(found[window.index], whole[window.index])
    outside = np.ones(found.shape, bool)
    outside[window.index] = False
    assert not found[outside].any()


def test_the_whole_is_placed_without_a_copy() -> None:
    voxels = np.zeros((4, 2, 16, 16), np.float32)
    found = np.ones((4, 16, 16), np.float32)
    assert placed(EVERYTHING, found, voxels) is found
    all_of_it = Window(slice(0, 4), slice(0, 16), slice(0, 16))
    assert placed(all_of_it, found, voxels) is found
    part = placed(
        Window(slice(1, 3), slice(None), slice(8, 16)), found[1:3, :, 8:], voxels
    )
    assert part.sum() == 2 * 16 * 8
    assert part[1:3, :, 8:].all()


def test_slices_keep_their_rows_and_columns(stack: SliceStack) -> None:
    window = find_window(stack.voxels, stack.placement, "slices")
    assert (window.rows, window.columns) == (slice(None), slice(None))
    breast = find_window(stack.voxels, stack.placement, "breast")
    assert window.slices == breast.slices


def test_a_grid_that_the_features_do_not_divide_is_not_cropped(
    stack: SliceStack,
) -> None:
    odd = replace(stack.placement, grid_px=100)
    window = find_window(stack.voxels, odd, "breast")
    assert (window.rows, window.columns) == (slice(None), slice(None))


def test_the_whole_is_seen_where_no_breast_is_found(stack: SliceStack) -> None:
    noise = np.random.default_rng(0).uniform(0, 0.1, stack.voxels.shape)
    assert find_window(noise, stack.placement, "breast") == EVERYTHING
    assert find_window(stack.voxels, stack.placement, "whole") == EVERYTHING


def test_a_doubted_region_crops_nothing(
    stack: SliceStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.scope.TRUSTED", 1.1)
    assert find_window(stack.voxels, stack.placement, "breast") == EVERYTHING


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=4),
    st.floats(0, 20),
)
def test_a_span_covers_all_that_is_used_with_its_margin(
    cells: list[int], margin: float
) -> None:
    used = np.zeros(72, bool)
    used[[8 * cell + 3 for cell in cells]] = True
    span = _span(used, margin, ALIGN_PX)
    first, last = 8 * min(cells) + 3, 8 * max(cells) + 3
    assert 0 <= span.start <= max(0, first - margin)
    assert min(72, last + 1 + margin) <= span.stop <= 72
    assert span.start % ALIGN_PX == span.stop % ALIGN_PX == 0


def test_a_share_is_that_of_the_pixels() -> None:
    window = Window(slice(0, 5), slice(2, 6), slice(None))
    assert window.share((10, 8, 8)) == pytest.approx(5 / 10 * 4 / 8)
    assert EVERYTHING.share((10, 8, 8)) == 1


class Bright:
    """Calls everything bright breast: the thorax as well, which a crop loses."""

    batch = 1

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return inputs[:, 0]


def choice() -> Choice:
    manifest = replace(untrained_checkpoint().manifest, grid_px=96)
    return Choice(ReadyCheckpoint(Bright(), manifest), ENGINE, None)


def test_a_scope_that_changes_masks_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert proven_scope("breast", choice(), Proofs(tmp_path)) == "whole"
    assert "the network sees whole images" in caplog.text
    assert proven_scope("whole", choice(), Proofs(tmp_path)) == "whole"


def test_a_scope_that_keeps_masks_is_used_and_proven_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope_proof, "_measure", lambda *_: Fidelity(0.999, 0.1, 24))
    assert proven_scope("slices", choice(), Proofs(tmp_path)) == "slices"
    monkeypatch.setattr(scope_proof, "_measure", None)  # a second one would fail
    assert proven_scope("slices", choice(), Proofs(tmp_path)) == "slices"
