"""Pretraining from end to end: what it leaves, how it goes on, what ends it."""

import csv
import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from test_pretraining_loop import SMALL, tiny_network

from model.checkpoint import read_manifest
from model.engine import Engine
from model.errors import TrainingError
from model.pretraining import loop
from model.pretraining.bank import Bank
from model.pretraining.recipe import Limits
from model.trace import PowerMeter
from plugin import pretrain
from plugin.pretrain import PretrainOptions, PretrainOutcome, run_pretraining

RECIPE = replace(SMALL, seed=5)
JOULES = 3.6e4
GRAMS = JOULES / 3.6e6 * 475
"""What every reading of the meter adds: a hundredth of a kWh."""


@dataclass
class Counter:
    """A processor that uses the same energy between any two readings."""

    used_j: float = 0.0
    device: str = "package-0"
    source: str = "rapl"

    def power_w(self) -> float | None:
        return 100.0

    def energy_j(self) -> float | None:
        self.used_j += JOULES
        return self.used_j

    def processes(self) -> int | None:
        return None


@pytest.fixture
def options(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PretrainOptions:
    """Return a pretraining of a small network on a patient who is painted already."""
    monkeypatch.setattr(loop, "new_network", lambda **_: tiny_network())
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "bank").symlink_to(bank.folder)
    return PretrainOptions(
        output=tmp_path / "out",
        work=tmp_path / "work",
        engine=Engine("cpu", "fp32"),
        recipe=RECIPE,
        limits=Limits(steps=2),
        workers=0,
    )


def run_with(
    options: PretrainOptions, monkeypatch: pytest.MonkeyPatch, *meters: PowerMeter
) -> PretrainOutcome:
    monkeypatch.setattr(pretrain, "find_meters", lambda **_: meters)
    return run_pretraining(options)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_pretraining_leaves_weights_with_their_story_and_goes_on(
    options: PretrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOGGED_STEPS", 1)
    assert run_with(options, monkeypatch, Counter()).spent.steps == 2
    other = replace(RECIPE, annotation=replace(RECIPE.annotation, muscle_mm=1.5))
    longer = replace(options, recipe=other, limits=Limits(steps=3))
    second = run_with(longer, monkeypatch, Counter())
    manifest = read_manifest(second.checkpoint)
    assert manifest.metrics["steps"] == 3
    assert manifest.config["recipe"] == json.loads(json.dumps(other.record()))
    assert manifest.config["limits"]["steps"] == 3
    row, _ = table(options.output / "carbon.csv")
    assert (row["fold"], row["devices"]) == ("pretraining", "package-0")
    history = table(options.output / "history.csv")
    assert [line["step"] for line in history] == ["1", "2", "3"]
    emitted = [0.0, *(float(line["emitted_g"]) for line in history)]
    assert min(b - a for a, b in pairwise(emitted)) >= 0.99 * GRAMS
    assert float(row["cfp_kg"]) >= manifest.footprint["cfp_kg"] > emitted[-1] / 1000


def test_a_budget_of_carbon_ends_it_early(
    options: PretrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(steps=50, carbon_g=8 * GRAMS)
    spent = run_with(replace(options, limits=limits), monkeypatch, Counter()).spent
    # every step reads the meter at least once
    assert 1 <= spent.steps <= 8
    assert spent.carbon_g is not None
    assert spent.carbon_g >= 8 * GRAMS


def test_without_a_meter_the_footprint_is_unknown_and_no_budget(
    options: PretrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run_with(options, monkeypatch)
    assert outcome.spent.carbon_g is None
    assert "unknown" in (options.output / "carbon.csv").read_text()
    limits = Limits(carbon_g=1.0)
    with pytest.raises(TrainingError, match="cannot be measured"):
        run_with(replace(options, limits=limits), monkeypatch)
