"""Commands on a whole pool: `brs demo` and `brs rank`."""

from pathlib import Path
from typing import Any

import click

from plugin.commands.result import archive_at, say
from plugin.options import (
    FOLDER,
    archive_option,
    option,
    output_option,
    rules_option,
    seed_option,
    strategy_option,
    work_option,
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
    from plugin.demo import DemoOptions, run_demo

    say(run_demo(output, DemoOptions(cases=cases, seed=seed)))


@click.command()
@archive_option()
@output_option
@work_option
@strategy_option
@seed_option
@rules_option
def rank(archive: str, output: Path, work: Path | None, **settings: Any) -> None:
    """Order an archive's sessions for annotation, with a reason for each.

    Writes ranking.csv, ranking.json (replays the choice) and report.html.
    """
    work = work or output / "work"
    options = RankOptions(**settings)
    outcome = rank_archive(archive_at(archive), output, work, options)
    picks = outcome.ranking.picks
    say(
        {
            "ranked": len(picks),
            "failed": len(outcome.failures),
            "first": picks[0].case_id,
            "report": str(output / "report.html"),
        }
    )
