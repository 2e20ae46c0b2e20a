"""Commands on masks: evaluate, review, export and import."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from model.atomic import write_atomically
from plugin.commands.result import archive_at, say
from plugin.dce import DceRules
from plugin.evaluate import EvaluateOptions, evaluate_archive, headline
from plugin.exchange import export_session, import_mask
from plugin.masks import RECORD_FILE, review_draft
from plugin.options import (
    FILE,
    FOLDER,
    archive_option,
    data_option,
    option,
    output_option,
    rules_option,
    session_option,
    work_option,
)


@click.command()
@archive_option()
@output_option
@option("--reference", help="Archive with the human masks; --archive by default.")
@session_option
@work_option
@data_option
@rules_option
def evaluate(
    archive: str,
    output: Path,
    reference: str | None,
    session: tuple[str, ...],
    **options: Any,
) -> None:
    """Compare the network's masks with human ones: CSV, figures, one headline."""
    found = evaluate_archive(
        archive_at(archive),
        archive_at(reference or archive),
        output,
        EvaluateOptions(sessions=session, **options),
    )
    say(headline(found) | {"output": str(output)})


@click.command()
@archive_option()
@option("--session", required=True, help="The session whose draft was looked at.")
@option(
    "--decision",
    type=click.Choice(["accept", "reject"]),
    required=True,
    help="What you found; --accept and --reject say the same.",
)
@click.option("--accept", "decision", flag_value="accept", help="The mask is right.")
@click.option("--reject", "decision", flag_value="reject", help="The mask is wrong.")
@option("--role", required=True, help="The reviewer's role, such as radiologist.")
@option("--output", type=FOLDER, help="Folder for a copy of the record.")
def review(
    archive: str, session: str, *, decision: str, role: str, output: Path | None
) -> None:
    """Accept or reject a session's draft mask; only then may a network learn it."""
    accept, now = decision == "accept", datetime.now(UTC)
    record = review_draft(
        archive_at(archive), session, accept=accept, role=role, now=now
    )
    if output is not None:
        write_atomically(output / RECORD_FILE, record.to_json())
    say({"session": session, "state": record.state})


@click.command()
@archive_option()
@option("--session", required=True, help="The session to export.")
@output_option
@rules_option
def export(archive: str, session: str, output: Path, rules: DceRules) -> None:
    """Write a session's pair and mask as RAS NIfTI: pre, post and mask.nii.gz."""
    files = export_session(archive_at(archive), session, output, output / "work", rules)
    say({"session": session, "files": [str(path) for path in files]})


@click.command("import")
@archive_option()
@option("--session", required=True, help="The session the mask was drawn on.")
@option("--mask", type=FILE, required=True, help="RAS NIfTI on the session's grid.")
@rules_option
def import_(archive: str, session: str, mask: Path, rules: DceRules) -> None:
    """Store a mask that a person drew as NIfTI with its session, as DICOM-SEG."""
    with TemporaryDirectory() as work:
        uid = import_mask(archive_at(archive), session, mask, Path(work), rules)
    say({"session": session, "mask_uid": uid})
