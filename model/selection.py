"""Strategies that order a pool of sessions for annotation, each with its reasons.

A strategy returns the full order of the pool, so the first 10 % is a prefix of the
first 20 % and no annotation is wasted. Every patient is picked once before any patient
is picked twice: the first ``n`` picks are ``n`` different patients as long as there are
that many, because training data are counted in patients. Within that, geometry
strategies cover the distribution of their features by greedy k-medoids (paper, 2.2.1:
a representative sample from each cluster).

Features are used in mm, which no choice of grid changes. A new strategy is one function
and one line in ``STRATEGIES``.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.bag import BagFeatures
from model.coverage import Points, clusters, greedy_order
from model.errors import SelectionError
from model.ranking import Candidate, Pick, Ranking, rounded

__all__ = [
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
STRATA_PER_FEATURE = 3
LENGTH_STEP_MM = 0.1
"""Lengths become whole steps, so that coverage is computed in integers."""
ROBUST_STEPS = 1000
"""Integer steps per robust standard deviation when features are joined."""
IQR_PER_SIGMA = 1.349
"""Interquartile range of a normal distribution in standard deviations."""

NEAREST_POINT, BREAST_SIZE = "nearest point", "breast size"
LENGTHS_MM: Mapping[str, Callable[[BagFeatures], float]] = {
    NEAREST_POINT: lambda features: features.nearest_point_mm,
    BREAST_SIZE: lambda features: features.breast_size_mm,
}


class Strategy(Protocol):
    """Order a pool: all its sessions once, best first, the same for the same rng."""

    def __call__(
        self, pool: Sequence[Candidate], *, rng: np.random.Generator
    ) -> tuple[Pick, ...]:
        """Return the full nested order; the pool's own order must not matter."""
        ...


def rank(pool: Sequence[Candidate], *, strategy: str, seed: int) -> Ranking:
    """Return the order in which to annotate the pool, with all that it rests on.

    Raises
    ------
    SelectionError
        If the pool is empty, names a session twice, or the strategy is unknown.
    """
    _check(pool, strategy)
    cases = tuple(
        Candidate(c.case_id, c.patient_key, rounded(c.features)) for c in _by_id(pool)
    )
    picks = STRATEGIES[strategy](cases, rng=np.random.default_rng(seed))
    return Ranking(strategy, seed, ENGINE, version("xnat-brs"), cases, picks)


def replay(ranking: Ranking) -> Ranking:
    """Return the ranking computed again from its own feature table."""
    return rank(ranking.candidates, strategy=ranking.strategy, seed=ranking.seed)


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


def at_random(
    pool: Sequence[Candidate], *, rng: np.random.Generator
) -> tuple[Pick, ...]:
    """Order by chance alone."""
    cases = _by_id(pool)
    order = _patients_in_turn(cases, _shuffled(len(cases), rng))
    return _picks(cases, order, ["drawn at random"] * len(cases))


def stratified_random(
    pool: Sequence[Candidate], *, rng: np.random.Generator
) -> tuple[Pick, ...]:
    """Order by chance, every prefix sharing out its picks among the BAG strata.

    A stratum is a third of the nearest points crossed with a third of the breast sizes.
    """
    cases = _by_id(pool)
    strata = _strata(cases)
    members = [np.flatnonzero(strata == at) for at in range(strata.max() + 1)]
    place = np.empty(len(cases))
    for own in members:
        place[own[_shuffled(len(own), rng)]] = _even_places(len(own), rng)
    order = _patients_in_turn(cases, np.argsort(place, kind="stable"))
    names = [_describe(cases, own, tuple(LENGTHS_MM)) for own in members]
    reasons = [f"drawn at random from {names[strata[index]]}" for index in order]
    return _picks(cases, order, reasons)


def nearest_point(
    pool: Sequence[Candidate], *, rng: np.random.Generator
) -> tuple[Pick, ...]:
    """Cover the distribution of nearest points."""
    return _cover(pool, (NEAREST_POINT,))


def breast_size(
    pool: Sequence[Candidate], *, rng: np.random.Generator
) -> tuple[Pick, ...]:
    """Cover the distribution of breast sizes."""
    return _cover(pool, (BREAST_SIZE,))


def bag(pool: Sequence[Candidate], *, rng: np.random.Generator) -> tuple[Pick, ...]:
    """Cover both distributions jointly, each in robust standard deviations."""
    return _cover(pool, tuple(LENGTHS_MM))


