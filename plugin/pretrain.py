"""Weights from synthetic patients alone: bank, energy log, checkpoint with manifest."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from model.carbon import WORLD_KG_PER_KWH, Footprint, write_carbon_csv
from model.checkpoint import Manifest, write_checkpoint
from model.energy_log import EnergyLog
from model.engine import Engine
from model.phantom import VERSION as PHANTOM_VERSION
from model.power import find_meters, gpu_uuids
from model.pretraining.bank import Bank, BankPlan, open_bank
from model.pretraining.loop import Desk, footprint_before, pretrain
from model.pretraining.recipe import Limits, Recipe, Spent
from model.pretraining.sampler import Stage
from plugin.version import VERSION
from plugin.weights import CHECKPOINT_FILE


@dataclass(frozen=True, slots=True)
class PretrainOptions:
    """Where, with what, and within which limits weights are made from nothing."""

    output: Path
    work: Path
    engine: Engine
    recipe: Recipe
    limits: Limits
    workers: int = 1
    every_minutes: float = 5.0
    factor_kg_per_kwh: float = WORLD_KG_PER_KWH


@dataclass(frozen=True, slots=True)
class PretrainOutcome:
    """The checkpoint and what it cost."""

    checkpoint: Path
    spent: Spent
    footprint: Footprint


def run_pretraining(options: PretrainOptions) -> PretrainOutcome:
    """Train from synthetic patients alone; go on where an earlier call ended.

    Leaves ``checkpoint.safetensors`` with its manifest (replaced every few minutes),
    ``state.safetensors``, ``history.csv``, ``carbon.csv`` and ``power.csv`` in the
    output folder, and the painted patients in the work folder.
    """
    recipe, folder = options.recipe, options.output
    plan = BankPlan(recipe.patients, recipe.seed)
    bank = open_bank(options.work / "bank", plan, workers=options.workers)
    log = EnergyLog(
        find_meters(gpus=gpu_uuids([torch.device(options.engine.device)])),
        power_csv=folder / "power.csv",
        factor_kg_per_kwh=options.factor_kg_per_kwh,
        before=footprint_before(folder),
    )
    path = folder / CHECKPOINT_FILE
    with log:
        publish = _publisher(path, bank, options, log.footprint)
        spent = pretrain(recipe, _desk(bank, options, publish, log.footprint))
    write_carbon_csv(folder / "carbon.csv", {"pretraining": log.footprint()})
    return PretrainOutcome(path, spent, log.footprint())


def _desk(
    bank: Bank,
    options: PretrainOptions,
    publish: Callable[[nn.Module, Spent, Stage], None],
    footprint: Callable[[], Footprint],
) -> Desk:
    return Desk(
        bank=bank,
        folder=options.output,
        engine=options.engine,
        limits=options.limits,
        publish=publish,
        footprint=footprint,
        every_minutes=options.every_minutes,
        workers=options.workers,
    )


def _publisher(
    path: Path,
    bank: Bank,
    options: PretrainOptions,
    footprint: Callable[[], Footprint],
) -> Callable[[nn.Module, Spent, Stage], None]:
    """Return what writes the averaged network as a checkpoint."""
    recipe = options.recipe

    def publish(network: nn.Module, spent: Spent, stage: Stage) -> None:
        manifest = Manifest(
            package_version=VERSION,
            grid_px=stage.grid_px,
            fold=0,
            seed=recipe.seed,
            training_cases=(),
            config={
                "recipe": recipe.record(),
                "limits": asdict(options.limits),
                "synthetic_patients": bank.plan.patients,
                "phantom_version": PHANTOM_VERSION,
            },
            metrics=asdict(spent),
            footprint=asdict(footprint()),
            engine=str(options.engine),
        )
        write_checkpoint(network, manifest, path)

    return publish
