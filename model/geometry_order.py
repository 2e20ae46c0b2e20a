"""Strategies that cover the distribution of BAG features (paper, 2.2.1).

Each pick represents a cluster: it is the session that brings the whole pool closest to
its nearest pick (greedy k-medoids).
"""

from collections.abc import Sequence

import numpy as np

from model.coverage import clusters, greedy_order
from model.picking import (
    BREAST_SIZE,
    LENGTHS_MM,
    NEAREST_POINT,
    by_id,
    describe,
    patients_in_turn,
    picks,
    places_of,
    points,
)
from model.ranking import Candidate, Pick


def nearest_point(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Cover the distribution of nearest points."""
    return _cover(pool, (NEAREST_POINT,), first)


def breast_size(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Cover the distribution of breast sizes."""
    return _cover(pool, (BREAST_SIZE,), first)


def bag(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Cover both distributions jointly, each in robust standard deviations."""
    return _cover(pool, tuple(LENGTHS_MM), first)


def _cover(
    pool: Sequence[Candidate], names: Sequence[str], first: Sequence[str]
) -> tuple[Pick, ...]:
    cases = by_id(pool)
    where, done = points(cases, names), places_of(cases, first)
    order = patients_in_turn(cases, greedy_order(where, done), done)
    reasons = [
        f"represents {describe(cases, members.tolist(), names)}"
        for _, members in clusters(where, order)
    ]
    return picks(cases, order, reasons, done)
