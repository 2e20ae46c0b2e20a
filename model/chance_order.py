"""Strategies that leave the order to chance: what every other one is compared with."""

from collections.abc import Sequence

import numpy as np

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
    shuffled,
    strata,
)
from model.ranking import Candidate, Pick


def at_random(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Order by chance alone."""
    cases = by_id(pool)
    done = places_of(cases, first)
    order = patients_in_turn(cases, shuffled(len(cases), rng), done)
    return picks(cases, order, ["drawn at random"] * len(cases), done)


def stratified_random(
    pool: Sequence[Candidate], *, rng: np.random.Generator, first: Sequence[str] = ()
) -> tuple[Pick, ...]:
    """Order by chance, every prefix sharing out its picks among the BAG strata.

    A stratum is a third of the nearest points crossed with a third of the breast sizes.
    """
    cases = by_id(pool)
    done, groups = places_of(cases, first), strata(cases)
    placed: list[tuple[float, int]] = []
    for own in groups:
        places = even_places(len(own), rng)
        drawn = own[shuffled(len(own), rng)].tolist()
        placed += zip(places, leading(drawn, done), strict=True)
    order = patients_in_turn(cases, by_place(placed), done)
    names = {
        int(at): describe(cases, own.tolist(), tuple(LENGTHS_MM))
        for own in groups
        for at in own
    }
    reasons = [f"drawn at random from {names[at]}" for at in order]
    return picks(cases, order, reasons, done)
