"""The cold-start benchmark on 24 small phantoms, against thresholds it must keep."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONS = ("--cases=24", "--seed=500", "--slices=32", "--matrix=128", "--grid=128")
LEAST_SPEARMAN = {
    "nearest_point_mm": 0.95,
    "sternal_size_mm": 0.95,
    "breast_size_mm": 0.85,
    "volume_ml": 0.80,
}
MOST_MEDIAN_ERROR_MM = {
    "nearest_point_mm": 4.0,
    "sternal_size_mm": 4.0,
    "breast_size_mm": 9.0,
}


@pytest.mark.slow
def test_cold_start_features_follow_those_of_true_masks(tmp_path: Path) -> None:
    out = tmp_path / "cold.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.cold_start", *OPTIONS, f"--out={out}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    summary = json.loads(out.read_text())["summary"]
    rows = {row["feature"]: row for row in summary["agreement"]}
    assert summary["refused"] == 0
    assert summary["median_dice"] > 0.8
    for feature, least in LEAST_SPEARMAN.items():
        assert rows[feature]["spearman"] >= least, rows[feature]
    for feature, most_mm in MOST_MEDIAN_ERROR_MM.items():
        assert rows[feature]["median_absolute_error"] <= most_mm, rows[feature]
