"""The recipe of a pretraining: one small file that decides the weights."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from model.errors import TrainingError
from model.pretraining.annotator import BY_THE_RULE, Annotation
from model.pretraining.sampler import Mix, Stage

DEFAULT_RECIPE = Path(__file__).with_name("recipe.toml")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, besides the budget and the engine."""

    seed: int
    learning_rate: float
    weight_decay: float
    decay_from: float
    cross_entropy: float
    average_decay: float
    calibration_batches: int
    patients: int
    mix: Mix
    stages: tuple[Stage, ...]
    annotation: Annotation = BY_THE_RULE

    def stage(self, share: float) -> Stage:
        """Return the stage at a share of the budget."""
        return next((s for s in self.stages if share < s.until), self.stages[-1])

    def rate(self, share: float) -> float:
        """Return the learning rate at a share of the budget: flat, then a cosine."""
        fall = max(0.0, share - self.decay_from) / (1 - self.decay_from)
        return self.learning_rate * (1 + math.cos(math.pi * min(1.0, fall))) / 2

    def record(self) -> dict[str, Any]:
        """Return the recipe as it stands in a manifest."""
        return asdict(self) | {"stages": [asdict(stage) for stage in self.stages]}


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a pretraining, whichever comes first; None is no limit."""

    steps: int | None = None
    minutes: float | None = None
    carbon_g: float | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What a pretraining has used so far, earlier runs of it included."""

    steps: int = 0
    minutes: float = 0.0
    carbon_g: float | None = None


def share_of(limits: Limits, spent: Spent) -> float:
    """Return how much of the scarcest limit is used, 1 when it is used up.

    Raises
    ------
    TrainingError
        If there is no limit, or one of carbon where no energy can be measured.
    """
    if limits.carbon_g is not None and spent.carbon_g is None:
        raise TrainingError(
            "carbon budget",
            found="a device in use whose energy cannot be measured",
            needed="NVML for each GPU in use, readable RAPL for a CPU",
            mend="limit the training by minutes or steps instead",
        )
    pairs = (
        (limits.steps, spent.steps),
        (limits.minutes, spent.minutes),
        (limits.carbon_g, spent.carbon_g),
    )
    shares = [(used or 0) / limit for limit, used in pairs if limit]
    if not shares:
        raise TrainingError(
            "pretraining",
            found="no budget",
            needed="a limit: the learning rate falls to zero along it",
            mend="give --steps, --minutes or --carbon-budget-g",
        )
    return max(shares)


def read_recipe(path: Path = DEFAULT_RECIPE) -> Recipe:
    """Return the recipe in a TOML file.

    Raises
    ------
    TrainingError
        If the file is missing, or its keys or values are not a recipe's.
    """
    try:
        return _recipe(tomllib.loads(path.read_text()))
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise TrainingError(
            str(path),
            found=f"no recipe ({error})",
            needed=f"the keys {', '.join(f.name for f in fields(Recipe))}",
            mend=f"start from a copy of {DEFAULT_RECIPE.name}",
        ) from error


def _recipe(values: Mapping[str, Any]) -> Recipe:
    stages = tuple(_stage(stage) for stage in values["stages"])
    annotation = Annotation(**values.get("annotation", {}))
    parts = {"mix": Mix(**values["mix"]), "stages": stages, "annotation": annotation}
    recipe = Recipe(**{**values, **parts})
    ends = [stage.until for stage in stages]
    if not ends or ends != sorted(ends) or ends[-1] != 1:
        raise ValueError("the stages must rise to 1")
    return recipe


def _stage(values: Mapping[str, Any]) -> Stage:
    stage = Stage(**{**values, "others_px": tuple(values.get("others_px", ()))})
    if any(grid_px % 8 or grid_px <= 0 for grid_px in stage.grids_px):
        raise ValueError("a grid must be a multiple of 8")
    if stage.echo < 1 or stage.batch % stage.echo or stage.batch <= 0:
        raise ValueError("a batch must be a multiple of its echo")
    return stage
