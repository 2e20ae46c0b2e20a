"""Wrong inputs, each as DICOM on disk: refused, or sent to a person; none published.

The mask is taken to be faultless, so that the pair and the body's shape alone decide.
"""

from pathlib import Path

import pytest

from benchmarks.refusals import Outcome, kinds_table, outcome, packages_table
from benchmarks.wrong_inputs import KINDS, draw_case
from model.phantom import PhantomCase

REFUSED = {
    *("sagittal", "coronal", "CT", "PET", "T2-weighted", "post-contrast only"),
    *("subtraction, labelled", "MIP, labelled", "screenshot"),
}
CONTROL = "right examination (control)"


@pytest.fixture(scope="module")
def case() -> PhantomCase:
    return draw_case(slices=24, matrix_px=96)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_no_wrong_input_is_published(
    name: str, case: PhantomCase, tmp_path: Path
) -> None:
    session = tmp_path / "archive" / "S"
    session.mkdir(parents=True)
    KINDS[name](case, session)
    found = outcome(session, tmp_path / "work", None)
    expected = "publish" if name == CONTROL else "review"
    assert found.verdict == ("refused" if name in REFUSED else expected), found


def test_the_tables_show_every_outcome() -> None:
    refused = Outcome("refused", "no series: series 1 | axial")
    rows = [("sagittal", refused), ("control", Outcome("publish", ""))]
    assert kinds_table(rows)[2:] == [
        "| sagittal | refused | no series |",
        "| control | publish |  |",
    ]
    assert packages_table(rows)[2:] == [
        "| control | 0 | 0 | 0 | 1 |",
        "| sagittal | 1 | 0 | 0 | 0 |",
    ]
