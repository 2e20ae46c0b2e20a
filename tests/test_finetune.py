"""Fine-tuning an archive's own checkpoint: from it, once, and on if asked."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from sessions import annotate, archive_with
from torch import Tensor, nn
from torch.nn.functional import interpolate

from model.checkpoint import Manifest, read_checkpoint
from model.engine import Engine
from model.progress import TrainConfig
from model.train import as_footprint
from plugin.train import TrainOptions, train_archive
from plugin.weights import require_weights

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

    def finetune(self, *, name: str | None = None, seed: int = 0) -> Manifest:
        start = read_checkpoint(require_weights(name, self.archive, next(self.folders)))
        config, once = replace(CONFIG, seed=seed), name is None
        return self.train(replace(OPTIONS, config=config, start=start, once=once))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr("model.network.fcn_resnet50", lambda **_: Small())
    return Project(tmp_path)


def test_the_same_finetuning_happens_once(project: Project) -> None:
    first = project.train()
    tuned = project.finetune()
    assert tuned.parent_sha256 == first.weights_sha256
    again = project.finetune()
    assert again.weights_sha256 == tuned.weights_sha256
    assert as_footprint(again.footprint) == as_footprint(tuned.footprint)


def test_another_setting_or_a_name_goes_on_from_the_result(project: Project) -> None:
    project.train()
    tuned = project.finetune()
    other = project.finetune(seed=1)
    assert other.parent_sha256 == tuned.weights_sha256
    named = project.finetune(seed=1, name="checkpoint.safetensors")
    assert named.parent_sha256 == other.weights_sha256


def test_a_training_from_scratch_is_not_taken_for_a_finetuning(
    project: Project,
) -> None:
    first = project.train()
    project.finetune()
    again = project.train()
    assert (again.parent_sha256, first.parent_sha256) == ("", "")
