"""Commands for XNAT's Container Service: `brs launch` and `brs command-lint`."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click

from model.atomic import write_atomically
from plugin.command_lint import lint_file
from plugin.commands.result import say
from plugin.container.cpu_variant import cpu_variant, to_text
from plugin.container.document import parse
from plugin.container.image_label import dockerfile_label, label_value
from plugin.container.launched import refuse_left_overs, verb_of
from plugin.errors import EXIT_CODES, ConfigError
from plugin.options import FILE, option

READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@option("--wrapper", required=True, help="The entry of XNAT's Run menu.")
@click.pass_context
def launch(context: click.Context, wrapper: str) -> None:
    """Run what XNAT's Run menu asked for, all settings from BRS_ variables.

    XNAT's Container Service starts every container of this image with this command.
    """
    refuse_left_overs(os.environ)
    group = cast(click.Group, context.find_root().command)
    command = group.commands[verb_of(wrapper)]
    with command.make_context(command.name, [], parent=context.parent) as inner:
        command.invoke(inner)


@click.command("command-lint")
@click.argument("files", nargs=-1, required=True, type=READABLE)
@click.option(
    "--label",
    type=click.Choice(["value", "dockerfile"]),
    help="Print the image label instead: its value, or a Dockerfile's instruction.",
)
@click.option(
    "--write-cpu", type=FILE, help="Write the CPU variant of the one command there."
)
def command_lint(
    files: tuple[Path, ...], label: str | None, write_cpu: Path | None
) -> None:
    """Check Container Service command files as the service does, and beyond.

    One line per finding; exit code 0 only without errors. With --label the findings
    go to stderr, and stdout is the label alone.
    """
    counts: Counter[str] = Counter(errors=0, warnings=0)
    for path in files:
        for finding in lint_file(path):
            click.echo(finding.line(str(path)), err=label is not None)
            counts[f"{finding.severity}s"] += 1
    if counts["errors"]:
        say(dict(counts))
        raise click.exceptions.Exit(EXIT_CODES[ConfigError])
    commands = [raw for path in files for raw in _commands(path)]
    if write_cpu is not None:
        _write_cpu(commands, write_cpu)
    if label is not None:
        click.echo((label_value if label == "value" else dockerfile_label)(commands))
    else:
        say(dict(counts))


def _commands(path: Path) -> Sequence[dict[str, Any]]:
    return parse(path.read_text(encoding="utf-8"))[0]


def _write_cpu(commands: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the CPU variant of the one command that was given."""
    if len(commands) != 1:
        raise click.UsageError("--write-cpu needs exactly one command")
    write_atomically(path, to_text(cpu_variant(commands[0])).encode())
