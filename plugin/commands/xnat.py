"""Commands for who looks after the archive: xnat-install and doctor."""

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from tempfile import gettempdir

import click

import plugin
from plugin.check import count, examine
from plugin.commands.result import archive_at, say
from plugin.errors import EXIT_CODES, ArchiveError, ConfigError
from plugin.options import FILE, FOLDER, archive_option, option, state_folder
from plugin.xnat.target import is_xnat


@click.command("xnat-install")
@option("--archive", required=True, help="xnat:PROJECT, or xnat+https://host/PROJECT.")
@option(
    "--command",
    type=FILE,
    help="The Container Service command; this version's command.json by default.",
)
@option(
    "--events", is_flag=True, help="Segment new sessions as they arrive, by an event."
)
@option("--dry-run", is_flag=True, help="Print the steps, and change nothing.")
def xnat_install(
    archive: str, command: Path | None, *, events: bool, dry_run: bool
) -> None:
    """Register and enable the command on an XNAT server; run it again as you like."""
    from plugin.xnat_archive import XnatArchive
    from plugin.xnat_install import Installation, read_command

    package = Path(plugin.__file__).parent
    wanted = read_command(command, package)
    opened = archive_at(archive) if is_xnat(archive) else None
    if not isinstance(opened, XnatArchive):
        raise _no_server(archive)
    work = Installation(opened.client, opened.project, wanted, dry_run=dry_run)
    done = []
    for step in work.steps(events=events):
        click.echo(step.line(), err=True)
        done.append(step)
    counts = Counter(step.outcome for step in done)
    say({"steps": [asdict(step) for step in done], "counts": counts})
    if counts["refused"]:
        raise click.exceptions.Exit(EXIT_CODES[ArchiveError])


@click.command()
@archive_option()
@option(
    "--work",
    type=FOLDER,
    help="Folder whose disk space counts; the temporary folder by default.",
)
@option(
    "--listen",
    default=0.0,
    help="Of a PACS: wait so many seconds for its echo, to prove that it reaches us.",
)
def doctor(archive: str, work: Path | None, listen: float) -> None:
    """Check an archive and this machine; say what is wrong and how to mend it."""
    from plugin.doctor import examination

    found = examination(
        archive,
        work or Path(gettempdir()),
        os.environ,
        state=state_folder(),
        listen_s=listen,
    )
    click.get_current_context().call_on_close(found.close)
    answers = []
    for answer in examine(found.checks):
        click.echo(answer.line(), err=True)
        answers.append(answer)
    counts = count(answers)
    say({"checks": [asdict(answer) for answer in answers], "counts": counts})
    if counts["failed"]:
        raise click.exceptions.Exit(EXIT_CODES[ArchiveError])


def _no_server(archive: str) -> ConfigError:
    return ConfigError(
        "--archive",
        found="a folder" if "://" not in archive else "another scheme",
        needed="xnat:PROJECT, or xnat+https://host/PROJECT",
        mend="name the XNAT project",
    )
