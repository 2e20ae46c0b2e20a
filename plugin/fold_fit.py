"""One fold of a training: fitted, scored on its held-out cases, kept as files."""

import hashlib
import logging
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from model.bag import BagFeatures
from model.calibration import Calibration
from model.carbon import WORLD_KG_PER_KWH, Footprint
from model.checkpoint import Checkpoint, Manifest, read_manifest, write_checkpoint
from model.dataset import CaseInfo, CaseStore, Fold
from model.energy_log import IDLE_S, EnergyLog
from model.engine import Engine
from model.errors import BrsError
from model.evaluate import Origin, write_csv
from model.network import BreastFcn, new_network
from model.parallel import ALONE, Ranks
from model.progress import Budget, TrainConfig
from model.train import Bench, FitResult, fit, footprint_before
from model.validation import held_out
from plugin.dce import DceRules
from plugin.fold_tables import validation_folder
from plugin.gather import Gathered
from plugin.ranks import Job, announce, rank_meters, total_footprint
from plugin.version import VERSION

logger = logging.getLogger(__name__)

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
    alone: bool = True
    """No other fold runs on this machine's processor, so its energy is this fold's."""
    elsewhere: "Elsewhere | None" = None
    """Who fits folds on other machines; None fits them here, one after the other."""


@dataclass(frozen=True, slots=True)
class Room:
    """What every fold is trained with."""

    store: CaseStore
    gathered: Gathered
    output: Path
    options: TrainOptions

    def path(self, fold: Fold) -> Path:
        """Return where a fold's checkpoint is written."""
        return self.output / f"fold-{fold.number}.safetensors"

    def folder(self, fold: Fold) -> Path:
        """Return what holds a fold until it is finished."""
        return self.output / f"fold-{fold.number}"


Elsewhere = Callable[[Room, Sequence[Fold]], Iterator[tuple[Fold, BrsError | None]]]
"""Fits folds into the room's output, and yields each that is there."""


def fit_fold(fold: Fold, room: Room) -> Manifest:
    """Fit one fold inside an energy log; its checkpoint is written last."""
    options, folder, path = room.options, room.folder(fold), room.path(fold)
    network = _first_network(options)
    if seen := _seen(fold, room):
        logger.warning(
            "fold %d: %d of %d validation cases were learned from before, by the "
            "checkpoint it begins with: its validation Dice is too high",
            *(fold.number, seen, len(fold.validation)),
        )
    before = footprint_before(folder)
    earlier_s = before.duration_s if before else 0.0
    announce(_job(fold, room, earlier_s), options.ranks)
    log = EnergyLog(
        rank_meters(
            options.engine, options.ranks, platform.node(), alone=options.alone
        ),
        power_csv=path.with_suffix(".power.csv"),
        factor_kg_per_kwh=options.factor_kg_per_kwh,
        before=before,
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


def _job(fold: Fold, room: Room, earlier_s: float) -> Job:
    options = room.options
    return Job(
        fold=fold,
        config=options.config,
        budget=options.budget,
        store=room.store.root.resolve(),
        folder=room.folder(fold).resolve(),
        engine=options.engine,
        factor_kg_per_kwh=options.factor_kg_per_kwh,
        earlier_s=earlier_s,
    )


def _score_validation(fold: Fold, room: Room, network: BreastFcn) -> Calibration:
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
    fold: Fold, room: Room, result: FitResult, footprint: Footprint
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


def _seen(fold: Fold, room: Room) -> int:
    """Return how many validation cases the weights it begins with had learned from."""
    start = room.options.start
    learned = start.manifest.learned if start else frozenset()
    keys = {room.store.info(case_id).source_key for case_id in fold.validation}
    return len(keys & learned)


def _source_keys(fold: Fold, room: Room) -> tuple[str, ...]:
    return tuple(room.store.info(case_id).source_key for case_id in fold.train)


def _cases_sha256(infos: Sequence[CaseInfo]) -> str:
    """Return a hash of what is divided into folds, in any order."""
    lines = sorted(f"{info.patient_key} {info.source_key}" for info in infos)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def finished(fold: Fold, room: Room) -> Manifest | None:
    """Return the manifest of a fold already trained on these cases in this way."""
    path = room.path(fold)
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
