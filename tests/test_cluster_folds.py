"""Folds on a cluster: the weights and tables of one process, from files all see."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from campaign import SmallFcn
from cases import filled_store

import model.network
from model.checkpoint import read_checkpoint
from model.dataset import CaseStore, Fold
from model.engine import Engine
from model.errors import BrsError, CheckpointError
from model.parallel import Ranks
from model.progress import TrainConfig
from plugin.cluster import crew_at
from plugin.commands.training import _workers
from plugin.errors import ConfigError
from plugin.fold_crew import fit_at, fitted_by
from plugin.fold_fit import Elsewhere, Room
from plugin.folder_archive import FolderArchive
from plugin.gather import Gathered
from plugin.train import TrainOptions, TrainOutcome, train_gathered

CASES = ("a", "b", "c", "d")
CONFIG = TrainConfig(
    grid_px=32, epochs=2, folds=2, learning_rate=0.02, deterministic=True
)
OPTIONS = TrainOptions(Engine("cpu", "fp32"), CONFIG)


def use_small() -> None:
    """Put a network that trains in moments in the place of the real one."""
    model.network.__dict__["fcn_resnet50"] = lambda **_: SmallFcn()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.network.fcn_resnet50", lambda **_: SmallFcn())


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    return filled_store(tmp_path / "cases", CASES)


def gathered(store: CaseStore) -> Gathered:
    return Gathered(tuple(store.info(name) for name in CASES), {}, {})


def train(folder: Path, store: CaseStore, options: TrainOptions) -> TrainOutcome:
    """Train with an archive of its own, so that no fold is found in another's."""
    (folder / "archive").mkdir(parents=True, exist_ok=True)
    archive = FolderArchive(folder / "archive")
    return train_gathered(archive, folder, store, gathered(store), options)


def results(folder: Path) -> dict[str, bytes]:
    """Return every file that does not depend on the clock."""
    exact = ("*.safetensors", "metrics.csv", "validation-*/*.csv")
    found = [path for name in exact for path in folder.glob(name)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.slow
def test_two_workers_train_the_folds_of_one_process(
    store: CaseStore, tmp_path: Path
) -> None:
    alone, shared, tuned = (tmp_path / name for name in ("alone", "shared", "tuned"))
    start = train(alone, store, OPTIONS).checkpoint
    finetuning = replace(OPTIONS, start=read_checkpoint(start))
    train(tuned / "alone", store, finetuning)
    with crew_at("local:2") as crew:
        crew.everywhere(use_small, gpu=False)
        scratch = replace(OPTIONS, elsewhere=fitted_by(crew, None))
        found = train(shared, store, scratch)
        there = replace(finetuning, elsewhere=fitted_by(crew, start))
        train(tuned / "shared", store, there)
    assert results(shared) == results(alone)
    assert results(tuned / "shared") == results(tuned / "alone")
    assert results(tuned / "shared") != results(shared)
    assert {fold.footprint.energy_kwh for fold in found.folds} == {None}
    kept = FolderArchive(shared / "archive")
    assert (
        kept.read(None, "fold-1.safetensors") == results(shared)["fold-1.safetensors"]
    )
    assert not (shared / "fold-0").exists()


def test_only_folds_that_are_not_finished_go_to_workers(
    store: CaseStore, tmp_path: Path
) -> None:
    sent: list[int] = []

    def noted(room: Room, folds: list[Fold]) -> Iterator[tuple[Fold, BrsError | None]]:
        sent.extend(fold.number for fold in folds)
        for fold in folds:
            fit_at(room, None, fold)
            yield fold, None

    elsewhere: Elsewhere = noted  # type: ignore[assignment]
    train(tmp_path / "one", store, replace(OPTIONS, only_fold=0))
    train(tmp_path / "one", store, replace(OPTIONS, elsewhere=elsewhere))
    assert sent == [1]


def test_other_weights_on_a_worker_are_refused(
    store: CaseStore, tmp_path: Path
) -> None:
    once = replace(OPTIONS, only_fold=0, config=replace(CONFIG, epochs=1))
    weights = train(tmp_path / "one", store, once).checkpoint
    room = Room(store, gathered(store), tmp_path, OPTIONS)
    with pytest.raises(CheckpointError, match="other weights on a worker"):
        fit_at(room, (weights, "0" * 64), Fold(0, ("a",), ("b",)))


def test_torchrun_and_a_cluster_exclude_each_other() -> None:
    with (
        pytest.raises(ConfigError, match="one of 2 processes of torchrun"),
        _workers({"cluster": "local:2"}, Ranks(0, 2)),
    ):
        pass
