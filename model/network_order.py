"""Strategies that ask a checkpoint: what it is unsure of, and what it has not seen.

They need an ``Evidence`` with every candidate, and look at nothing else but BAG.
"""

from collections.abc import Sequence

import numpy as np

from model.coverage import Points, farthest_first
from model.errors import SelectionError
from model.picking import (
    LENGTHS_MM,
    by_id,
    by_place,
    describe,
    even_places,
    leading,
    patients_in_turn,
    picks,
    places_of,
    strata,
)
from model.ranking import EMBEDDING_DECIMALS, Candidate, Evidence, Pick


def uncertainty(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Order by the disagreement of the network's masks; calibrated entropy on a tie."""
    cases = by_id(pool)
    done, seen = places_of(cases, first), _evidence(cases)
    order = patients_in_turn(cases, _least_sure(range(len(cases)), seen), done)
    return picks(cases, order, [_unsure(seen[at]) for at in order], done)


def coreset(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Pick, each time, the session farthest from all picks in the encoder's features.

    The k-centre greedy of Sener and Savarese, Active Learning for Convolutional Neural
    Networks: A Core-Set Approach (ICLR 2018).
    """
    cases = by_id(pool)
    done, seen = places_of(cases, first), _evidence(cases)
    gap = dict(farthest_first(_embedded(seen), done))
    order = patients_in_turn(cases, gap, done)
    return picks(cases, order, [_far(gap[at]) for at in order], done)


def bag_uncertainty(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Share out the picks among the BAG strata, the least sure of each stratum first.

    Uncertainty alone picks its like again and again; the strata keep it apart.
    """
    cases = by_id(pool)
    done, seen, groups = places_of(cases, first), _evidence(cases), strata(cases)
    placed = [
        entry
        for own in groups
        for entry in zip(
            even_places(len(own), rng),
            leading(_least_sure(own.tolist(), seen), done),
            strict=True,
        )
    ]
    order = patients_in_turn(cases, by_place(placed), done)
    names = {
        int(at): describe(cases, own.tolist(), tuple(LENGTHS_MM))
        for own in groups
        for at in own
    }
    reasons = [f"{_unsure(seen[at])}, among {names[at]}" for at in order]
    return picks(cases, order, reasons, done)


def _evidence(cases: Sequence[Candidate]) -> list[Evidence]:
    seen = [case.evidence for case in cases if case.evidence is not None]
    if len(seen) < len(cases):
        raise SelectionError(
            "pool",
            found=f"{len(cases) - len(seen)} sessions that no checkpoint has looked at",
            needed="masks and features of one checkpoint for every session",
            mend="give a checkpoint, or choose a strategy that needs no network",
        )
    return seen


def _least_sure(members: Sequence[int], seen: Sequence[Evidence]) -> list[int]:
    return sorted(
        members,
        key=lambda at: (-seen[at].disagreement, -(seen[at].entropy or 0.0), at),
    )


def _unsure(evidence: Evidence) -> str:
    return f"{evidence.members} masks of it disagree by {evidence.disagreement:.3f}"


def _far(gap: int | None) -> str:
    if gap is None:
        return "the middle of the encoder's features"
    length = gap**0.5 / 10**EMBEDDING_DECIMALS
    return f"{length:.2f} from the nearest pick in the encoder's features"


def _embedded(seen: Sequence[Evidence]) -> Points:
    """Return the embeddings as whole steps of their last decimal, (cases, features)."""
    lengths = {len(evidence.embedding) for evidence in seen}
    if len(lengths) > 1 or 0 in lengths:
        raise SelectionError(
            "pool",
            found=f"encoder features of {sorted(lengths)} numbers",
            needed="features of one encoder for every session",
            mend="let one checkpoint look at the whole pool again",
        )
    steps = np.array([evidence.embedding for evidence in seen]) * 10**EMBEDDING_DECIMALS
    whole: Points = np.rint(steps).astype(np.int64)
    return whole
