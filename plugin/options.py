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

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Return a click option whose variable is BRS_ and its first long name."""
    variable = "BRS_" + names[0].removeprefix("--").upper().replace("-", "_")
    return click.option(
        *names, envvar=variable, show_envvar=True, show_default=True, **settings
    )


def archive_option(*, required: bool = True) -> Callable[[Command], Command]:
    """Return the option that names the archive."""
    return option(
        "--archive",
        required=required,
        help="xnat:PROJECT, xnat+https://host/PROJECT, or a folder of sessions.",
    )


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
    help="Weights: a .safetensors file, or its name in the project's resource; "
    "by default the project's own.",
)
upload_option = option(
    "--upload",
    type=click.Choice(["rest", "handler"]),
    default="rest",
    help="handler: XNAT uploads the output of the container that it launched.",
)
strategy_option = option(
    "--strategy",
    type=click.Choice(sorted(STRATEGIES)),
    default="bag",
    help="How sessions are chosen for annotation.",
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


def training_options(command: Command) -> Command:
    """Add what decides a training; defaults are the paper's (Table 1)."""
    for decorate in reversed(_TRAINING):
        command = decorate(command)
    return command


_TRAINING = (
    option("--grid", default=256, help="Rows and columns of the network's input."),
    option("--folds", default=5, help="Folds of the cross-validation, by patient."),
    option("--fold", type=int, help="Train only this fold, from 0."),
    option("--epochs", default=100, help="At most this many epochs."),
    option("--batch", default=8, help="Slices per step."),
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
    option(
        "--carbon-budget-g",
        type=float,
        help="Stop a fold at its best epoch once it emitted this many grams of CO2.",
    ),
    option("--minutes", type=float, help="Stop a fold after this many minutes."),
    option(
        "--emission-factor",
        default=0.475,
        help="kg of CO2 per kWh; the default is the paper's world mean.",
    ),
)
