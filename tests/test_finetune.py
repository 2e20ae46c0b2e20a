"""Fine-tuning: the same start gives the same result once; a result is gone on from."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from sessions import annotate, archive_with, write_pair
from torch import Tensor, nn
from torch.nn.functional import interpolate

from model.carbon import as_footprint
from model.checkpoint import Checkpoint, Manifest, read_checkpoint
from model.engine import Engine
from model.errors import LeakageError
from model.progress import TrainConfig
from plugin.train import TrainOptions, train_archive
from plugin.weights import CHECKPOINT_FILE, require_weights

CONFIG = TrainConfig(grid_px=32, epochs=1, folds=2)
OPTIONS = TrainOptions(Engine("cpu", "fp32"), CONFIG, only_fold=0)


class Small(nn.Module):
    """Stands for FCN-ResNet50: the same signature, milliseconds per epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.head = nn.Conv2d(64, 1, 1)

    def forward(self, slices: Tensor) -> dict[str, Tensor]:
        stem = cast(nn.Module, self.backbone.conv1)
        logits = self.head(stem(slices))
        return {"out": interpolate(logits, slices.shape[-2:])}


class Project:
    """An archive of two annotated sessions, and trainings of it in new containers."""

    def __init__(self, folder: Path) -> None:
        self.archive = archive_with(folder / "archive", "a", "b")
        annotate(self.archive, "a", "b")
        self.folders: Iterator[Path] = (folder / str(n) for n in range(99))

    def train(self, options: TrainOptions = OPTIONS) -> Manifest:
        folder = next(self.folders)
        outcome = train_archive(self.archive, folder, folder / "work", options)
        return outcome.folds[0].manifest

    def own(self) -> Checkpoint:
        """Return the project's own checkpoint, as a new container finds it."""
        weights = require_weights(CHECKPOINT_FILE, self.archive, next(self.folders))
        return read_checkpoint(weights)

    def reports(self) -> list[str]:
        found = self.archive.root.parent.glob("*/report.html")
        return [path.read_text() for path in found]

    def finetune(self, start: Checkpoint) -> Manifest:
        return self.train(replace(OPTIONS, start=start))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr("model.network.fcn_resnet50", lambda **_: Small())
    return Project(tmp_path)


def test_the_same_finetuning_happens_once(project: Project) -> None:
    project.train()
    start = project.own()
    tuned, again = project.finetune(start), project.finetune(start)
    assert tuned.parent_sha256 == start.manifest.weights_sha256
    assert again.weights_sha256 == tuned.weights_sha256
    assert as_footprint(again.footprint) == as_footprint(tuned.footprint)


def test_from_its_result_it_goes_on(project: Project) -> None:
    project.train()
    tuned = project.finetune(project.own())
    assert project.finetune(project.own()).parent_sha256 == tuned.weights_sha256


def test_a_training_from_scratch_is_not_taken_for_a_finetuning(
    project: Project,
) -> None:
    first = project.train()
    project.finetune(project.own())
    again = project.train()
    assert (again.parent_sha256, first.parent_sha256) == ("", "")


def test_validation_on_what_the_start_learned_from_is_said(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    first = project.train()
    same = project.finetune(project.own())
    assert (same.metrics["validation_seen"], caplog.messages) == (0, [])
    other = project.train(replace(OPTIONS, start=project.own(), only_fold=1))
    assert other.metrics["validation_seen"] == 1
    assert other.learned_before == first.training_cases
    assert len(other.learned) == 2
    assert "fold 1: 1 of 1 validation cases were learned from" in caplog.text
    (page,) = (p for p in project.reports() if "In fold 1 the checkpoint" in p)
    assert "validation Dice is too high there." in page


def test_a_fold_with_another_validation_case_is_of_another_training(
    project: Project,
) -> None:
    first, again = project.train(), project.train()
    assert again.cases_sha256 == first.cases_sha256
    write_pair(project.archive.root / "c", patient="PLANTED-ID-c", brighter=9)
    annotate(project.archive, "c")
    assert project.train().cases_sha256 != first.cases_sha256


def test_a_planted_twin_ends_a_training_before_its_first_fold(project: Project) -> None:
    write_pair(project.archive.root / "twin", patient="PLANTED-ID-TWIN")
    annotate(project.archive, "twin")
    with pytest.raises(LeakageError, match="a and twin; needed"):
        project.train()
    assert project.archive.read(None, "fold-0.json") is None