def hybrid(pool: Sequence[Candidate], *, rng: np.random.Generator) -> tuple[Pick, ...]:
    """Let the paper's three strategies pick in turn, none a session already picked."""
    cases = _by_id(pool)
    queues = [
        (name, iter(strategy(cases, rng=rng)))
        for name, strategy in PAPER_STRATEGIES.items()
    ]
    reasons: dict[str, str] = {}
    while len(reasons) < len(cases):
        for name, queue in queues:
            free = (pick for pick in queue if pick.case_id not in reasons)
            for pick in islice(free, 1):
                reasons[pick.case_id] = f"by {name}: {pick.reason}"
    index = {case.case_id: at for at, case in enumerate(cases)}
    order = _patients_in_turn(cases, [index[case_id] for case_id in reasons])
    return _picks(cases, order, [reasons[cases[at].case_id] for at in order])


PAPER_STRATEGIES: dict[str, Strategy] = {
    "random": at_random,
    "nearest-point": nearest_point,
    "breast-size": breast_size,
}
STRATEGIES: dict[str, Strategy] = {
    **PAPER_STRATEGIES,
    "hybrid": hybrid,
    "stratified-random": stratified_random,
    "bag": bag,
}


def _cover(pool: Sequence[Candidate], names: Sequence[str]) -> tuple[Pick, ...]:
    cases = _by_id(pool)
    points = _points(cases, names)
    order = _patients_in_turn(cases, greedy_order(points))
    reasons = [
        f"represents {_describe(cases, members, names)}"
        for _, members in clusters(points, order)
    ]
    return _picks(cases, order, reasons)


def _points(cases: Sequence[Candidate], names: Sequence[str]) -> Points:
    """Return the features as integers, (cases, features): one in steps, more scaled."""
    columns = [_lengths_mm(cases, name) for name in names]
    if len(columns) > 1:
        steps = [_robustly_scaled(column) * ROBUST_STEPS for column in columns]
    else:
        steps = [column / LENGTH_STEP_MM for column in columns]
    points: Points = np.rint(np.stack(steps, axis=1)).astype(np.int64)
    return points


def _robustly_scaled(lengths_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return lengths in robust standard deviations, of the range if half are equal."""
    low, high = np.percentile(lengths_mm, [25, 75])
    scale = (high - low) / IQR_PER_SIGMA or np.ptp(lengths_mm) or 1.0
    scaled: NDArray[np.float64] = (lengths_mm - np.median(lengths_mm)) / scale
    return scaled


def _lengths_mm(cases: Sequence[Candidate], name: str) -> NDArray[np.float64]:
    return np.array([LENGTHS_MM[name](case.features) for case in cases])


def _strata(cases: Sequence[Candidate]) -> NDArray[np.intp]:
    """Return each case's stratum, numbered from 0 without gaps, (cases,)."""
    inner = np.arange(1, STRATA_PER_FEATURE) / STRATA_PER_FEATURE
    codes = np.zeros(len(cases), np.intp)
    for name in LENGTHS_MM:
        lengths_mm = _lengths_mm(cases, name)
        third = np.searchsorted(np.quantile(lengths_mm, inner), lengths_mm)
        codes = codes * STRATA_PER_FEATURE + third
    return np.unique(codes, return_inverse=True)[1]


def _even_places(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return rising places in 0 to 1 that share out ``count`` picks evenly."""
    places: NDArray[np.float64] = (np.arange(count) + rng.random()) / count
    return places


def _shuffled(count: int, rng: np.random.Generator) -> list[int]:
    order: list[int] = np.argsort(rng.random(count), kind="stable").tolist()
    return order


def _patients_in_turn(cases: Sequence[Candidate], order: Iterable[int]) -> list[int]:
    """Move each patient's second session behind all first ones, and so on."""
    met: Counter[str] = Counter()
    rounds = []
    for at in order:
        rounds.append((met[cases[at].patient_key], at))
        met[cases[at].patient_key] += 1
    return [at for _, at in sorted(rounds, key=lambda entry: entry[0])]


def _describe(
    cases: Sequence[Candidate], members: NDArray[np.intp], names: Sequence[str]
) -> str:
    """Return for example ``6 sessions with nearest point 8-14 mm``."""
    count = len(members)
    parts = []
    for name in names:
        ends = [LENGTHS_MM[name](cases[at].features) for at in members]
        low, high = f"{min(ends):.0f}", f"{max(ends):.0f}"
        parts.append(f"{name} {low if low == high else f'{low}-{high}'} mm")
    return f"{count} session{'s' * (count > 1)} with {', '.join(parts)}"


def _picks(
    cases: Sequence[Candidate], order: Sequence[int], reasons: Sequence[str]
) -> tuple[Pick, ...]:
    return tuple(
        Pick(rank, cases[at].case_id, reason)
        for rank, (at, reason) in enumerate(zip(order, reasons, strict=True), start=1)
    )


def _by_id(pool: Sequence[Candidate]) -> list[Candidate]:
    return sorted(pool, key=lambda candidate: candidate.case_id)


def _check(pool: Sequence[Candidate], strategy: str) -> None:
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
