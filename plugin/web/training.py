"""Folds, carbon footprint and rounds in an archive's project, as far as they are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from model.carbon import add, as_footprint
from plugin.archive import Archive
from plugin.reports.page import Fact, Table
from plugin.reports.training import (
    TrainedFold,
    cost_facts,
    footprint_chart,
    learning_section,
    read_history,
    training_verdict,
)
from plugin.web.drawn import Drawn, draw
from plugin.web.records import mapping, number, text, texts
from plugin.web.rounds import Round, recorded_rounds

FOLDS: Final = 5
"""The paper's; a manifest says how many its training has."""
MOST_FOLDS: Final = 20
UNMEASURED: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Training:
    """What a training has left in the project so far."""

    headline: str
    done: int
    expected: int
    trainings: int
    """Different settings among the folds; more than 1: folds of several trainings."""
    table: Table | None
    charts: tuple[Drawn, ...]
    costs: Sequence[Fact]
    checkpoint: Sequence[Fact]
    rounds: tuple[Round, ...]


@dataclass(frozen=True, slots=True)
class _Fold:
    """A finished fold: its manifest and its curve."""

    manifest: Mapping[str, Any]
    trained: TrainedFold


def read_training(archive: Archive) -> Training:
    """Return the folds, the checkpoint and the rounds that the project holds."""
    folds, expected = _folds(archive)
    trained = [fold.trained for fold in folds]
    learning = learning_section(trained)
    charts = [*learning.charts] if trained else []
    if len(trained) > 1:
        charts.append(footprint_chart({f.name: f.footprint for f in trained}))
    return Training(
        headline=_headline(trained, expected),
        done=len(trained),
        expected=expected,
        trainings=len({_settings(fold.manifest) for fold in folds}),
        table=learning.table,
        charts=draw(charts, "training-"),
        costs=cost_facts(add([f.footprint for f in trained])) if trained else (),
        checkpoint=_checkpoint(_json(archive.read(None, "checkpoint.json"))),
        rounds=recorded_rounds(archive),
    )


def _headline(folds: Sequence[TrainedFold], expected: int) -> str:
    if not folds:
        return "No fold has been trained yet."
    if len(folds) < expected:
        return f"{len(folds)} of {expected} folds are trained."
    return training_verdict(folds)


def _folds(archive: Archive) -> tuple[list[_Fold], int]:
    """Return the finished folds, and how many their training has."""
    found: list[_Fold] = []
    expected = FOLDS
    at = 0
    while at < expected:
        fold = _fold(archive, at)
        if fold is not None:
            found.append(fold)
            told = number(mapping(fold.manifest.get("config")).get("folds"))
            expected = min(MOST_FOLDS, int(told)) if told else expected
        at += 1
    return found, expected


def _fold(archive: Archive, at: int) -> _Fold | None:
    manifest = _json(archive.read(None, f"fold-{at}.json"))
    history = archive.read(None, f"fold-{at}.history.csv")
    if not manifest or history is None:
        return None
    footprint = as_footprint(mapping(manifest.get("footprint")))
    epochs = read_history(history.decode().splitlines())
    return _Fold(manifest, TrainedFold(str(at), epochs, footprint))


def _settings(manifest: Mapping[str, Any]) -> str:
    told = [
        manifest.get(name)
        for name in ("config", "cases_sha256", "parent_sha256", "engine")
    ]
    return json.dumps(told, sort_keys=True)


def _checkpoint(manifest: Mapping[str, Any]) -> Sequence[Fact]:
    """Return what the deployable checkpoint says of itself."""
    if not manifest:
        return ()
    metrics = mapping(manifest.get("metrics"))
    dice = number(metrics.get("validation_dice"))
    sha = text(manifest.get("weights_sha256")) or UNMEASURED
    return (
        Fact("Validation Dice", UNMEASURED if dice is None else f"{dice:.3f}"),
        Fact("Fold", str(manifest.get("fold", UNMEASURED)), "the best by validation"),
        Fact("Training cases", str(len(texts(manifest.get("training_cases"))))),
        Fact("Stopped by", str(metrics.get("stopped_by", UNMEASURED))),
        Fact("Weights", sha[:12], f"brs {manifest.get('package_version')}"),
    )


def _json(data: bytes | None) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(data or b"{}"))
    except ValueError:
        return {}
