"""`brs quantize`: an int8 network for a checkpoint, if its masks stay what they are."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from model.checkpoint import read_manifest
from model.fidelity import NEEDED_DICE
from plugin.commands.result import archive_at, say
from plugin.options import (
    archive_option,
    checkpoint_option,
    option,
    output_option,
    session_option,
)
from plugin.quantize import quantize_checkpoint, session_slices, synthetic_slices
from plugin.weights import require_weights


@click.command()
@archive_option(required=False)
@session_option
@checkpoint_option
@output_option
@option(
    "--needed-dice",
    type=click.FloatRange(0.9, 1.0),
    default=NEEDED_DICE,
    help="Least Dice of its masks with those of fp32, here and wherever it runs.",
)
def quantize(
    archive: str | None, checkpoint: str | None, output: Path, **settings: Any
) -> None:
    """Make an int8 network for a checkpoint, if its masks stay what they are.

    Calibrated and judged on synthetic patients, or on an archive's sessions, which
    should be none that the weights were trained on.
    """
    with TemporaryDirectory() as place:
        work = Path(place)
        opened = archive_at(archive) if archive else None
        path = require_weights(checkpoint, opened, work)
        grid_px = read_manifest(path).grid_px
        held_out = (
            session_slices(opened, settings["session"], work, grid_px)
            if opened
            else synthetic_slices(grid_px)
        )
        manifest = quantize_checkpoint(
            path, output, held_out, needed_dice=settings["needed_dice"]
        )
    said = {key: manifest.int8[key] for key in ("dice", "judged_slices", "data")}
    say({"checkpoint": str(output / path.name), **said})
