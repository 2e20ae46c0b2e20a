"""What all strategies share: features as columns, patients in turn, picks with reasons.

A strategy works on cases sorted by id, so the pool's own order never matters.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model.bag import BagFeatures
from model.coverage import Points
from model.ranking import Candidate, Pick

STRATA_PER_FEATURE = 3
LENGTH_STEP_MM = 0.1
"""Lengths become whole steps, so that coverage is computed in integers."""
ROBUST_STEPS = 1000
"""Integer steps per robust standard deviation when features are joined."""
IQR_PER_SIGMA = 1.349
"""Interquartile range of a normal distribution in standard deviations."""
ANNOTATED = "annotated already"

NEAREST_POINT, BREAST_SIZE = "nearest point", "breast size"
LENGTHS_MM: Mapping[str, Callable[[BagFeatures], float]] = {
    NEAREST_POINT: lambda features: features.nearest_point_mm,
    BREAST_SIZE: lambda features: features.breast_size_mm,
}


def by_id(pool: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates in the order of their case ids."""
    return sorted(pool, key=lambda candidate: candidate.case_id)


def places_of(cases: Sequence[Candidate], case_ids: Iterable[str]) -> list[int]:
    """Return where these case ids stand among ``cases``."""
    place = {case.case_id: at for at, case in enumerate(cases)}
    return [place[case_id] for case_id in case_ids]


def patients_in_turn(
    cases: Sequence[Candidate], order: Iterable[int], first: Sequence[int] = ()
) -> list[int]:
    """Return ``first``, then ``order`` without it, each patient once before any twice.

    Patients of ``first`` count as met.
    """
    met = Counter(cases[at].patient_key for at in first)
    early, rounds = set(first), []
    for at in order:
        if at in early:
            continue
        rounds.append((met[cases[at].patient_key], at))
        met[cases[at].patient_key] += 1
    return [*first, *(at for _, at in sorted(rounds, key=lambda entry: entry[0]))]


def picks(
    cases: Sequence[Candidate],
    order: Sequence[int],
    reasons: Sequence[str],
    first: Sequence[int] = (),
) -> tuple[Pick, ...]:
    """Return the order as picks from rank 1; ``first`` were annotated already."""
    said = [ANNOTATED] * len(first) + list(reasons[len(first) :])
    return tuple(
        Pick(rank, cases[at].case_id, reason)
        for rank, (at, reason) in enumerate(zip(order, said, strict=True), start=1)
    )


def shuffled(count: int, rng: np.random.Generator) -> list[int]:
    """Return 0 to ``count`` - 1 in an order drawn from ``rng``."""
    order: list[int] = np.argsort(rng.random(count), kind="stable").tolist()
    return order


def lengths_mm(cases: Sequence[Candidate], name: str) -> NDArray[np.float64]:
    """Return one feature of all cases in mm, (cases,)."""
    return np.array([LENGTHS_MM[name](case.features) for case in cases])


def points(cases: Sequence[Candidate], names: Sequence[str]) -> Points:
    """Return the features as integers, (cases, features): one in steps, more scaled."""
    columns = [lengths_mm(cases, name) for name in names]
    if len(columns) > 1:
        steps = [_robustly_scaled(column) * ROBUST_STEPS for column in columns]
    else:
        steps = [column / LENGTH_STEP_MM for column in columns]
    whole: Points = np.rint(np.stack(steps, axis=1)).astype(np.int64)
    return whole


def _robustly_scaled(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return lengths in robust standard deviations, of the range if half are equal."""
    low, high = np.percentile(lengths, [25, 75])
    scale = (high - low) / IQR_PER_SIGMA or np.ptp(lengths) or 1.0
    scaled: NDArray[np.float64] = (lengths - np.median(lengths)) / scale
    return scaled


def strata(cases: Sequence[Candidate]) -> list[NDArray[np.intp]]:
    """Return the cases of each third of nearest points by third of breast sizes."""
    inner = np.arange(1, STRATA_PER_FEATURE) / STRATA_PER_FEATURE
    codes = np.zeros(len(cases), np.intp)
    for name in LENGTHS_MM:
        lengths = lengths_mm(cases, name)
        third = np.searchsorted(np.quantile(lengths, inner), lengths)
        codes = codes * STRATA_PER_FEATURE + third
    return [np.flatnonzero(codes == code) for code in np.unique(codes)]


def even_places(count: int, rng: np.random.Generator) -> list[float]:
    """Return rising places in 0 to 1 that share out ``count`` picks evenly."""
    places: list[float] = ((np.arange(count) + rng.random()) / count).tolist()
    return places


def by_place(placed: Iterable[tuple[float, int]]) -> list[int]:
    """Return cases in the order of their places, 0 to 1; in their own on a tie."""
    return [at for _, at in sorted(placed)]


def leading(members: Iterable[int], first: Sequence[int]) -> list[int]:
    """Return the members, those of ``first`` in front, else in their order."""
    own = list(members)
    held, early = set(own), set(first)
    return [at for at in first if at in held] + [at for at in own if at not in early]


def describe(
    cases: Sequence[Candidate], members: Sequence[int], names: Sequence[str]
) -> str:
    """Return for example ``6 sessions with nearest point 8-14 mm``."""
    count = len(members)
    parts = []
    for name in names:
        ends = [LENGTHS_MM[name](cases[at].features) for at in members]
        low, high = f"{min(ends):.0f}", f"{max(ends):.0f}"
        parts.append(f"{name} {low if low == high else f'{low}-{high}'} mm")
    return f"{count} session{'s' * (count > 1)} with {', '.join(parts)}"
