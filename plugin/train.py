"""Train over an archive's annotated sessions: folds, checkpoints, carbon log."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.carbon import Footprint, add, as_footprint, write_carbon_csv
from model.dataset import CaseStore, Fold, patient_folds
from model.hold import held
from model.leakage import check_apart, members
from plugin.archive import Archive
from plugin.fold_fit import Elsewhere, Room, finished, fit_fold
from plugin.fold_fit import TrainOptions as TrainOptions
from plugin.fold_store import keep_files, keep_fold, recall_fold
from plugin.fold_tables import (
    FoldOutcome,
    write_tables,
)
from plugin.fold_tables import (
    trained_folds as trained_folds,
)
from plugin.gather import Gathered, gather
from plugin.ranks import announce
from plugin.weights import CHECKPOINT_FILE

DEPLOYED = (CHECKPOINT_FILE, "checkpoint.json")
TABLES = ("carbon.csv", "devices.csv", "history.csv", "metrics.csv")
"""What a training leaves in the archive's project resource, beside its folds."""


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """All folds, the deployable checkpoint (best by validation), and the total."""

    folds: tuple[FoldOutcome, ...]
    checkpoint: Path
    footprint: Footprint
    gathered: Gathered
    pushed: bool
    """Everything reached the archive; what did not is in the output folder."""

    @property
    def best(self) -> FoldOutcome:
        """The fold best by its own validation."""
        return _best(self.folds)


def train_archive(
    archive: Archive, output: Path, work: Path, options: TrainOptions
) -> TrainOutcome:
    """Train the folds of an archive's annotated cases and keep the results in it.

    Writes ``fold-K.safetensors`` with its manifest for every fold, and
    ``checkpoint.safetensors`` (the fold best by validation), ``history.csv``,
    ``metrics.csv``, ``carbon.csv``, ``fold-K.power.csv`` and ``report.html``. A
    finished fold is not trained again; an unfinished one continues after its last
    whole epoch.
    """
    archive.prepare(None)
    store = case_store(work, options)
    gathered = gather(
        archive, store, work, grid_px=options.config.grid_px, rules=options.rules
    )
    return train_gathered(archive, output, store, gathered, options)


def case_store(work: Path, options: TrainOptions) -> CaseStore:
    """Return where a training's cases lie under ``work``."""
    return CaseStore(work / f"cases-{options.config.grid_px}")


def train_gathered(
    archive: Archive,
    output: Path,
    store: CaseStore,
    gathered: Gathered,
    options: TrainOptions,
) -> TrainOutcome:
    """Train on cases that are in the store already; else as ``train_archive``.

    Raises
    ------
    LeakageError
        If two patients have the same images: a fold would validate on what it learns.
    """
    check_apart(members(gathered.infos, store))
    patients = {info.case_id: info.patient_key for info in gathered.infos}
    folds = patient_folds(
        patients, folds=options.config.folds, seed=options.config.seed
    )
    wanted = [f for f in folds if options.only_fold in (None, f.number)]
    room = Room(store, gathered, output, options)
    if options.elsewhere is not None:
        _fit_elsewhere(archive, wanted, room, options.elsewhere)
    outcomes = [_fold_outcome(archive, fold, room) for fold in wanted]
    announce(None, options.ranks)
    return _conclude(archive, outcomes, room)


def _fit_elsewhere(
    archive: Archive, wanted: Sequence[Fold], room: Room, each: Elsewhere
) -> None:
    """Have every fold fitted that is neither here nor in the archive; keep each."""
    for fold in wanted:
        recall_fold(archive, room.path(fold))
    missing = [fold for fold in wanted if finished(fold, room) is None]
    for fold, answer in each(room, missing):
        if answer is not None:
            raise answer
        keep_fold(archive, room.path(fold))


def _fold_outcome(archive: Archive, fold: Fold, room: Room) -> FoldOutcome:
    """Return the fold's outcome, trained now unless it was here or elsewhere."""
    path, folder = room.path(fold), room.folder(fold)
    recall_fold(archive, path)
    manifest = finished(fold, room)
    if manifest is None:
        with held(folder / "lock", wait=False):
            manifest = fit_fold(fold, room)
    keep_fold(archive, path)
    shutil.rmtree(folder, ignore_errors=True)
    return FoldOutcome(fold, path, manifest, as_footprint(manifest.footprint))


def _conclude(
    archive: Archive, outcomes: Sequence[FoldOutcome], room: Room
) -> TrainOutcome:
    """Choose the deployable fold, write the tables, keep both in the archive."""
    best = _best(outcomes)
    deployable = room.output / CHECKPOINT_FILE
    for suffix in (".safetensors", ".json"):
        shutil.copyfile(
            best.checkpoint.with_suffix(suffix), deployable.with_suffix(suffix)
        )
    write_carbon_csv(
        room.output / "carbon.csv",
        {str(o.fold.number): o.footprint for o in outcomes},
    )
    write_tables(outcomes, room.output, room.gathered.failures)
    kept = (*DEPLOYED, *TABLES) if room.options.deploys else TABLES
    pushed = keep_files(archive, room.output, kept)
    total = add([o.footprint for o in outcomes])
    return TrainOutcome(tuple(outcomes), deployable, total, room.gathered, pushed)


def _best(outcomes: Sequence[FoldOutcome]) -> FoldOutcome:
    return max(outcomes, key=lambda o: float(o.manifest.metrics["validation_dice"]))


def or_unknown(value: float | None) -> float | str:
    """Return a measured value as it is, and what was not measured as ``unknown``."""
    return "unknown" if value is None else value
