"""Rounds of active learning on an archive: each run does the one thing that is due."""

from dataclasses import dataclass

from model.active_learning import RoundRecord
from plugin.archive import Archive
from plugin.fold_store import deploy_fold
from plugin.rounds.closing import close_round
from plugin.rounds.opening import open_round
from plugin.rounds.place import LoopOptions as LoopOptions
from plugin.rounds.place import Place as Place
from plugin.rounds.store import read_rounds
from plugin.rounds.waiting import Waiting, who_waits


@dataclass(frozen=True, slots=True)
class Finished:
    """Nobody is left to annotate."""

    rounds: int


def run_round(
    archive: Archive, place: Place, options: LoopOptions
) -> Waiting | RoundRecord | Finished:
    """Open the next round, or wait for its masks, or close it.

    What the archive holds decides which; see docs/adr/0029-rounds.md. Results for
    people lie under ``place.output``, in a folder for each round.

    Raises
    ------
    LeakageError
        If a patient is on both sides of the split. ArchiveError if another runner
        closed the round first.
    """
    archive.prepare(None)
    rounds = read_rounds(archive)
    if rounds.records:
        deploy_fold(archive, rounds.records[-1].checkpoint_sha256)
    here = Place(place.output / f"round-{rounds.number:04d}", place.work)
    opening = rounds.opening or open_round(
        archive, rounds.records, rounds.before, here, options
    )
    if opening is None:
        return Finished(len(rounds.records))
    waiting = who_waits(archive, opening, place.work, options.without)
    if waiting:
        return waiting
    return close_round(archive, opening, rounds.records, here, options)
