"""Folds on a cluster: the weights and tables of one process, from files all see."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from calling import brs
from campaign import SESSIONS, Site, SmallFcn
from cases import filled_store

import model.network
from model.dataset import CaseStore, Fold
from model.engine import Engine
from model.errors import BrsError, CheckpointError
from model.parallel import Ranks
from model.progress import TrainConfig
from plugin.cluster import crew_at
from plugin.commands.training import _workers
from plugin.errors import ConfigError
from plugin.fold_crew import fit_at
from plugin.fold_fit import Elsewhere, Room, finished
from plugin.folder_archive import FolderArchive
from plugin.gather import Gathered
from plugin.train import TrainOptions, TrainOutcome, train_gathered

CASES = ("a", "b", "c", "d")
CONFIG = TrainConfig(
    grid_px=32, epochs=2, folds=2, learning_rate=0.02, deterministic=True
)
OPTIONS = TrainOptions(Engine("cpu", "fp32"), CONFIG)
TINY = (
    *("--grid", 32, "--epochs", 2, "--folds", 2, "--learning-rate", 0.02),
    *("--device", "cpu", "--precision", "fp32", "--deterministic"),
)


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


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    site = Site.at(tmp_path)
    site.image()
    site.draw(SESSIONS[:4])
    return site.archive.root


def made(command: str, archive: Path, output: Path, *more: object) -> dict[str, bytes]:
    """Train on a copy of the archive, so that no fold is found; return the results."""
    place = ("--archive", shutil.copytree(archive, output / "archive"))
    brs(command, *place, "--output", output, *TINY, *more)
    return results(output)


@pytest.mark.slow
def test_a_study_on_two_workers_is_that_of_one_process(tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    site.image()
    site.draw(SESSIONS[:7])
    study = (
        *(
            "experiment",
            "--archive",
            site.archive.root,
            "--features",
            "annotation",
            *TINY,
        ),
        *("--strategies", "random,bag", "--proportions", 0.7, "--test-share", 0.2),
    )
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    expected = brs(*study, "--output", alone)
    with crew_at("local:2") as crew:
        crew.everywhere(use_small, gpu=False)
        there = ("--output", shared, "--cluster", crew.client.scheduler.address)
        left = brs(*study, *there, "--plan")
        found = brs(*study, *there)
    assert left["trainings"] == expected["trainings"] > 1
    assert found | {"report": ""} == expected | {"report": ""}
    for name in ("scores.csv", "comparisons.csv"):
        assert (shared / name).read_bytes() == (alone / name).read_bytes()
    assert (alone / "scores.csv").read_text().count("\n") > 1


@pytest.mark.slow
def test_two_workers_train_the_folds_of_one_process(
    archive: Path, tmp_path: Path
) -> None:
    alone, shared = (tmp_path / name for name in ("alone", "shared"))
    start = ("--checkpoint", alone / "checkpoint.safetensors")
    here = (
        made("train", archive, alone),
        made("finetune", archive, alone / "t", *start),
    )
    with crew_at("local:2") as crew:
        crew.everywhere(use_small, gpu=False)
        workers = ("--cluster", crew.client.scheduler.address)
        there = (
            made("train", archive, shared, *workers),
            made("finetune", archive, shared / "t", *start, *workers),
        )
    assert there == here
    assert here[0] != here[1]
    carbon = (shared / "carbon.csv").read_text()
    assert carbon.count("unknown") >= CONFIG.folds, "workers share a processor"
    kept = shared / "archive/BRS/fold-1.safetensors"
    assert kept.read_bytes() == there[0]["fold-1.safetensors"]
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


def test_a_fold_whose_validation_cases_changed_is_trained_anew(
    store: CaseStore, tmp_path: Path
) -> None:
    room = Room(store, gathered(store), tmp_path, OPTIONS)
    fold = Fold(0, ("a", "b", "d"), ("c",))
    fit_at(room, None, fold)
    assert finished(fold, room) is not None
    infos = [
        replace(info, source_key="drawn again") if info.case_id == "c" else info
        for info in room.gathered.infos
    ]
    changed = replace(room, gathered=replace(room.gathered, infos=tuple(infos)))
    assert finished(fold, changed) is None


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
