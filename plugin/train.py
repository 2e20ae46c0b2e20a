"""Train over an archive's annotated sessions: folds, checkpoints, carbon log."""

import hashlib
import logging
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from model.bag import BagFeatures
from model.calibration import Calibration
from model.carbon import (
    WORLD_KG_PER_KWH,
    Footprint,
    add,
    as_footprint,
    write_carbon_csv,
)
from model.checkpoint import (
    Checkpoint,
    Manifest,
    read_manifest,
    write_checkpoint,
)
from model.dataset import CaseInfo, CaseStore, Fold, patient_folds
from model.energy_log import IDLE_S, EnergyLog
from model.engine import Engine
from model.evaluate import Origin, write_csv
from model.hold import held
from model.leakage import check_apart, members
from model.network import BreastFcn, new_network
from model.parallel import ALONE, Ranks
from model.progress import Budget, TrainConfig
from model.train import Bench, FitResult, fit, footprint_before
from model.validation import held_out
from plugin.archive import Archive
from plugin.dce import DceRules
from plugin.fold_store import keep_files, keep_fold, recall_fold
from plugin.fold_tables import (
    FoldOutcome,
    validation_folder,
    write_tables,
)
from plugin.fold_tables import (
    trained_folds as trained_folds,
)
from plugin.gather import Gathered, gather
from plugin.ranks import Job, announce, rank_meters, total_footprint
from plugin.version import VERSION
from plugin.weights import CHECKPOINT_FILE

logger = logging.getLogger(__name__)

DEPLOYED = (CHECKPOINT_FILE, "checkpoint.json")
TABLES = ("carbon.csv", "devices.csv", "history.csv", "metrics.csv")
"""What a training leaves in the archive's project resource, beside its folds."""
RANGE_NAMES = ("nearest_point_mm", "breast_size_mm", "volume_ml")


@dataclass(frozen=True, slots=True, eq=False)
class TrainOptions:
    """What is trained, from where, with what, and within which limits."""

    engine: Engine
    config: TrainConfig = field(default_factory=TrainConfig)
    budget: Budget = field(default_factory=Budget)
    rules: DceRules = field(default_factory=DceRules)
    only_fold: int | None = None
    backbone_weights: str = "none"
    start: Checkpoint | None = None
    """Weights to fine-tune; None trains from scratch."""
    factor_kg_per_kwh: float = WORLD_KG_PER_KWH
    ranks: Ranks = ALONE
    """Processes that fit each fold together; this one leads them."""
    deploys: bool = True
    """The best fold becomes the project's checkpoint at once."""


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
    room = _Room(store, gathered, output, options)
    outcomes = [_fold_outcome(archive, fold, room) for fold in wanted]
    announce(None, options.ranks)
    return _conclude(archive, outcomes, room)


@dataclass(frozen=True, slots=True)
class _Room:
    """What every fold is trained with."""

    store: CaseStore
    gathered: Gathered
    output: Path
    options: TrainOptions


def _fold_outcome(archive: Archive, fold: Fold, room: _Room) -> FoldOutcome:
    """Return the fold's outcome, trained now unless it was here or elsewhere."""
    path = room.output / f"fold-{fold.number}.safetensors"
    folder = room.output / f"fold-{fold.number}"
    recall_fold(archive, path)
    manifest = _finished(path, fold, room)
    if manifest is None:
        with held(folder / "lock", wait=False):
            manifest = _train_fold(fold, room, folder, path)
    keep_fold(archive, path)
    shutil.rmtree(folder, ignore_errors=True)
    return FoldOutcome(fold, path, manifest, as_footprint(manifest.footprint))


def _train_fold(fold: Fold, room: _Room, folder: Path, path: Path) -> Manifest:
    """Fit one fold inside an energy log; its checkpoint is written last."""
    options = room.options
    network = _first_network(options)
    if seen := _seen(fold, room):
        logger.warning(
            "fold %d: %d of %d validation cases were learned from before, by the "
            "checkpoint it begins with: its validation Dice is too high",
            *(fold.number, seen, len(fold.validation)),
        )
    announce(_job(fold, room, folder), options.ranks)
    log = EnergyLog(
        rank_meters(options.engine, options.ranks, platform.node()),
        power_csv=path.with_suffix(".power.csv"),
        factor_kg_per_kwh=options.factor_kg_per_kwh,
        before=footprint_before(folder),
        idle_s=IDLE_S,
    )
    with log:
        bench = Bench(
            store=room.store,
            folder=folder,
            engine=options.engine,
            budget=options.budget,
            footprint=log.footprint,
            ranks=options.ranks,
        )
        result = fit(network, fold, options.config, bench)
    footprint = total_footprint(log.footprint(), options.ranks)
    calibration = _score_validation(fold, room, network)
    manifest = _manifest(fold, room, result, footprint)
    manifest = replace(manifest, metrics={**manifest.metrics, **asdict(calibration)})
    shutil.copyfile(folder / "history.csv", path.with_suffix(".history.csv"))
    return write_checkpoint(network, manifest, path)


