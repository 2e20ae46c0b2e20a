"""Wrong inputs, each as DICOM on disk: refused, or sent to a person; none published.

The mask is taken to be faultless, so that the pair and the body's shape alone decide.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from highdicom import Volume
from scipy.ndimage import maximum_filter1d

from benchmarks.refusals import Outcome, kinds_table, outcome, packages_table
from benchmarks.wrong_inputs import KINDS, draw_case
from model.phantom import PhantomCase, draw_patient, draw_site, make_case
from plugin.drawing import repeated_share

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


def repeated(pre: Volume, mask: Volume) -> float:
    session: Any = SimpleNamespace(pre=pre)
    share = repeated_share(session, mask)
    assert share is not None
    return share


def test_a_projection_repeats_values_as_no_examination_does() -> None:
    native, projected = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        site = draw_site(rng, slices=24, matrix_px=96)
        case = make_case(draw_patient(rng), site, seed=seed)
        pre = case.phases[0]
        mask = pre.with_array((case.right | case.left).astype(np.uint8))
        slab = pre.with_array(maximum_filter1d(pre.array, 3, axis=0))
        native.append(repeated(pre, mask))
        projected.append(repeated(slab, mask))
    assert max(native) < 0.05
    assert min(projected) > 0.3


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
