"""What commands begin and end with: archive, engine, and the last line."""

import json
from typing import Any

import click

from model.engine import Engine, choose_engine
from plugin.archive import Archive, open_archive
from plugin.options import state_folder


def archive_at(uri: str) -> Archive:
    """Open an archive for the running command, and close it when the command ends."""
    archive = open_archive(uri, state=state_folder())
    click.get_current_context().call_on_close(archive.close)
    return archive


def engine_for(settings: dict[str, Any]) -> Engine:
    """Return the engine that was asked for, and tell on stderr which one that is."""
    engine = choose_engine(device=settings["device"], precision=settings["precision"])
    click.echo(f"engine {engine}", err=True)
    return engine


def say(result: dict[str, Any]) -> None:
    """Print a command's result as one line of JSON; people read stderr."""
    click.echo(json.dumps(result, sort_keys=True))
