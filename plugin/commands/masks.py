"""Commands on masks: evaluate, review, export and import."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from plugin.archive import open_archive
from plugin.commands.result import say
from plugin.dce import DceRules
from plugin.evaluate import EvaluateOptions, evaluate_archive, headline
from plugin.exchange import export_session, import_mask
from plugin.masks import review_draft
from plugin.options import (
    FILE,
    archive_option,
    option,
    output_option,
    rules_option,
    session_option,
)


@click.command()
@archive_option
@output_option
@option("--reference", help="Archive with the human masks; --archive by default.")
@session_option
@option("--data", default="unknown", help="What the sessions are, such as real.")
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
        open_archive(archive),
        open_archive(reference or archive),
        output,
        EvaluateOptions(sessions=session, **options),
    )
    say(headline(found) | {"output": str(output)})


@click.command()
@archive_option
@option("--session", required=True, help="The session whose draft was looked at.")
@click.option("--accept/--reject", default=None, help="The decision; give one.")
@option("--role", required=True, help="The reviewer's role, such as radiologist.")
def review(archive: str, session: str, *, accept: bool | None, role: str) -> None:
    """Accept or reject a session's draft mask; only then may a network learn it."""
    if accept is None:
        raise click.UsageError("give --accept or --reject")
    record = review_draft(
        open_archive(archive), session, accept=accept, role=role, now=datetime.now(UTC)
    )
    say({"session": session, "state": record.state})


@click.command()
@archive_option
@option("--session", required=True, help="The session to export.")
@output_option
@rules_option
def export(archive: str, session: str, output: Path, rules: DceRules) -> None:
    """Write a session's pair and mask as RAS NIfTI: pre, post and mask.nii.gz."""
    files = export_session(open_archive(archive), session, output, rules)
    say({"session": session, "files": [str(path) for path in files]})


@click.command("import")
@archive_option
@option("--session", required=True, help="The session the mask was drawn on.")
@option("--mask", type=FILE, required=True, help="RAS NIfTI on the session's grid.")
@rules_option
def import_(archive: str, session: str, mask: Path, rules: DceRules) -> None:
    """Store a mask that a person drew as NIfTI with its session, as DICOM-SEG."""
    uid = import_mask(open_archive(archive), session, mask, rules)
    say({"session": session, "mask_uid": uid})
