"""`brs experiment`: strategies compared on an archive's annotated sessions."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from model.cell import fcn
from model.engine import choose_engine
from model.estimate import Estimate
from model.experiment import Design
from model.grid import one_by_one
from model.selection import STRATEGIES
from model.study_files import Document
from plugin.beginning import Beginning, beginning_at
from plugin.cluster import Crew, crew_at
from plugin.commands.result import archive_at, say
from plugin.commands.training import train_config
from plugin.experiment import (
    ANNOTATION,
    BOUNDARY,
    ExperimentOptions,
    here,
    plan_experiment,
    run_experiment,
)
from plugin.options import (
    FILE,
    archive_option,
    checkpoint_option,
    cluster_option,
    config_options,
    data_option,
    device_option,
    emission_option,
    minutes_per_slice_option,
    option,
    output_option,
    precision_option,
    rules_option,
    test_share_option,
    work_option,
)
from plugin.reports.experiment import StudyFindings, headline, study_verdict
from plugin.train import or_unknown
from plugin.weights import NONE, find_weights

PAPER = "random,nearest-point,breast-size,hybrid,stratified-random"


def _listed(kind: Callable[[str], Any]) -> Callable[..., tuple[Any, ...]]:
    """Return a callback that reads a comma-separated list."""

    def read(context: click.Context, parameter: click.Parameter, text: str) -> Any:
        try:
            return tuple(kind(part.strip()) for part in text.split(","))
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from error

    return read


def _strategy(name: str) -> str:
    if name not in STRATEGIES:
        raise ValueError(f"{name!r} is none of {', '.join(sorted(STRATEGIES))}")
    return name


def _share(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise ValueError(f"{text} is not above 0 and at most 1")
    return float(text)


@click.command()
@archive_option()
@output_option
@work_option
@option(
    "--strategies",
    default=PAPER,
    callback=_listed(_strategy),
    help="What is compared, separated by commas.",
)
@option(
    "--proportions",
    default="0.1,0.2,0.3,0.4",
    callback=_listed(_share),
    help="Shares of the pool's patients to annotate.",
)
@option("--seeds", default="0", callback=_listed(int), help="One study each.")
@test_share_option
@option(
    "--features",
    type=click.Choice([BOUNDARY, ANNOTATION]),
    default=BOUNDARY,
    help="What strategies know: boundary, as before any annotation, or the masks.",
)
@data_option
@minutes_per_slice_option
@config_options
@device_option
@precision_option
@emission_option
@rules_option
@checkpoint_option
@option("--hours", type=float, help="Begin no training after so many hours.")
@option("--carbon-limit-g", type=float, help="Begin none once all emitted so much.")
@cluster_option
@option("--plan", is_flag=True, help="Say what is left to do and what it takes; stop.")
@option("--replay", type=FILE, help="Do the study of this experiment.json again.")
def experiment(archive: str, **settings: Any) -> None:
    """Compare strategies: train on what each selects, test on the others.

    Every training begins from nothing, as the paper's, or from --checkpoint.
    """
    opened, output = archive_at(archive), settings["output"]
    work: Path = settings["work"] or output / "work"
    weights = find_weights(settings["checkpoint"] or NONE, opened, work)
    start = beginning_at(weights) if weights else None
    with crew_at(settings["cluster"]) if settings["cluster"] else nullcontext() as crew:
        options = _options(settings, crew, start)
        if settings["plan"]:
            say(_plan(plan_experiment(opened, output, work, options)))
        else:
            say(_result(run_experiment(opened, output, work, options), output))


def _plan(left: Estimate) -> dict[str, Any]:
    numbers = {name: round(value, 3) for name, value in asdict(left).items() if value}
    energy = or_unknown(left.energy_kwh)
    return {**asdict(left), **numbers, "energy_kwh": energy}


def _options(
    settings: dict[str, Any], crew: Crew | None, start: Beginning | None
) -> ExperimentOptions:
    if start:
        settings["grid"] = settings["grid"] or start.manifest.grid_px
    choose = crew.engine if crew else partial(choose_engine, training=True)
    replay: Path | None = settings["replay"]
    return ExperimentOptions(
        design=Design(
            strategies=settings["strategies"],
            proportions=settings["proportions"],
            seeds=settings["seeds"],
            config=train_config(settings, seed=0),
            only_fold=settings["fold"],
            test_share=settings["test_share"],
            weights_sha256=start.manifest.weights_sha256 if start else "",
        ),
        network=start or fcn,
        learned=start.manifest.learned if start else frozenset(),
        engine=choose(device=settings["device"], precision=settings["precision"]),
        features=settings["features"],
        data=settings["data"],
        minutes_per_slice=settings["minutes_per_slice"],
        rules=settings["rules"],
        hours=settings["hours"],
        carbon_g=settings["carbon_limit_g"],
        factor_kg_per_kwh=settings["emission_factor"],
        runner=crew.run if crew else one_by_one,
        ask=crew.ask if crew else here,
        alone=crew.alone() if crew else True,
        replayed=Document.from_json(replay.read_text()) if replay else None,
    )


def _result(found: StudyFindings, output: Path) -> dict[str, Any]:
    verdicts = [one.verdict for one in headline(found)]
    return {
        "cases": len(found.document.candidates),
        "trainings": len(found.document.cells),
        "missing": found.document.missing,
        "stopped_by": found.document.stopped_by,
        "better": verdicts.count("better"),
        "worse": verdicts.count("worse"),
        "compared": len(verdicts),
        "verdict": study_verdict(found),
        "failed": len(found.failures),
        "report": str(output / "report.html"),
    }
