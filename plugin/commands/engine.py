"""`brs engine`: which engine runs a checkpoint here, proven before it is needed."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from plugin.commands.result import archive_at, say
from plugin.engines import Choice, Wish, open_checkpoint
from plugin.options import (
    archive_option,
    cache_option,
    checkpoint_option,
    device_option,
    engine_option,
    inference_precision_option,
)
from plugin.proofs import Proofs
from plugin.weights import require_weights


@click.command()
@archive_option(required=False)
@checkpoint_option
@engine_option
@device_option
@inference_precision_option
@cache_option
def engine(archive: str | None, checkpoint: str | None, **settings: Any) -> None:
    """Say which engine runs a checkpoint on this machine, and prove it now.

    Later commands with the same --cache then start without that check; with --archive
    also those on that archive, wherever they run on such a CPU or GPU.
    """
    with TemporaryDirectory() as work:
        opened = archive_at(archive) if archive else None
        weights = require_weights(checkpoint, opened, Path(work))
        choice = engine_for(weights, settings, Proofs(settings["cache"], opened))
    fidelity = asdict(choice.fidelity) if choice.fidelity else "the reference"
    say(
        {
            "engine": str(choice.engine),
            "fidelity": fidelity,
            "weights_sha256": choice.checkpoint.manifest.weights_sha256,
        }
    )


def engine_for(weights: Path, settings: dict[str, Any], proofs: Proofs) -> Choice:
    """Return the checkpoint on the engine that the options ask for, and print which."""
    wish = Wish(settings["engine"], settings["device"], settings["precision"])
    choice = open_checkpoint(weights, wish, proofs)
    click.echo(f"engine {choice.told}", err=True)
    return choice
