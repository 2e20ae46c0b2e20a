"""A study goes the same way from images to mask, whatever engine segments it.

That the engines' logits agree is in test_engines.py; here it is what surrounds them.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from sessions import ENGINES, on_engine, untrained_checkpoint, write_pair

from plugin.nifti import read_nifti
from plugin.pipeline import NIFTI_FILE, SessionResult, segment_session

ASKED = os.environ.get("BRS_TEST_ENGINE")
"""The engine of `make test-engines`; int8 is asked only there, for its making."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_pair(folder)
    return folder


def segmented(study: Path, output: Path, engine: str) -> tuple[SessionResult, float]:
    """Return the result, and the share of voxels in the mask."""
    segmenter = on_engine(untrained_checkpoint(), engine)
    result = segment_session("s", study, output, segmenter)
    return result, float(np.mean(read_nifti(output / NIFTI_FILE).array > 0))


@pytest.mark.parametrize("name", [ASKED] if ASKED else ENGINES[1:])
def test_every_engine_takes_a_study_to_its_mask(
    study: Path, tmp_path: Path, name: str
) -> None:
    reference, expected = segmented(study, tmp_path / "reference", ENGINES[0])
    result, found = segmented(study, tmp_path / name, name)
    assert found == expected > 0.5
    assert (result.verdict, result.reasons) == (reference.verdict, reference.reasons)
    assert result.run_key != reference.run_key


def test_a_test_of_an_engine_that_this_cpu_lacks_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model.openvino_runner.has_bf16", lambda: False)
    with pytest.raises(pytest.skip.Exception, match="does not compute in bf16"):
        on_engine(untrained_checkpoint(), "openvino-cpu-bf16")
