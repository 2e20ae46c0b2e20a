"""What the packaged weights do: masks of unseen phantoms, the same on every engine."""

import os

import pytest
from sessions import ENGINES, on_engine

from benchmarks.checkpoint import Size, dice, segment
from model.checkpoint import Checkpoint, read_checkpoint
from model.engine import Engine
from model.fidelity import NEEDED_DICE
from model.inference import THRESHOLD, predict
from model.openvino_runner import has_bf16
from model.scope import find_window, within
from plugin.weights import packaged_weights

SIZES = {
    "no suppression": Size(slices=12, matrix_px=128, grid_px=128),
    "full suppression": Size(slices=12, matrix_px=192, grid_px=192),
}
"""Styles, and the two grids that the weights were trained on last."""
CPU = Engine("cpu", "fp32")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    path = packaged_weights()
    if path is None and not os.environ.get("CI"):
        pytest.skip("this source tree has no default checkpoint yet")
    assert path is not None
    return read_checkpoint(path)


@pytest.mark.slow
def test_masks_of_unseen_phantoms_are_near_the_truth_and_every_engine_s(
    checkpoint: Checkpoint,
) -> None:
    tools = checkpoint.network, CPU
    studies = [
        segment(number, style, size, tools)[0]
        for number, (style, size) in enumerate(SIZES.items())
    ]
    for study in studies:
        assert dice(study.truth, study.found) > 0.9
        empty = study.found[~study.truth.any(axis=(1, 2))]
        assert len(empty) == 0 or empty.mean() < 0.005
    reference = studies[0]
    for name in ENGINES[1:]:
        if name == "openvino-cpu-bf16" and not has_bf16():
            continue
        chosen = on_engine(checkpoint, name)
        voxels = reference.stack.voxels
        probability = predict(voxels, chosen.checkpoint.network, chosen.engine)
        assert dice(reference.found, probability >= THRESHOLD) >= NEEDED_DICE, name
    window = find_window(reference.stack.voxels, reference.stack.placement, "breast")
    cropped = within(
        window, reference.stack.voxels, lambda v: predict(v, checkpoint.network, CPU)
    )
    assert window.share(cropped.shape) < 0.9
    assert dice(reference.found, cropped >= THRESHOLD) >= NEEDED_DICE
