"""The command line: each command parses, calls one function, prints one JSON line.

Stdout's last line is the result; people read stderr. Exit codes are in
``plugin.errors`` and docs/reference/cli.md.
"""

import os
import sys

import click

from model.errors import BrsError
from model.processors import bound_threads
from plugin import log
from plugin.commands.result import say
from plugin.errors import exit_code
from plugin.lazy_commands import Entry, LazyGroup
from plugin.version import VERSION

COMMANDS = {
    "demo": Entry("pool:demo", "Run the whole loop on a synthetic cohort"),
    "rank": Entry("pool:rank", "Order an archive's sessions for annotation"),
    "pretrain": Entry("pretraining:pretrain", "Train from synthetic patients alone"),
    "train": Entry("training:train", "Train from an archive's annotated sessions"),
    "finetune": Entry("training:finetune", "Go on training a checkpoint"),
    "loop": Entry("loop:loop", "Learn round by round"),
    "segment": Entry("segmenting:segment", "Segment one folder or an archive"),
    "experiment": Entry(
        "experiment:experiment",
        "Compare strategies",
    ),
    "serve": Entry(
        "service:serve",
        "Receive studies from a PACS, segment them, and send their masks back",
    ),
    "quantize": Entry("quantizing:quantize", "Make an int8 network for a checkpoint"),
    "engine": Entry(
        "engine:engine", "Say which engine runs a checkpoint on this machine"
    ),
    "review": Entry("masks:review", "Accept or reject a session's draft mask"),
    "evaluate": Entry(
        "masks:evaluate",
        "Compare the network's masks with human ones",
    ),
    "export": Entry("masks:export", "Write a session's pair and mask as RAS NIfTI"),
    "import": Entry("masks:import_", "Store a mask that a person drew as NIfTI"),
    "command-lint": Entry(
        "container:command_lint",
        "Check Container Service command files",
    ),
    "launch": Entry("container:launch", "Run what XNAT's Run menu asked for"),
    "xnat-install": Entry(
        "xnat:xnat_install",
        "Register and enable the command on an XNAT server",
    ),
    "doctor": Entry("xnat:doctor", "Check an archive and this machine"),
}
"""A command is imported when it runs; its line here begins as its own help does."""
INTERRUPTED = 130


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("-v", "--verbose", count=True, help="More on stderr; twice for all.")
@click.version_option(VERSION)
def cli(verbose: int) -> None:
    """Breast region segmentation beside XNAT and PACS. Not a medical device.

    A session's way: rank -> annotate -> train -> segment -> review -> evaluate.
    """
    log.configure(verbosity=verbose)


def main() -> None:
    """Run the command line; errors of ours become one line and an exit code."""
    given = dict(os.environ)
    bound_threads(os.environ)
    try:
        code = cli.main(standalone_mode=False, obj=given)
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
