"""Commands on a whole pool: `brs demo` and `brs rank`."""

from pathlib import Path

import click

from plugin.archive import open_archive
from plugin.commands.result import say
from plugin.dce import DceRules
from plugin.demo import DemoOptions, run_demo
from plugin.options import (
    FOLDER,
    archive_option,
    option,
    output_option,
    rules_option,
    seed_option,
    strategy_option,
)
from plugin.rank import RankOptions, rank_archive


@click.command()
@option("--output", type=FOLDER, default=Path("brs-demo"), help="Folder for it all.")
@option(
    "--cases",
    type=click.IntRange(6),
    default=12,
    help="Synthetic patients, at least 6.",
)
@seed_option
def demo(output: Path, cases: int, seed: int) -> None:
    """Run the whole loop on a synthetic cohort: no data, no network needed."""
    say(run_demo(output, DemoOptions(cases=cases, seed=seed)))


@click.command()
@archive_option
@output_option
@strategy_option
@seed_option
@rules_option
def rank(archive: str, output: Path, strategy: str, seed: int, rules: DceRules) -> None:
    """Order an archive's sessions for annotation, with a reason for each.

    Writes ranking.csv, ranking.json (replays the choice) and report.html.
    """
    options = RankOptions(strategy=strategy, seed=seed, rules=rules)
    outcome = rank_archive(open_archive(archive), output, output / "work", options)
    picks = outcome.ranking.picks
    say(
        {
            "ranked": len(picks),
            "failed": len(outcome.failures),
            "first": picks[0].case_id,
            "report": str(output / "report.html"),
        }
    )
