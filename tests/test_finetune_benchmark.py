"""The benchmark of fine-tuning compares what it says it compares."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sessions import untrained_checkpoint

from benchmarks.finetune import main
from model.checkpoint import write_checkpoint

COUNTS = {"few": 1, "many": 2, "check": 1, "test": 1}
SMALL = {"slices": 6, "matrix": 64, "epochs": 1}
OPTIONS = [f"--{name}={value}" for name, value in (COUNTS | SMALL).items()]


@pytest.mark.slow
def test_both_ways_are_tested_on_the_same_patients(tmp_path: Path) -> None:
    made = untrained_checkpoint()
    weights, out = tmp_path / "c.safetensors", tmp_path / "finetune.json"
    write_checkpoint(made.network, made.manifest, weights)
    run = CliRunner().invoke(main, [str(weights), *OPTIONS, f"--out={out}"])
    assert run.exit_code == 0, run.output
    found = json.loads(out.read_text())
    start, tuned, scratch = found["rows"]
    assert [row["cases"] for row in (start, tuned, scratch)] == [0, 1, 2]
    assert start["processor_s"] == 0 < tuned["processor_s"] < scratch["processor_s"]
    assert found["configs"]["fine-tuned"]["learning_rate"] == 1e-4
    assert found["configs"]["from nothing"]["learning_rate"] == 1e-3
