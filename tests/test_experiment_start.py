"""A study whose trainings begin with a checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from calling import brs
from safetensors.torch import load_file
from sessions import annotate, archive_with, untrained_checkpoint

from model.checkpoint import read_checkpoint, write_checkpoint
from model.dataset import CaseStore
from model.errors import CheckpointError, LeakageError
from model.study_files import Document
from plugin.beginning import beginning_at
from plugin.errors import ConfigError
from plugin.folder_archive import FolderArchive

SESSIONS = tuple("abcde")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> FolderArchive:
    made = archive_with(tmp_path_factory.mktemp("archive"), *SESSIONS)
    annotate(made, *SESSIONS)
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = untrained_checkpoint(seed=3)
    path = tmp_path_factory.mktemp("weights") / "made.safetensors"
    write_checkpoint(made.network, made.manifest, path)
    return path


def study(archive: FolderArchive, output: Path, *more: object) -> None:
    brs(
        *("experiment", "--archive", archive.root, "--output", output),
        *("--strategies", "random", "--proportions", 0.99, "--fold", 0),
        *("--epochs", 1, "--test-share", 0, "--features", "annotation"),
        *("--device", "cpu", "--learning-rate", 1e-9, *more),
    )


@pytest.mark.slow
def test_every_training_begins_with_the_checkpoint(
    archive: FolderArchive, weights: Path, tmp_path: Path
) -> None:
    study(archive, tmp_path, "--checkpoint", weights)
    document = Document.from_json((tmp_path / "experiment.json").read_text())
    begun = read_checkpoint(weights)
    assert document.design.weights_sha256 == begun.manifest.weights_sha256
    assert document.design.config.grid_px == begun.manifest.grid_px
    (cell,) = document.cells
    trained = load_file(tmp_path / "cells" / cell / "weights.safetensors")
    for name, parameter in begun.network.named_parameters():
        assert torch.allclose(trained[name], parameter, atol=1e-6), name
    assert begun.manifest.weights_sha256[:12] in (tmp_path / "report.html").read_text()
    with pytest.raises(ConfigError, match="weights to begin with: none"):
        study(archive, tmp_path, "--replay", tmp_path / "experiment.json")


def test_weights_that_know_a_case_are_refused(
    archive: FolderArchive, weights: Path, tmp_path: Path
) -> None:
    plan = ("--plan", "--grid", 32)
    study(archive, tmp_path, *plan)
    key = CaseStore(tmp_path / "work" / "cases-32").info("c").source_key
    found = read_checkpoint(weights)
    knowing = replace(found.manifest, training_cases=(key,))
    path = tmp_path / "knowing.safetensors"
    write_checkpoint(found.network, knowing, path)
    with pytest.raises(LeakageError, match="learned from tested patients: c"):
        study(archive, tmp_path, *plan, "--checkpoint", path)


def test_other_weights_at_the_same_place_are_refused(
    weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "moved.safetensors"
    for number in (3, 4):
        made = untrained_checkpoint(seed=number)
        write_checkpoint(made.network, made.manifest, path)
        if number == 3:
            start = beginning_at(path)
    with pytest.raises(CheckpointError, match="other weights on a worker"):
        start(0)
