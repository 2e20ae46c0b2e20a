"""`brs segment`: one folder, a whole archive, or one mounted session of it."""

from pathlib import Path
from typing import Any

import click

from model.errors import BrsError
from model.power import find_meters, gpu_uuids
from plugin.archive import Archive
from plugin.commands.engine import engine_for
from plugin.commands.result import archive_at, say
from plugin.dce import choose
from plugin.options import (
    FOLDER,
    archive_option,
    checkpoint_option,
    cluster_option,
    engine_options,
    option,
    output_option,
    rules_option,
    session_option,
    upload_option,
    work_option,
)
from plugin.pipeline import Segmenter, pair_record, segment_session
from plugin.proofs import Proofs
from plugin.scope_proof import proven_scope
from plugin.segment import Delivery, segment_archive, segment_batch, tally
from plugin.session import find_pair
from plugin.weights import require_weights


@click.command()
@archive_option(required=False)
@option("--input", "folder", type=FOLDER, help="The images of one session.")
@output_option
@work_option
@checkpoint_option
@session_option
@upload_option
@option("--skip-annotated", is_flag=True, help="Leave sessions with a human mask.")
@option("--dry-run", is_flag=True, help="Print the chosen pair and stop.")
@engine_options
@rules_option
@cluster_option
def segment(archive: str | None, folder: Path | None, **settings: Any) -> None:
    """Segment one folder or an archive: DICOM-SEG, NIfTI, preview, result.json.

    With --input, --archive and one --session the images come from the folder and the
    result goes to that session.
    """
    if archive is None and folder is None:
        raise click.UsageError("give --archive, or --input, or both with one --session")
    if archive and folder and len(settings["session"]) != 1:
        raise click.UsageError("--input with --archive needs exactly one --session")
    if settings["cluster"] and (archive is None or folder is not None):
        raise click.UsageError("--cluster needs an --archive, and no --input")
    opened = archive_at(archive) if archive else None
    settings["work"] = settings["work"] or settings["output"] / "work"
    if settings["dry_run"]:
        say(_dry_run(opened, folder, settings))
    elif archive and opened and settings["cluster"]:
        say(_segment_elsewhere(archive, opened, settings))
    elif opened is not None:
        say(_segment_archive(opened, folder, settings))
    elif folder is not None:
        say(_segment_folder(folder, settings))


def _dry_run(
    archive: Archive | None, folder: Path | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Say which pair would be used, per session, without computing."""
    if folder is not None or archive is None:
        return pair_record(choose(folder or Path(), settings["rules"]))
    return {
        "sessions": [
            _decision(archive, session_id, settings)
            for session_id in settings["session"] or archive.sessions()
        ]
    }


def _decision(
    archive: Archive, session_id: str, settings: dict[str, Any]
) -> dict[str, Any]:
    try:
        pair = find_pair(archive, session_id, settings["work"], settings["rules"])
        decision = pair_record(pair)
    except BrsError as error:
        decision = {"error": str(error)}
    archive.release(session_id, settings["work"])
    return {"session": session_id} | decision


def segmenter_with(
    weights: Path, settings: dict[str, Any], archive: Archive | None = None
) -> Segmenter:
    """Return what segments with a checkpoint as the command's options say.

    Checks of its engine are looked for, and kept, in the cache and in the archive.
    """
    proofs = Proofs(settings["cache"], archive)
    choice = engine_for(weights, settings, proofs)
    scope = proven_scope(settings["scope"], choice, proofs)
    return Segmenter(
        choice.checkpoint,
        choice.engine,
        settings["rules"],
        find_meters(gpus=gpu_uuids([choice.engine.device])),
        scope,
    )


def _segment_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    output = settings["output"]
    weights = require_weights(settings["checkpoint"], None, settings["work"])
    segmenter = segmenter_with(weights, settings)
    result = segment_session(folder.name, folder, output, segmenter)
    return {
        "verdict": result.verdict,
        "reasons": result.reasons,
        "files": sorted(result.files),
        "output": str(output),
    }


def _segment_archive(
    archive: Archive, mounted: Path | None, settings: dict[str, Any]
) -> dict[str, Any]:
    delivery = Delivery(
        output=settings["output"],
        work=settings["work"],
        mounted=mounted,
        by_handler=settings["upload"] == "handler",
    )
    weights = require_weights(settings["checkpoint"], archive, settings["work"])
    items = segment_archive(
        archive,
        segmenter_with(weights, settings, archive),
        delivery,
        sessions=settings["session"],
        skip_annotated=settings["skip_annotated"],
    )
    return tally(items)


def _segment_elsewhere(
    uri: str, archive: Archive, settings: dict[str, Any]
) -> dict[str, Any]:
    """Segment on a cluster's workers, one session each at a time."""
    from plugin.commands.elsewhere import assigned, segmented_by

    by_handler = settings["upload"] == "handler"
    delivery = Delivery(settings["output"], settings["work"], by_handler=by_handler)
    weights = require_weights(settings["checkpoint"], archive, settings["work"])
    with assigned(settings["cluster"], uri, weights, settings) as (crew, assignment):
        each = segmented_by(
            crew, assignment, delivery, skip_annotated=settings["skip_annotated"]
        )
        sessions = settings["session"] or archive.sessions()
        return tally(segment_batch(each, sessions, delivery))
