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
    "hd95_mm": "9.87",
    "energy_kwh": "unknown",
    "annotation_minutes": "24",
}
COMPARISON = ROW | {
    "baseline": "random",
    "p_holm": "0.02",
    "verdict": "better",
    "dice": "0.1",
    "dice_low": "0.05",
    "dice_high": "0.2",
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
    document={"engine": "torch-cpu-fp32", "missing": 0},
    rows=(ROW, ROW | {"strategy": "random", "energy_kwh": "0.0001"}),
    comparisons=(
        COMPARISON | {"baseline": "stratified-random", "verdict": "?"},
        COMPARISON,
    ),
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


def test_each_row_has_its_difference_from_random() -> None:
    told = study_page.page([RUN]).splitlines()
    assert (
        "| 10% | hybrid | 5 | 0.500 (0.400 to 0.600) | 9.9 | unknown | 24 "
        "| +0.100 (+0.050 to +0.200) | 0.020 | better |"
    ) in told
    assert any(
        line.endswith(
            "| random | 5 | 0.500 (0.400 to 0.600) | 9.9 | 0.10 | 24 |  |  |  |"
        )
        for line in told
    )
    assert "![A curve](images/curve.png)" in told


def test_a_probability_is_never_zero() -> None:
    for p_holm, told in (("0.0004", "< 0.001"), ("0.001", "0.001"), ("", "")):
        sure = COMPARISON | {"p_holm": p_holm}
        page = study_page.page([replace(RUN, comparisons=(sure,))])
        assert f"(+0.050 to +0.200) | {told} | better |" in page
