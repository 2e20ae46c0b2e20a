"""How an order of annotation differs from the one before it.

A pool is ranked by the body's boundary first and by a network's masks later; this tells
what the better measurement changed.
"""

import csv
import io
from dataclasses import dataclass

from scipy.stats import spearmanr

from model.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Move:
    """One session's place now and before, from 1; None where it was not ranked."""

    case_id: str
    rank: int
    before: int | None

    @property
    def places(self) -> int | None:
        """Return by how many places it is earlier now; negative is later."""
        return None if self.before is None else self.before - self.rank


@dataclass(frozen=True, slots=True)
class RankChange:
    """Every session's move in the order of now, and how far the orders agree."""

    before: Ranking
    moves: tuple[Move, ...]
    spearman: float | None
    """Over the sessions of both, -1 to 1; None for fewer than three."""

    def kept(self, first: int) -> int:
        """Return how many of the first so many were among the first so many before."""
        return sum(
            m.before is not None and m.before <= first for m in self.moves[:first]
        )

    def to_csv(self) -> str:
        """Return one line per session in the order of now."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["rank", "case_id", "previous_rank", "places"])
        for move in self.moves:
            told = ["" if v is None else v for v in (move.before, move.places)]
            writer.writerow([move.rank, move.case_id, *told])
        return text.getvalue()


def rank_change(now: Ranking, before: Ranking) -> RankChange:
    """Return what changed from ``before`` to ``now``."""
    places = {pick.case_id: pick.rank for pick in before.picks}
    moves = tuple(Move(p.case_id, p.rank, places.get(p.case_id)) for p in now.picks)
    both = [(m.rank, m.before) for m in moves if m.before is not None]
    agreement = float(spearmanr(both).statistic) if len(both) > 2 else None
    return RankChange(before, moves, agreement)
