"""What the packaged weights do: masks of unseen phantoms, the same on every engine."""

import os

import pytest
from sessions import ENGINES, on_engine

from benchmarks.checkpoint import Size, Study, dice, segment
from model.checkpoint import Checkpoint, read_checkpoint
from model.engine import Engine
from model.fidelity import NEEDED_DICE
from model.inference import THRESHOLD, predict
from model.openvino_runner import has_bf16
from plugin.weights import packaged_weights

STYLES = ("no suppression", "full suppression")
SIZE = Size(slices=14, matrix_px=128, grid_px=128)
CPU = Engine("cpu", "fp32")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    path = packaged_weights()
    if path is None and not os.environ.get("CI"):
        pytest.skip("this source tree has no default checkpoint yet")
    assert path is not None
    return read_checkpoint(path)


@pytest.fixture(scope="module")
def studies(checkpoint: Checkpoint) -> list[Study]:
    tools = checkpoint, CPU
    return [segment(at, style, SIZE, tools)[0] for at, style in enumerate(STYLES)]


@pytest.mark.slow
def test_masks_of_unseen_phantoms_are_near_the_truth(studies: list[Study]) -> None:
    for study in studies:
        assert dice(study.truth, study.found) > 0.85
        empty = study.found[~study.truth.any(axis=(1, 2))]
        assert len(empty) == 0 or empty.mean() < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES[1:])
def test_every_engine_finds_the_same_masks(
    checkpoint: Checkpoint, studies: list[Study], name: str
) -> None:
    if name == "openvino-cpu-bf16" and not has_bf16():
        pytest.skip("this CPU does not compute in bf16")
    chosen = on_engine(checkpoint, name)
    voxels = studies[0].stack.voxels
    probability = predict(voxels, chosen.checkpoint.network, chosen.engine)
    assert dice(studies[0].found, probability >= THRESHOLD) >= NEEDED_DICE
