"""One command of the program, run in this process."""

import json
from typing import Any

from click.testing import CliRunner

from plugin.cli import cli


def brs(*arguments: object) -> dict[str, Any]:
    """Run one command that succeeds; return the JSON of its last line."""
    run = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert run.exit_code == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result
