"""Which checkpoint a command uses, and what a build without a default one says."""

import json
from pathlib import Path
from typing import Any

import pytest
from calling import brs
from click.testing import CliRunner
from sessions import annotate, archive_with, untrained_checkpoint

from model.checkpoint import Checkpoint, read_checkpoint, write_packed
from plugin import weights
from plugin.cli import cli
from plugin.demo import DemoOptions
from plugin.errors import ConfigError
from plugin.folder_archive import FolderArchive
from plugin.pipeline import Segmenter
from plugin.weights import (
    CHECKPOINT_FILE,
    find_weights,
    packaged_weights,
    require_weights,
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a packed checkpoint that calls every pixel breast."""
    path = tmp_path_factory.mktemp("package") / "default.safetensors"
    made = untrained_checkpoint()
    write_packed(made.network, made.manifest, path)
    return path


@pytest.fixture
def default(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the default checkpoint of a build that has one."""
    monkeypatch.setattr(weights, "packaged_weights", lambda: packed)
    return packed


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this a build without a default checkpoint."""
    monkeypatch.setattr(weights, "packaged_weights", lambda: None)


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    return archive_with(tmp_path / "archive", "a", "b")


def keep(archive: FolderArchive, name: str) -> None:
    archive.write(None, f"{name}.safetensors", b"weights")
    archive.write(None, f"{name}.json", b"manifest")


def test_the_packaged_checkpoint_is_whole_and_small_enough() -> None:
    path = packaged_weights()
    if path is None:
        pytest.skip("this source tree has no default checkpoint yet")
    manifest = read_checkpoint(path).manifest
    assert manifest.packed_sha256
    assert path.stat().st_size <= 35e6


def test_the_projects_own_checkpoint_comes_before_the_default(
    archive: FolderArchive, default: Path, tmp_path: Path
) -> None:
    assert find_weights(None, archive, tmp_path) == default
    assert find_weights("", None, tmp_path) == default
    keep(archive, "checkpoint")
    own = tmp_path / "weights" / CHECKPOINT_FILE
    assert find_weights(None, archive, tmp_path) == own
    assert own.read_bytes() == b"weights"
    assert own.with_suffix(".json").read_bytes() == b"manifest"


def test_a_name_or_a_file_replaces_both(
    archive: FolderArchive, default: Path, tmp_path: Path
) -> None:
    keep(archive, "checkpoint")
    keep(archive, "older")
    older = tmp_path / "weights" / "older.safetensors"
    assert find_weights("older.safetensors", archive, tmp_path) == older
    assert find_weights("default", archive, tmp_path) == default
    assert find_weights(str(older), None, tmp_path) == older
    assert find_weights("none", archive, tmp_path) is None


@pytest.mark.parametrize("given", ["default", "other.safetensors", "nonsense"])
def test_weights_that_are_not_there_are_never_replaced(
    given: str, archive: FolderArchive, no_default: None, tmp_path: Path
) -> None:
    keep(archive, "checkpoint")
    with pytest.raises(ConfigError, match=r"--checkpoint: found"):
        find_weights(given, archive, tmp_path)


def test_half_a_checkpoint_in_the_project_is_no_reason_for_the_default(
    archive: FolderArchive, default: Path, tmp_path: Path
) -> None:
    archive.write(None, CHECKPOINT_FILE, b"weights")
    with pytest.raises(ConfigError, match="without its other half"):
        find_weights(None, archive, tmp_path)


def test_a_mask_needs_a_network(default: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found 'none'"):
        require_weights("none", None, tmp_path)


def on_cpu(*arguments: object) -> dict[str, Any]:
    return brs(*arguments, "--device", "cpu", "--precision", "fp32")


@pytest.mark.parametrize("command", ["segment", "finetune"])
def test_a_build_without_a_default_says_so(
    command: str, archive: FolderArchive, no_default: None, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="a build without a default checkpoint"):
        on_cpu(command, "--archive", archive.root, "--output", tmp_path / "out")


def test_segmenting_uses_the_default(
    archive: FolderArchive, default: Path, tmp_path: Path
) -> None:
    result = on_cpu(
        *("segment", "--archive", archive.root, "--output", tmp_path / "out"),
        *("--session", "a"),
    )
    assert result["segmented"] == 1
    record = json.loads((archive.root / "a" / "BRS" / "result.json").read_text())
    used = record["algorithm"]["weights_sha256"]
    assert used == read_checkpoint(default).manifest.weights_sha256


@pytest.mark.slow
def test_the_demo_starts_with_the_default_or_with_none(
    default: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Segmenter | None, Checkpoint | None]] = []

    def run(
        output: Path,
        options: DemoOptions,
        drawing: Segmenter | None,
        start: Checkpoint | None,
    ) -> object:
        given.append((drawing, start))
        return {"cases": options.cases}

    monkeypatch.setattr("plugin.demo.run_demo", run)
    for words in ((), ("--checkpoint", "none")):
        made = CliRunner().invoke(cli, ["demo", "--output", str(tmp_path), *words])
        assert made.exit_code == 0, made.output
    (drawing, start), without = given
    assert without == (None, None)
    read = read_checkpoint(default).manifest.weights_sha256
    assert drawing is not None
    assert drawing.checkpoint.manifest.weights_sha256 == read
    assert start is not None
    assert start.manifest.weights_sha256 == read


def test_finetuning_starts_from_the_default_on_its_grid(
    archive: FolderArchive, default: Path, tmp_path: Path
) -> None:
    annotate(archive, "a", "b")
    result = on_cpu(
        *("finetune", "--archive", archive.root, "--output", tmp_path / "out"),
        *("--epochs", 1, "--fold", 0),
    )
    manifest = json.loads((tmp_path / "out" / "checkpoint.json").read_text())
    parent = read_checkpoint(default).manifest
    assert manifest["parent_sha256"] == parent.weights_sha256
    assert manifest["grid_px"] == parent.grid_px == 32
    assert manifest["packed_sha256"] == ""
    assert result["cases"] == 2
