"""The supervisor's own process: `python -m plugin.service VERBOSITY [CONFIG]`.

It loads neither the network nor the science; only its workers do.
"""

import os
import sys
from pathlib import Path

import click

from model.errors import BrsError
from plugin import log
from plugin.commands.result import say
from plugin.errors import exit_code
from plugin.serve import Service
from plugin.service.config import read_config
from plugin.service.crew import run_worker


def main() -> None:
    """Serve; errors of ours become one line and an exit code."""
    verbosity, *path = sys.argv[1:]
    log.configure(verbosity=int(verbosity))
    try:
        config = read_config(Path(path[0]) if path else None, os.environ)
        say(Service(config, run_worker, verbosity=int(verbosity)).run())
    except BrsError as error:
        click.echo(f"error: {error}", err=True)
        say({"error": str(error), "exit_code": exit_code(error)})
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
