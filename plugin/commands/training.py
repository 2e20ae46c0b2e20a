"""Commands that change weights: `brs train` and `brs finetune`."""

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from model.checkpoint import Checkpoint, read_checkpoint
from model.engine import Engine, choose_engine
from model.parallel import ALONE, Ranks
from model.progress import Budget, TrainConfig
from plugin.archive import Archive
from plugin.cluster import Crew, crew_at
from plugin.commands.result import archive_at, say
from plugin.engines import Wish, open_checkpoint
from plugin.errors import ArchiveError, ConfigError
from plugin.fold_crew import fitted_by
from plugin.options import (
    archive_option,
    checkpoint_option,
    cluster_option,
    device_option,
    option,
    output_option,
    precision_option,
    rules_option,
    seed_option,
    training_options,
    upload_option,
    work_option,
)
from plugin.proofs import Proofs
from plugin.ranks import follow, joined_ranks
from plugin.train import TrainOptions, or_unknown, train_archive
from plugin.weights import DEFAULT, require_weights

logger = logging.getLogger(__name__)


@click.command()
@archive_option()
@output_option
@work_option
@upload_option
@training_options
@seed_option
@device_option
@precision_option
@rules_option
@option("--backbone-weights", default="none", help="none, a file, or imagenet.")
@cluster_option
def train(archive: str, backbone_weights: str, **settings: Any) -> None:
    """Train from an archive's annotated sessions, with a carbon log."""
    with joined_ranks(os.environ) as ranks:
        if not ranks.leads:
            follow(ranks, platform.node())
            return
        with _workers(settings, ranks) as crew:
            options = train_options(
                settings, crew=crew, backbone_weights=backbone_weights, ranks=ranks
            )
            _train(archive_at(archive), options, settings)


@click.command()
@archive_option()
@output_option
@work_option
@upload_option
@checkpoint_option
@training_options
@seed_option
@device_option
@precision_option
@rules_option
@cluster_option
def finetune(archive: str, checkpoint: str | None, **settings: Any) -> None:
    """Go on training a checkpoint on an archive's annotated sessions.

    Without --checkpoint it starts from the one that comes with the program.
    """
    with joined_ranks(os.environ) as ranks:
        if not ranks.leads:
            follow(ranks, platform.node())
            return
        opened = archive_at(archive)
        weights = require_weights(checkpoint or DEFAULT, opened, _work(settings))
        start = read_checkpoint(weights)
        with _workers(settings, ranks) as crew:
            options = train_options(
                settings, crew=crew, start=start, weights=weights, ranks=ranks
            )
            _train(opened, options, settings)


def train_config(
    settings: dict[str, Any], *, seed: int, start: Checkpoint | None = None
) -> TrainConfig:
    """Return the settings that decide a network's weights."""
    parent_px = start.manifest.grid_px if start else TrainConfig().grid_px
    return TrainConfig(
        grid_px=settings["grid"] or parent_px,
        epochs=settings["epochs"],
        batch=settings["batch"],
        learning_rate=settings["learning_rate"],
        schedule=settings["schedule"],
        folds=settings["folds"],
        seed=seed,
        mirror=settings["mirror"],
        coarse_epochs=settings["coarse_epochs"],
        calibration_slices=settings["calibration_slices"],
        accumulate=settings["accumulate"],
        deterministic=settings["deterministic"],
    )


def train_options(
    settings: dict[str, Any],
    *,
    crew: Crew | None = None,
    start: Checkpoint | None = None,
    weights: Path | None = None,
    ranks: Ranks = ALONE,
    **more: Any,
) -> TrainOptions:
    """Return a training as the command's options say.

    ``start`` was read from the file ``weights``; a ``crew`` fits the folds.
    """
    return TrainOptions(
        engine=_engine(settings, crew, ranks),
        config=train_config(settings, seed=settings["seed"], start=start),
        budget=Budget(settings["carbon_budget_g"], settings["minutes"]),
        rules=settings["rules"],
        only_fold=settings["fold"],
        factor_kg_per_kwh=settings["emission_factor"],
        start=start,
        elsewhere=fitted_by(crew, weights) if crew else None,
        ranks=ranks,
        **more,
    )


@contextmanager
def _workers(settings: dict[str, Any], ranks: Ranks) -> Iterator[Crew | None]:
    """Open the cluster that was asked for, if any.

    Raises
    ------
    ConfigError
        If ``torchrun`` divides each fold already.
    """
    if not settings["cluster"]:
        yield None
        return
    if ranks.count > 1:
        raise ConfigError(
            "--cluster",
            found=f"one of {ranks.count} processes of torchrun",
            needed="one of both: folds on several machines, or each on several GPUs",
            mend="leave out --cluster, or start brs without torchrun",
        )
    with crew_at(settings["cluster"]) as crew:
        yield crew


def _engine(settings: dict[str, Any], crew: Crew | None, ranks: Ranks) -> Engine:
    """Return the engine that was asked for, and tell on stderr which one that is.

    Raises
    ------
    ConfigError
        If one GPU is named for all processes of ``torchrun``.
    """
    if ranks.count > 1 and ":" in settings["device"]:
        raise ConfigError(
            "--device",
            found=f"{settings['device']} for {ranks.count} processes of torchrun",
            needed="cuda, which is another GPU for each of them",
            mend="choose GPUs by CUDA_VISIBLE_DEVICES",
        )
    choose = crew.engine if crew else partial(choose_engine, training=True)
    engine = choose(device=settings["device"], precision=settings["precision"])
    click.echo(f"engine {engine}", err=True)
    return engine


def _work(settings: dict[str, Any]) -> Path:
    work: Path = settings["work"] or settings["output"] / "work"
    return work


def _train(archive: Archive, options: TrainOptions, settings: dict[str, Any]) -> None:
    outcome = train_archive(archive, settings["output"], _work(settings), options)
    if not outcome.pushed and settings["upload"] != "handler":
        raise _not_pushed(settings["output"])
    if outcome.pushed and not settings["cluster"]:
        _prove(archive, outcome.checkpoint, settings)
    best = outcome.best.manifest.metrics["validation_dice"]
    say(
        {
            "checkpoint": str(outcome.checkpoint),
            "folds": len(outcome.folds),
            "cases": len(outcome.gathered.infos),
            "failed": len(outcome.gathered.failures),
            "pushed": outcome.pushed,
            "validation_dice": round(best, 4),
            "energy_kwh": or_unknown(outcome.footprint.energy_kwh),
            "cfp_kg": or_unknown(outcome.footprint.cfp_kg),
        }
    )


def _prove(archive: Archive, checkpoint: Path, settings: dict[str, Any]) -> None:
    """Check the engine that such a machine will run the checkpoint on, while here.

    Segmenting then starts without it. A cluster's machines are not this one.
    """
    proofs = Proofs(_work(settings) / "cache", archive)
    try:
        open_checkpoint(checkpoint, Wish(device=settings["device"]), proofs)
    # The training is done and kept: whatever happens here must not undo its success.
    except Exception as error:  # noqa: BLE001
        logger.warning("its engine is checked at the next start: %s", error)


def _not_pushed(output: Path) -> ArchiveError:
    return ArchiveError(
        "the trained folds",
        found="a refusal when they were pushed; see the warnings above",
        needed="write access until the training ends",
        mend=f"run again: they are in {output}, nothing is trained twice",
    )
