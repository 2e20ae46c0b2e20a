"""`brs segment`: one folder or a whole archive."""

from pathlib import Path
from typing import Any

import click
import torch

from model.checkpoint import read_checkpoint
from model.engine import choose_engine
from model.errors import BrsError
from model.power import find_meters, gpu_uuids
from plugin.archive import Archive, open_archive
from plugin.commands.result import say
from plugin.dce import choose
from plugin.options import (
    FILE,
    FOLDER,
    device_option,
    option,
    output_option,
    precision_option,
    rules_option,
    session_option,
)
from plugin.pipeline import Segmenter, pair_record, segment_session
from plugin.segment import segment_archive, tally


@click.command()
@option("--archive", help="A folder with one folder per session.")
@option("--input", "folder", type=FOLDER, help="One session's folder instead.")
@output_option
@option("--checkpoint", type=FILE, help="Weights (.safetensors).")
@session_option
@option("--skip-annotated", is_flag=True, help="Leave sessions with a human mask.")
@option("--dry-run", is_flag=True, help="Print the chosen pair and stop.")
@device_option
@precision_option
@rules_option
def segment(archive: str | None, folder: Path | None, **settings: Any) -> None:
    """Segment one folder or an archive: DICOM-SEG, NIfTI, preview, result.json."""
    if (archive is None) == (folder is None):
        raise click.UsageError("give either --archive or --input")
    if settings["dry_run"]:
        say(_dry_run(archive, folder, settings))
    elif folder is not None:
        say(_segment_folder(folder, settings))
    else:
        say(_segment_archive(str(archive), settings))


def _dry_run(
    archive: str | None, folder: Path | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Say which pair would be used, per session, without computing."""
    if folder is not None:
        return pair_record(choose(folder, settings["rules"]))
    opened = open_archive(str(archive))
    return {
        "sessions": [
            _decision(opened, session_id, settings)
            for session_id in settings["session"] or opened.sessions()
        ]
    }


def _decision(
    archive: Archive, session_id: str, settings: dict[str, Any]
) -> dict[str, Any]:
    try:
        folder = archive.fetch(session_id, settings["output"] / "images")
        decision = pair_record(choose(folder, settings["rules"]))
    except BrsError as error:
        decision = {"error": str(error)}
    return {"session": session_id} | decision


def _segmenter(settings: dict[str, Any]) -> Segmenter:
    if settings["checkpoint"] is None:
        raise click.UsageError("give --checkpoint: train one, or take a colleague's")
    engine = choose_engine(device=settings["device"], precision=settings["precision"])
    click.echo(f"engine {engine}", err=True)
    return Segmenter(
        read_checkpoint(settings["checkpoint"]),
        engine,
        settings["rules"],
        find_meters(gpus=gpu_uuids([torch.device(engine.device)])),
    )


def _segment_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    output = settings["output"]
    result = segment_session(folder.name, folder, output, _segmenter(settings))
    return {
        "verdict": result.verdict,
        "reasons": result.reasons,
        "files": sorted(result.files),
        "output": str(output),
    }


def _segment_archive(archive: str, settings: dict[str, Any]) -> dict[str, Any]:
    items = segment_archive(
        open_archive(archive),
        _segmenter(settings),
        settings["output"],
        sessions=settings["session"],
        skip_annotated=settings["skip_annotated"],
    )
    return tally(items)
