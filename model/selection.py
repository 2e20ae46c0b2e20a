"""Strategies that order a pool of sessions for annotation, each with its reasons.

A strategy returns the full order of the pool, so the first 10 % is a prefix of the
first 20 % and no annotation is wasted. Every patient is picked once before any patient
is picked twice: the first ``n`` picks are ``n`` different patients as long as there are
that many, because training data are counted in patients. What is annotated already
leads, and the rest goes on from it.

Features are used in mm, which no choice of grid changes. A new strategy is one function
and one line in ``STRATEGIES``.
"""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol

import numpy as np

from model.chance_order import at_random, stratified_random
from model.errors import SelectionError
from model.geometry_order import bag, breast_size, nearest_point
from model.network_order import bag_uncertainty, coreset, uncertainty
from model.picking import by_id, patients_in_turn, picks, places_of
from model.ranking import Candidate, Pick, Ranking, rounded

__all__ = [
    "NETWORK_STRATEGIES",
    "STRATEGIES",
    "Candidate",
    "Pick",
    "Ranking",
    "Strategy",
    "rank",
    "replay",
    "training_count",
]

ENGINE = "brs-selection/1"
FOLDS = 5
"""Cross-validation by patient needs one patient per fold."""


class Strategy(Protocol):
    """Order a pool: all its sessions once, best first, the same for the same rng."""

    def __call__(
        self,
        pool: Sequence[Candidate],
        *,
        rng: np.random.Generator,
        first: Sequence[str] = (),
    ) -> tuple[Pick, ...]:
        """Return the full nested order; the pool's own order must not matter.

        ``first`` are case ids that are annotated already: they lead, in this order.
        """
        ...


def rank(
    pool: Sequence[Candidate], *, strategy: str, seed: int, first: Sequence[str] = ()
) -> Ranking:
    """Return the order in which to annotate the pool, with all that it rests on.

    Raises
    ------
    SelectionError
        If the pool is empty, names a session twice or lacks one of ``first``, or the
        strategy is unknown or needs a checkpoint that has not looked at the pool.
    """
    _check(pool, strategy, first)
    cases = tuple(map(rounded, by_id(pool)))
    rng = np.random.default_rng(seed)
    order = STRATEGIES[strategy](cases, rng=rng, first=first)
    package = version("xnat-brs")
    return Ranking(strategy, seed, ENGINE, package, cases, order, tuple(first))


def replay(ranking: Ranking) -> Ranking:
    """Return the ranking computed again from its own feature table."""
    return rank(
        ranking.candidates,
        strategy=ranking.strategy,
        seed=ranking.seed,
        first=ranking.first,
    )


def training_count(patients: int, proportion: float) -> int:
    """Return how many patients a proportion trains on: at least five, at most all."""
    if not 0 < proportion <= 1:
        raise SelectionError(
            "proportion",
            found=f"{proportion:g}",
            needed="more than 0 and at most 1",
            mend="give 0.3 for 30 %",
        )
    return min(patients, max(FOLDS, round(proportion * patients)))


def hybrid(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Let the paper's three strategies pick in turn, none a session already picked."""
    cases = by_id(pool)
    turns = [
        (name, iter(strategy(cases, rng=rng)))
        for name, strategy in PAPER_STRATEGIES.items()
    ]
    reasons = dict.fromkeys(first, "")
    for at in range(len(first), len(cases)):
        name, queue = turns[at % len(turns)]
        pick = next(pick for pick in queue if pick.case_id not in reasons)
        reasons[pick.case_id] = f"by {name}: {pick.reason}"
    done = places_of(cases, first)
    order = patients_in_turn(cases, places_of(cases, reasons), done)
    return picks(cases, order, [reasons[cases[at].case_id] for at in order], done)


PAPER_STRATEGIES: dict[str, Strategy] = {
    "random": at_random,
    "nearest-point": nearest_point,
    "breast-size": breast_size,
}
NETWORK_STRATEGIES: dict[str, Strategy] = {
    "uncertainty": uncertainty,
    "coreset": coreset,
    "bag+uncertainty": bag_uncertainty,
}
"""Those that need the evidence of a checkpoint with every candidate."""
STRATEGIES: dict[str, Strategy] = {
    **PAPER_STRATEGIES,
    "hybrid": hybrid,
    "stratified-random": stratified_random,
    "bag": bag,
    **NETWORK_STRATEGIES,
}


def _check(pool: Sequence[Candidate], strategy: str, first: Sequence[str]) -> None:
    if strategy not in STRATEGIES:
        raise SelectionError(
            "strategy",
            found=repr(strategy),
            needed=f"one of {', '.join(sorted(STRATEGIES))}",
            mend="choose another strategy",
        )
    if not pool:
        raise SelectionError(
            "pool", found="no session", needed="at least one", mend="check the archive"
        )
    twice = [i for i, n in Counter(c.case_id for c in pool).items() if n > 1]
    if twice:
        raise SelectionError(
            "pool",
            found=f"{len(twice)} sessions more than once, {min(twice)} among them",
            needed="each session once",
            mend="remove the duplicates",
        )
    missing = set(first) - {candidate.case_id for candidate in pool}
    if missing or len(set(first)) < len(first):
        raise SelectionError(
            "annotated sessions",
            found=f"{len(missing)} that are not in the pool, or one named twice",
            needed="each once, and in the pool",
            mend="rank the pool that holds them",
        )
