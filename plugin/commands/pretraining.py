"""The command that makes weights from synthetic patients: `brs pretrain`."""

from pathlib import Path
from typing import Any

import click

from model.engine import choose_engine
from model.pretraining.recipe import DEFAULT_RECIPE, Limits, read_recipe
from plugin.commands.result import say
from plugin.options import (
    FILE,
    device_option,
    option,
    output_option,
    precision_option,
    work_option,
)
from plugin.pretrain import PretrainOptions, run_pretraining
from plugin.train import or_unknown


@click.command()
@output_option
@work_option
@option("--recipe", type=FILE, help="TOML file; the package's own by default.")
@option("--steps", type=int, help="Budget in steps.")
@option("--minutes", type=float, help="Budget in minutes, earlier runs included.")
@option("--carbon-budget-g", type=float, help="Budget in grams of CO2.")
@option("--emission-factor", default=0.475, help="kg of CO2 per kWh.")
@option("--workers", default=1, help="Processes that draw slices.")
@device_option
@precision_option
def pretrain(output: Path, work: Path | None, **settings: Any) -> None:
    """Train from synthetic patients alone, with a carbon log; resumable."""
    options = PretrainOptions(
        output=output,
        work=work or output / "work",
        engine=choose_engine(
            device=settings["device"],
            precision=settings["precision"],
            training=True,
        ),
        recipe=read_recipe(settings["recipe"] or DEFAULT_RECIPE),
        limits=Limits(
            settings["steps"], settings["minutes"], settings["carbon_budget_g"]
        ),
        workers=settings["workers"],
        factor_kg_per_kwh=settings["emission_factor"],
    )
    outcome = run_pretraining(options)
    say(
        {
            "checkpoint": str(outcome.checkpoint),
            "steps": outcome.spent.steps,
            "minutes": round(outcome.spent.minutes, 2),
            "energy_kwh": or_unknown(outcome.footprint.energy_kwh),
            "cfp_kg": or_unknown(outcome.footprint.cfp_kg),
        }
    )
