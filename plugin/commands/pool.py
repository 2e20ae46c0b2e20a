"""Commands on a whole pool: `brs demo` and `brs rank`."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from plugin.archive import Archive
from plugin.commands.asking import asked
from plugin.commands.result import archive_at, say
from plugin.dce import DceRules
from plugin.options import (
    FOLDER,
    archive_option,
    checkpoint_option,
    cluster_option,
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

    The default checkpoint's masks are ranked, and it is fine-tuned on the annotated
    ones; --checkpoint none ranks without a network and trains from scratch.
    """
    from model.checkpoint import read_checkpoint
    from plugin.demo import DemoOptions, run_demo

    settings |= {"work": output / "work", "rules": DceRules()}
    weights = find_weights(settings["checkpoint"], None, settings["work"])
    segmenter = _drawing(weights, None, settings)
    start = read_checkpoint(weights) if weights else None
    say(run_demo(output, DemoOptions(cases=cases, seed=seed), segmenter, start))


@click.command()
@archive_option()
@output_option
@work_option
@checkpoint_option
@strategy_option
@seed_option
@engine_options
@rules_option
@cluster_option
def rank(archive: str, **settings: Any) -> None:
    """Order an archive's sessions for annotation, with a reason for each.

    Writes ranking.csv, ranking.json (replays the choice) and report.html. Measured are
    a network's masks: the project's own checkpoint's, else those of the one that comes
    with the program; with --checkpoint none, the body's boundary.
    """
    opened, output = archive_at(archive), settings["output"]
    settings["work"] = settings["work"] or output / "work"
    weights = find_weights(settings["checkpoint"], opened, settings["work"])
    with _measuring(archive, opened, weights, settings) as how:
        options = RankOptions(
            settings["strategy"], settings["seed"], settings["rules"], **how
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


@contextmanager
def _measuring(
    uri: str, archive: Archive, weights: Path | None, settings: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Return who measures and looks: this process, or the workers of a cluster."""
    if not settings["cluster"]:
        yield {
            "segmenter": _drawing(weights, archive, settings),
            "looker": asked(weights, archive, settings),
        }
        return
    from plugin.commands.elsewhere import assigned, measured_by

    if weights is None:
        _say_without(settings)
    with assigned(settings["cluster"], uri, weights, settings) as (crew, assignment):
        yield {"elsewhere": measured_by(crew, assignment)}


def _drawing(
    weights: Path | None, archive: Archive | None, settings: dict[str, Any]
) -> Segmenter | None:
    """Return whose masks are measured, None for the body's boundary; and say which."""
    if weights is not None:
        from plugin.commands.segmenting import segmenter_with

        return segmenter_with(weights, settings, archive)
    _say_without(settings)
    return None


def _say_without(settings: dict[str, Any]) -> None:
    why = "as asked" if settings["checkpoint"] == NONE else NO_DEFAULT
    click.echo(f"measuring the body's boundary, without a network: {why}", err=True)
