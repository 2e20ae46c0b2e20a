"""The options that every benchmark has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
RESULTS = Path(__file__).parent / "results"
DEFAULT_WEIGHTS = Path("model/weights/default.safetensors")


def repeats_option(default: int) -> Callable[[Command], Command]:
    """Return the option that says how often every way runs."""
    return click.option(
        "--repeats", default=default, show_default=True, help="Timed runs of each way."
    )


out_option = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS,
    help="Folder for the result as JSON; benchmarks/results by default.",
)


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: a GPU, where there is one.",
)


weights_option = click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=DEFAULT_WEIGHTS,
    help="The default one of the package when not given.",
)


def count_option(name: str, default: int, help_: str) -> Callable[[Command], Command]:
    """Return an option that makes a run smaller or larger."""
    return click.option(name, default=default, show_default=True, help=help_)
