"""Intervals and paired tests over patients: bootstrap, Wilcoxon, Holm, effect size.

The unit is the patient: several sessions of one are averaged before anything is drawn
or ranked, because they are no independent evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, rankdata, wilcoxon

CONFIDENCE = 0.95
RESAMPLES = 5000
SEED = 0
SAME = 1e-12
"""Values closer than this differ by rounding alone."""
LEAST_PAIRS = 6
"""With five pairs the smallest two-sided p of a signed-rank test is 2 / 2**5 = 0.06."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval; no interval (None) from fewer than two patients."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Paired:
    """What separates two results on the same patients, ours minus theirs."""

    pairs: int
    difference: Interval | None
    """None without pairs."""
    p: float | None
    """Two-sided, Wilcoxon signed-rank; None from fewer than ``LEAST_PAIRS``."""
    rank_biserial: float | None
    """-1 (all pairs lower) to 1 (all higher); None where no pair differs."""


def interval(values: Values, weights: Values | None = None) -> Interval:
    """Return the weighted mean with its bootstrap interval (BCa), patients drawn.

    Efron, Better Bootstrap Confidence Intervals (1987), as SciPy computes it. The same
    values give the same interval.
    """
    shares = np.ones_like(values) if weights is None else weights
    mean = float((values * shares).sum() / shares.sum())
    if len(values) < 2:
        return Interval(mean, None, None)
    if np.ptp(values) < SAME:
        return Interval(mean, mean, mean)
    found = bootstrap(
        (values * shares, shares),
        _ratio,
        n_resamples=RESAMPLES,
        paired=True,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


def paired(ours: Values, theirs: Values) -> Paired:
    """Return the comparison of two results, (patients,) each, on the same patients."""
    differences = ours - theirs
    p: float | None = None
    if len(differences) >= LEAST_PAIRS:
        p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    return Paired(
        pairs=len(differences),
        difference=interval(differences),
        p=p,
        rank_biserial=_rank_biserial(differences),
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, step-down (Holm 1979)."""
    order = np.argsort(ps, kind="stable")
    factors = len(ps) - np.arange(len(ps))
    stepped = np.maximum.accumulate(np.asarray(ps)[order] * factors)
    corrected = np.empty(len(ps))
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in corrected]


def _ratio(products: Values, weights: Values, axis: int = -1) -> Values:
    ratio: Values = products.sum(axis=axis) / weights.sum(axis=axis)
    return ratio


def _rank_biserial(differences: Values) -> float | None:
    """Return favourable minus unfavourable ranks over all (Kerby 2014)."""
    moved = differences[differences != 0]
    if not len(moved):
        return None
    ranks = rankdata(np.abs(moved))
    return float((ranks * np.sign(moved)).sum() / ranks.sum())
