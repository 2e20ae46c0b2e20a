"""`brs serve`: the PACS service."""

import os
import sys
from pathlib import Path

import click

from model.processors import bound_threads
from plugin.options import FILE, option
from plugin.service.config import read_config


@click.command()
@option(
    "--config",
    type=FILE,
    help="TOML file of the service's settings; BRS_ variables overrule it.",
)
@click.pass_context
def serve(context: click.Context, config: Path | None) -> None:
    """Receive studies from a PACS, segment them, and send their masks back."""
    workers = read_config(config, os.environ).workers
    verbosity = context.find_root().params.get("verbose", 0)
    # As it was given to us: what we bound for this one process is not for several.
    environ = dict(context.obj or os.environ)
    bound_threads(environ, processes=workers)
    # A process of its own: this one has loaded what only the workers need.
    words = [sys.executable, "-m", "plugin.service", str(verbosity)]
    words += [str(config)] if config else []
    os.execve(sys.executable, words, environ)
