"""The last line of stdout."""

import json
from typing import Any

import click


def say(result: dict[str, Any]) -> None:
    """Print a command's result as one line of JSON; people read stderr."""
    click.echo(json.dumps(result, sort_keys=True))
