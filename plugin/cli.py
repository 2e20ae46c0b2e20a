"""The command line: each command parses, calls one function, prints one JSON line.

Stdout's last line is the result; people read stderr. Exit codes are in
``plugin.errors`` and docs/reference/cli.md.
"""

import sys

import click

from model.errors import BrsError
from plugin import log
from plugin.commands.container import command_lint, launch
from plugin.commands.experiment import experiment
from plugin.commands.masks import evaluate, export, import_, review
from plugin.commands.pool import demo, rank
from plugin.commands.pretraining import pretrain
from plugin.commands.result import say
from plugin.commands.segmenting import segment
from plugin.commands.service import serve
from plugin.commands.training import finetune, train
from plugin.commands.xnat import doctor, xnat_install
from plugin.errors import exit_code
from plugin.version import VERSION

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", count=True, help="More on stderr; twice for all.")
@click.version_option(VERSION)
def cli(verbose: int) -> None:
    """Breast region segmentation beside XNAT and PACS. Not a medical device.

    A session's way: rank -> annotate -> train -> segment -> review -> evaluate.
    """
    log.configure(verbosity=verbose)


for command in (
    *(demo, rank, pretrain, train, finetune, segment, experiment),
    *(review, evaluate, export, import_, serve),
    *(command_lint, launch, xnat_install, doctor),
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors of ours become one line and an exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as asked:
        code = asked.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = INTERRUPTED
    except BrsError as error:
        click.echo(f"error: {error}", err=True)
        code = exit_code(error)
        say({"error": str(error), "exit_code": code})
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
