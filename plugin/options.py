"""Command-line options that several commands share, each also a BRS_ variable."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from model.scope import SCOPES
from model.selection import STRATEGIES
from plugin.cache import cache_folder
from plugin.rules import DceRules, read_rules

Command = TypeVar("Command", bound=Callable[..., Any])

STATE = "brs.state"
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Return a click option whose variable is BRS_ and its first long name."""
    variable = "BRS_" + names[0].removeprefix("--").upper().replace("-", "_")
    return click.option(
        *names, envvar=variable, show_envvar=True, show_default=True, **settings
    )


def archive_option(*, required: bool = True) -> Callable[[Command], Command]:
    """Return the options that name the archive, and what is kept beside a PACS."""
    archive = option(
        "--archive",
        required=required,
        help="xnat:PROJECT, xnat+https://host/PROJECT, dicom://AET@host:port, or a "
        "folder of sessions.",
    )
    state = option(
        "--state",
        type=FOLDER,
        expose_value=False,
        callback=_remember_state,
        help="Folder for what a PACS cannot keep; needed with dicom://.",
    )
    return lambda command: archive(state(command))


def _remember_state(
    context: click.Context, _option: click.Parameter, path: Path | None
) -> None:
    context.meta[STATE] = path


def state_folder() -> Path | None:
    """Return the running command's state folder, None when none was given."""
    found: Path | None = click.get_current_context().meta.get(STATE)
    return found


output_option = option(
    "--output", type=FOLDER, required=True, help="Folder for the results."
)
session_option = option(
    "--session", multiple=True, help="Only this session; repeatable."
)
rules_option = option(
    "--rules",
    type=FILE,
    callback=lambda _context, _option, path: read_rules(path) if path else DceRules(),
    help="TOML file that tells how this site's DCE series are recognised.",
)
work_option = option(
    "--work", type=FOLDER, help="Folder for what may be lost; OUTPUT/work by default."
)
checkpoint_option = option(
    "--checkpoint",
    help="Weights: a .safetensors file, its name in the project's resource, default "
    "(the program's own) or none. Unset: see the command.",
)
upload_option = option(
    "--upload",
    type=click.Choice(["rest", "handler"]),
    default="rest",
    help="handler: XNAT uploads the output of the container that it launched.",
)
data_option = option(
    "--data", default="unknown", help="What the sessions are, such as real."
)
strategy_option = option(
    "--strategy",
    type=click.Choice(sorted(STRATEGIES)),
    default="bag",
    help="How sessions are chosen for annotation.",
)
test_share_option = option(
    "--test-share",
    default=0.2,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of the patients kept out of every selection, to test all on the same.",
)
minutes_per_slice_option = option(
    "--minutes-per-slice", default=0.5, help="Assumed, to draw one slice by hand."
)
seed_option = option("--seed", default=0, help="Seed of every random choice.")
engine_option = option(
    "--engine",
    type=click.Choice(["auto", "openvino", "torch"]),
    default="auto",
    help="Who computes; auto takes the fastest that is proven for the weights.",
)
cache_option = option(
    "--cache",
    type=FOLDER,
    callback=lambda _context, _option, path: path or cache_folder(os.environ),
    help="Folder for what is measured once; the user's cache folder by default.",
)
scope_option = option(
    "--scope",
    type=click.Choice(SCOPES),
    default="whole",
    help="What the network sees: all, slices with breast, or only the breast.",
)
device_option = option("--device", default="auto", help="cpu, cuda, cuda:1 or auto.")
precision_option = option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    help="auto takes bf16 where it is faster.",
)
inference_precision_option = option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "int8"]),
    default="auto",
    help="auto takes bf16 where it is faster; int8 needs brs quantize first.",
)


cluster_option = option(
    "--cluster",
    help="local:N processes here, or the address of a Dask scheduler: "
    "tcp://host:port, tls://host:port.",
)


def engine_options(command: Command) -> Command:
    """Add what decides how a checkpoint is run."""
    for decorate in reversed(_ENGINE):
        command = decorate(command)
    return command


def config_options(command: Command) -> Command:
    """Add what decides a network's weights; defaults are the paper's (Table 1)."""
    for decorate in reversed(_CONFIG):
        command = decorate(command)
    return command


def training_options(command: Command) -> Command:
    """Add what decides a training, and the limits of each fold."""
    for decorate in reversed(_LIMITS):
        command = decorate(command)
    return config_options(command)


_ENGINE = (
    *(engine_option, device_option, inference_precision_option),
    *(scope_option, cache_option),
)
emission_option = option(
    "--emission-factor",
    default=0.475,
    help="kg of CO2 per kWh; the default is the paper's world mean.",
)
_CONFIG = (
    option(
        "--grid",
        type=click.IntRange(32),
        help="Rows and columns of the network's input; 256, or the start's.",
    ),
    option("--folds", default=5, help="Folds of the cross-validation, by patient."),
    option("--fold", type=int, help="Train only this fold, from 0."),
    option("--epochs", default=100, help="At most this many epochs."),
    option("--batch", default=8, help="Slices per step."),
    option(
        "--accumulate",
        type=click.IntRange(1),
        default=1,
        help="Compute a step's batch in so many parts, on a card that is too small.",
    ),
    option("--learning-rate", default=1e-3, help="Of RAdam, at the start."),
    option(
        "--schedule",
        type=click.Choice(["plateau", "cosine"]),
        default="plateau",
        help="How the learning rate falls.",
    ),
    option("--mirror", is_flag=True, help="Mirror half of the training slices."),
    option(
        "--coarse-epochs", default=0, help="First epochs at half the grid, and cheap."
    ),
    option(
        "--calibration-slices",
        default=0,
        help="Measure BatchNorm over so many slices before each validation.",
    ),
    option("--deterministic", is_flag=True, help="Same bits on every run."),
)
_LIMITS = (
    option(
        "--carbon-budget-g",
        type=float,
        help="Stop a fold at its best epoch once it emitted this many grams of CO2.",
    ),
    option("--minutes", type=float, help="Stop a fold after this many minutes."),
    emission_option,
)
