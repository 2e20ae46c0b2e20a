"""The page of the study is its kept tables: counted once, unknown where unknown."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import study_page
from benchmarks.study_page import STUDY, Run

ROOT = Path(__file__).parents[1]
ROW = {
    "test": "common",
    "proportion": "0.1",
    "strategy": "hybrid",
    "patients": "5",
    "test_patients": "12",
    "dice": "0.5",
    "dice_low": "0.4",
    "dice_high": "0.6",
    "iou": "0.3333",
    "precision": "0.7",
    "recall": "0.8",
    "hausdorff_px": "21.25",
    "hd95_mm": "9.87",
    "energy_kwh": "unknown",
    "annotation_minutes": "24",
}
COMPARISON = {
    "test": "common",
    "proportion": "0.1",
    "strategy": "hybrid",
    "baseline": "random",
    "dice": "0.1",
    "dice_low": "0.05",
    "dice_high": "0.2",
    "p_holm": "0.02",
    "seeds_better": "2",
    "seeds": "3",
    "hd95_mm": "-4",
    "hd95_mm_low": "-6.2",
    "hd95_mm_high": "1",
    "hd95_p_holm": "",
    "energy_kwh": "0.00025",
    "annotation_minutes": "-1",
    "verdict": "better",
}
CELL = {"key": "a", "energy_kwh": "0.002", "duration_s": "60"}
RUN = Run(
    facts={
        "title": "A run",
        "command": "brs experiment",
        "machine": "A machine.",
        "notes": [],
        "figures": [["curve.png", "A curve"]],
    },
    document={
        "engine": "torch-cpu-fp32",
        "missing": 0,
        "design": {"seeds": [0, 1, 2]},
    },
    rows=(ROW, ROW | {"strategy": "random", "energy_kwh": "0.0001"}),
    comparisons=(COMPARISON, COMPARISON | {"baseline": "stratified-random"}),
    cells=(CELL, CELL, CELL | {"key": "b"}),
)


def test_the_page_is_what_the_kept_studies_say() -> None:
    runs = [study_page.read(path) for path in sorted(STUDY.iterdir())]
    assert (ROOT / "docs" / "study.md").read_text() == study_page.page(runs)


def test_a_training_that_two_selections_share_is_counted_once() -> None:
    told = study_page.page([RUN])
    assert "2 trainings on `torch-cpu-fp32`: 2.0 minutes of training" in told
    assert "energy 4.0 Wh. A machine." in told


@pytest.mark.parametrize("missing", [0, 3])
def test_what_is_missing_or_unknown_is_said(missing: int) -> None:
    cells = (CELL, CELL | {"key": "b", "energy_kwh": "unknown"})
    document = RUN.document | {"missing": missing}
    told = study_page.page([replace(RUN, cells=cells, document=document)])
    assert ("2 of 5 trainings on" in told) == bool(missing)
    assert "energy unknown." in told


def test_a_row_is_the_paper_s_table_with_energy_and_minutes() -> None:
    told = study_page.page([RUN]).splitlines()
    measured = "0.500 (0.400 to 0.600) | 0.333 | 0.700 | 0.800 | 21.2 | 9.9"
    assert f"| 10% | hybrid | 5 | {measured} | unknown | 24 |" in told
    assert f"| 10% | random | 5 | {measured} | 0.10 | 24 |" in told
    assert "![A curve](images/curve.png)" in told


def test_every_baseline_has_its_differences_and_its_verdict() -> None:
    told = study_page.page([RUN]).splitlines()
    for baseline in ("random", "stratified-random"):
        assert (
            f"| 10% | hybrid | {baseline} | +0.100 (+0.050 to +0.200) | 0.020 | 2 of 3 "
            "| -4.0 (-6.2 to +1.0) |  | +0.25 | -1 | better |"
        ) in told


def test_few_seeds_are_cautioned_and_a_probability_is_never_zero() -> None:
    one = RUN.document | {"design": {"seeds": [0]}}
    sure = COMPARISON | {"p_holm": "0.0004"}
    told = study_page.page([replace(RUN, document=one, comparisons=(sure,))])
    assert "**Caution**: 1 seed: the luck of the training is not excluded." in told
    assert "| < 0.001 | 2 of 3 |" in told
    assert "Caution" not in study_page.page([RUN])
