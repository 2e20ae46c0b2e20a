"""Commands on a whole pool: `brs demo` and `brs rank`."""

from collections import Counter
from pathlib import Path
from typing import Any

import click

from plugin.commands.asking import asked
from plugin.commands.result import archive_at, say
from plugin.dce import DceRules
from plugin.options import (
    FOLDER,
    archive_option,
    checkpoint_option,
    engine_options,
    option,
    output_option,
    rules_option,
    seed_option,
    strategy_option,
    work_option,
)
from plugin.pipeline import Segmenter
from plugin.rank import RankOptions, rank_archive
from plugin.weights import NO_DEFAULT, NONE, find_weights


@click.command()
@option("--output", type=FOLDER, default=Path("brs-demo"), help="Folder for it all.")
@checkpoint_option
@option(
    "--cases",
    type=click.IntRange(6),
    default=12,
    help="Synthetic patients, at least 6.",
)
@seed_option
@engine_options
def demo(output: Path, cases: int, seed: int, **settings: Any) -> None:
    """Run the whole loop on a synthetic cohort: no data, no network needed.

    The default checkpoint's masks are ranked; the training starts from scratch.
    """
    from plugin.demo import DemoOptions, run_demo

    settings |= {"work": output / "work", "rules": DceRules()}
    weights = find_weights(settings["checkpoint"], None, settings["work"])
    segmenter = _drawing(weights, settings)
    say(run_demo(output, DemoOptions(cases=cases, seed=seed), segmenter))


@click.command()
@archive_option()
@output_option
@work_option
@checkpoint_option
@strategy_option
@seed_option
@engine_options
@rules_option
def rank(archive: str, **settings: Any) -> None:
    """Order an archive's sessions for annotation, with a reason for each.

    Writes ranking.csv, ranking.json (replays the choice) and report.html. Measured are
    a network's masks: the project's own checkpoint's, else those of the one that comes
    with the program; with --checkpoint none, the body's boundary.
    """
    opened, output = archive_at(archive), settings["output"]
    settings["work"] = settings["work"] or output / "work"
    weights = find_weights(settings["checkpoint"], opened, settings["work"])
    options = RankOptions(
        strategy=settings["strategy"],
        seed=settings["seed"],
        rules=settings["rules"],
        segmenter=_drawing(weights, settings),
        looker=asked(weights, opened, settings),
    )
    outcome = rank_archive(opened, output, settings["work"], options)
    picks = outcome.ranking.picks
    sources = Counter(c.features.source for c in outcome.ranking.candidates)
    say(
        {
            "ranked": len(picks),
            "failed": len(outcome.failures),
            "first": picks[0].case_id,
            "sources": sources,
            "report": str(output / "report.html"),
        }
    )


def _drawing(weights: Path | None, settings: dict[str, Any]) -> Segmenter | None:
    """Return whose masks are measured, None for the body's boundary; and say which."""
    given = settings["checkpoint"]
    if weights is not None:
        from plugin.commands.segmenting import segmenter_with

        return segmenter_with(weights, settings)
    why = "as asked" if given == NONE else NO_DEFAULT
    click.echo(f"measuring the body's boundary, without a network: {why}", err=True)
    return None
