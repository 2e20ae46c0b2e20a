"""Thirty studies, twelve kills, every other fault once: nothing lost, none twice."""

from itertools import count
from pathlib import Path

import pytest
from service import small_study
from soak_findings import Findings
from soaking import Size, soaked

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SIZE = Size(studies=30, kills=12, seed=7, limit_s=400)
INSTANCES = 2 * 3
"""Of a study: two series of three slices."""


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Findings:
    folder = tmp_path_factory.mktemp("soak")
    coming = (small_study(folder / "sent", f"study {number}") for number in count())
    return soaked(folder, checkpoint, coming, SIZE)


def test_the_faults_have_struck(findings: Findings) -> None:
    assert sum(findings.kills.values()) == SIZE.kills
    assert findings.refused > 0


def test_no_accepted_instance_is_lost(findings: Findings) -> None:
    assert findings.lost == ()
    assert findings.studies >= SIZE.studies
    assert findings.accepted == findings.studies * INSTANCES


def test_no_mask_is_stored_twice_and_every_one_has_arrived(findings: Findings) -> None:
    assert findings.twice == ()
    assert findings.undelivered == ()
    assert findings.masks == findings.studies


def test_every_failure_has_its_cause(findings: Findings) -> None:
    assert findings.uncaused == ()
    expected = {"unreachable", "c-store-a700", "c-store-a900", "worker-ended"}
    assert expected <= findings.causes.keys()
    assert "journal-damaged" in findings.causes
