"""`brs loop`: one round of active learning after the other, state in the archive."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.active_learning import RoundRecord
from model.checkpoint import read_checkpoint
from plugin.archive import Archive
from plugin.commands.asking import asked
from plugin.commands.result import archive_at, say
from plugin.commands.segmenting import segmenter_with
from plugin.commands.training import train_options
from plugin.loop import LoopOptions, Place, run_round
from plugin.options import (
    FILE,
    archive_option,
    cache_option,
    checkpoint_option,
    data_option,
    device_option,
    engine_option,
    minutes_per_slice_option,
    option,
    output_option,
    precision_option,
    rules_option,
    scope_option,
    seed_option,
    strategy_option,
    test_share_option,
    training_options,
    work_option,
)
from plugin.pipeline import Segmenter
from plugin.rank import RankOptions
from plugin.rounds.timings import site_timings
from plugin.rounds.waiting import Waiting
from plugin.train import TrainOptions, or_unknown
from plugin.weights import find_weights, packaged_weights

if TYPE_CHECKING:
    from plugin.looking import Looker


@click.command()
@archive_option()
@output_option
@work_option
@checkpoint_option
@strategy_option
@option(
    "--ask",
    type=click.IntRange(1),
    help="Sessions to annotate in a round; unset: 10 % of the patients, at least 5.",
)
@test_share_option
@option("--without", multiple=True, help="Leave this session out; repeatable.")
@option(
    "--least-gain",
    default=0.005,
    type=click.FloatRange(0),
    help="Dice that another round must promise.",
)
@option(
    "--timings",
    type=FILE,
    help="CSV of case_id and minutes: what annotating took; then kept in the project.",
)
@minutes_per_slice_option
@data_option
@training_options
@seed_option
@engine_option
@device_option
@precision_option
@scope_option
@cache_option
@rules_option
def loop(archive: str, **settings: Any) -> None:
    """Learn round by round: rank, annotate, train, draft, record, advise.

    Each run does the one thing that is due. Without an open round it ranks the pool and
    says which sessions to annotate; while masks are missing it says which; when all are
    there it trains on them, tests on patients that are never learned from, drafts all
    other sessions for review, and records the round with advice on the next.

    All that it knows lies in the archive: any machine may do the next run.
    """
    opened = archive_at(archive)
    settings["work"] = settings["work"] or settings["output"] / "work"
    found = run_round(
        opened,
        Place(settings["output"], settings["work"]),
        _options(opened, settings),
    )
    if isinstance(found, Waiting):
        say(_waiting(found))
    elif isinstance(found, RoundRecord):
        say(_recorded(found))
    else:
        say({"state": "finished", "rounds": found.rounds})


def _options(archive: Archive, settings: dict[str, Any]) -> LoopOptions:
    def run(weights: Path) -> Segmenter:
        return segmenter_with(weights, settings, archive)

    def look(weights: Path | None) -> "Looker | None":
        return asked(weights, archive, settings)

    rank = RankOptions(settings["strategy"], settings["seed"], settings["rules"])
    return LoopOptions(
        train=_training(archive, settings),
        segmenter=run,
        looker=look,
        rank=rank,
        start=settings["checkpoint"],
        ask=settings["ask"],
        test_share=settings["test_share"],
        least_gain=settings["least_gain"],
        without=frozenset(settings["without"]),
        timings_min=site_timings(archive, settings["timings"]),
        minutes_per_slice=settings["minutes_per_slice"],
        data=settings["data"],
    )


def _training(archive: Archive, settings: dict[str, Any]) -> TrainOptions:
    """Return how each round trains: from the program's weights unless told."""
    given = settings["checkpoint"]
    weights = find_weights(given, archive, settings["work"]) if given else None
    weights = weights or (None if given else packaged_weights())
    return train_options(settings, start=read_checkpoint(weights) if weights else None)


def _waiting(found: Waiting) -> dict[str, Any]:
    opening = found.opening
    return {
        "state": "waiting",
        "round": opening.number,
        "asked": len(opening.asked),
        "waiting": found.learn,
        "test": found.test,
    }


def _recorded(record: RoundRecord) -> dict[str, Any]:
    total, delivered = record.footprints["total"], record.delivered
    return {
        "state": "recorded",
        "round": record.number,
        "patients": record.patients,
        "dice": round(record.point.dice, 4),
        "tested": 0 if record.tested is None else len(record.tested.sessions),
        "publish": len(delivered.published),
        "review": len(delivered.review),
        "hold": len(delivered.held),
        "failed": len(delivered.failures),
        "minutes_saved": round(record.minutes.saved, 1),
        "energy_kwh": or_unknown(total.energy_kwh),
        "cfp_kg": or_unknown(total.cfp_kg),
        "advice": record.advice.verdict,
        "reason": record.advice.reason,
    }