def _job(fold: Fold, room: _Room, folder: Path) -> Job:
    options = room.options
    return Job(
        fold=fold,
        config=options.config,
        budget=options.budget,
        store=room.store.root.resolve(),
        folder=folder.resolve(),
        engine=options.engine,
        factor_kg_per_kwh=options.factor_kg_per_kwh,
    )


def _score_validation(fold: Fold, room: _Room, network: BreastFcn) -> Calibration:
    """Write the held-out cases' scores, on the network's grid, to validation-K/."""
    engine = room.options.engine
    found = held_out(network, fold.validation, room.store, engine)
    origin = Origin("validation", str(engine), engine.precision)
    folder = validation_folder(room.output, fold)
    write_csv(folder, found.slices, found.cases, origin=origin)
    return found.calibration


def _first_network(options: TrainOptions) -> BreastFcn:
    network = new_network(
        seed=options.config.seed, backbone_weights=options.backbone_weights
    )
    if options.start is not None:
        network.load_state_dict(options.start.network.state_dict())
    return network


def _manifest(
    fold: Fold, room: _Room, result: FitResult, footprint: Footprint
) -> Manifest:
    options, best = room.options, result.history[result.best_epoch]
    before = options.start.manifest.learned if options.start else ()
    return Manifest(
        package_version=VERSION,
        grid_px=options.config.grid_px,
        fold=fold.number,
        seed=options.config.seed,
        training_cases=_source_keys(fold, room),
        cases_sha256=_cases_sha256(room.gathered.infos),
        config=asdict(options.config),
        metrics={
            "validation_dice": 1 - best.validation_loss,
            "validation_cases": len(fold.validation),
            "validation_seen": _seen(fold, room),
            "best_epoch": result.best_epoch,
            "epochs": len(result.history),
            "stopped_by": result.stopped_by,
        },
        footprint=asdict(footprint),
        bag_range=_bag_range(fold, room.gathered.features),
        parent_sha256=_parent(options),
        learned_before=tuple(sorted(before)),
        engine=str(options.engine),
    )


def _seen(fold: Fold, room: _Room) -> int:
    """Return how many validation cases the weights it begins with had learned from."""
    start = room.options.start
    learned = start.manifest.learned if start else frozenset()
    keys = {room.store.info(case_id).source_key for case_id in fold.validation}
    return len(keys & learned)


def _source_keys(fold: Fold, room: _Room) -> tuple[str, ...]:
    return tuple(room.store.info(case_id).source_key for case_id in fold.train)


def _cases_sha256(infos: Sequence[CaseInfo]) -> str:
    """Return a hash of what is divided into folds, in any order."""
    lines = sorted(f"{info.patient_key} {info.source_key}" for info in infos)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _finished(path: Path, fold: Fold, room: _Room) -> Manifest | None:
    """Return the manifest of a fold already trained on these cases in this way."""
    if not path.with_suffix(".json").exists():
        return None
    manifest = read_manifest(path)
    same = (
        dict(manifest.config) == asdict(room.options.config)
        and tuple(manifest.training_cases) == _source_keys(fold, room)
        and manifest.cases_sha256 == _cases_sha256(room.gathered.infos)
        and manifest.parent_sha256 == _parent(room.options)
    )
    return manifest if same else None


def _parent(options: TrainOptions) -> str:
    """Return the hash of the weights that a fold of this training starts from."""
    return options.start.manifest.weights_sha256 if options.start else ""


def _bag_range(
    fold: Fold, features: Mapping[str, BagFeatures]
) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest of each feature QC compares, over both sides."""
    rows = [asdict(features[c]) for c in fold.train if c in features]
    return {
        name: (min(r[name] for r in rows), max(r[name] for r in rows))
        for name in RANGE_NAMES
        if rows
    }


def _conclude(
    archive: Archive, outcomes: Sequence[FoldOutcome], room: _Room
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
