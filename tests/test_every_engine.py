"""A study becomes the same mask, whatever engine segments it."""

from pathlib import Path

import numpy as np
import pytest
from sessions import ENGINES, on_engine, untrained_checkpoint, write_pair
from torch import nn

from model.fidelity import NEEDED_DICE
from model.metrics import overlap
from model.openvino_runner import has_bf16
from plugin.nifti import read_nifti
from plugin.pipeline import NIFTI_FILE, segment_session


@pytest.mark.parametrize("name", ENGINES[1:])
def test_every_engine_finds_the_mask_of_the_reference(
    name: str, tmp_path: Path
) -> None:
    if name == "openvino-cpu-bf16" and not has_bf16():
        pytest.skip("this CPU does not compute in bf16")
    write_pair(tmp_path / "study")
    masks = []
    for engine in (ENGINES[0], name):
        checkpoint = untrained_checkpoint()
        nn.init.constant_(checkpoint.network.fcn.classifier[-1].bias, 0.0)
        segmenter = on_engine(checkpoint, engine)
        segment_session("s", tmp_path / "study", tmp_path / engine, segmenter)
        masks.append(read_nifti(tmp_path / engine / NIFTI_FILE).array > 0)
    assert 0.05 < np.mean(masks[0]) < 0.95
    assert overlap(masks[1], masks[0]).dice >= NEEDED_DICE
