"""What commands begin and end with: archive, and the last line."""

import json
from typing import Any

import click

from plugin.archive import Archive, open_archive
from plugin.options import state_folder


def archive_at(uri: str) -> Archive:
    """Open an archive for the running command, and close it when the command ends."""
    archive = open_archive(uri, state=state_folder())
    click.get_current_context().call_on_close(archive.close)
    return archive


def say(result: dict[str, Any]) -> None:
    """Print a command's result as one line of JSON; people read stderr."""
    click.echo(json.dumps(result, sort_keys=True))
