"""Is another round worth it: from the learning curve so far, in one sentence.

The rest of the Dice to 1 is taken to fall by a power of the number of annotated
patients, as learning curves commonly do. A stop is advised only where both the curve
and what the last round gained on the same test patients stay below what is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.statistics import Interval

GO_ON, STOP, UNCLEAR = "go on", "stop", "unclear"
LEAST_REST = 1e-4
"""A rest of exactly 0 has no logarithm."""


@dataclass(frozen=True, slots=True)
class Point:
    """One round on the learning curve."""

    patients: int
    """That were learned from."""
    dice: float


@dataclass(frozen=True, slots=True)
class Ahead:
    """What the next round would be, and what it must bring."""

    patients: int
    """More than now; 0 where nobody is left to annotate."""
    least_gain: float
    minutes: float | None = None
    """Of annotation; None where unknown."""


@dataclass(frozen=True, slots=True)
class Advice:
    """``go on``, ``stop`` or ``unclear``, and why."""

    verdict: str
    reason: str
    expected_gain: float | None = None
    """Of Dice, by the curve; None from fewer than two points."""


def advise(
    curve: Sequence[Point], ahead: Ahead, *, last_gain: Interval | None
) -> Advice:
    """Return the advice after the last point of ``curve``, which has at least one.

    ``last_gain`` is the Dice that the last round gained, paired over test patients;
    None where that is not known.
    """
    if not ahead.patients:
        return Advice(STOP, "nobody is left to annotate")
    gain = expected_gain(curve, ahead.patients)
    if gain is None:
        return Advice(GO_ON, "one round says nothing of the next")
    said = _expectation(gain, ahead)
    if gain >= ahead.least_gain:
        return Advice(GO_ON, said, gain)
    if last_gain is None or last_gain.high is None:
        return Advice(UNCLEAR, f"{said}; no test patients say how sure that is", gain)
    said = f"{said}; the last round added {_signed(last_gain)}"
    if last_gain.high >= ahead.least_gain:
        return Advice(UNCLEAR, said, gain)
    return Advice(STOP, said, gain)


def expected_gain(curve: Sequence[Point], more: int) -> float | None:
    """Return the Dice that ``more`` patients are expected to add, 0 where none.

    rest = a * patients^-b, by least squares on logarithms; None from fewer than two
    numbers of patients.
    """
    patients = np.array([float(point.patients) for point in curve])
    if len(set(patients)) < 2:
        return None
    rest = np.maximum(1 - np.array([point.dice for point in curve]), LEAST_REST)
    slope, offset = np.polyfit(np.log(patients), np.log(rest), 1)
    now, then = (
        float(np.exp(offset + slope * np.log(count)))
        for count in (patients[-1], patients[-1] + more)
    )
    return max(0.0, now - then)


def _expectation(gain: float, ahead: Ahead) -> str:
    cost = "" if ahead.minutes is None else f" for about {ahead.minutes:.0f} minutes"
    return (
        f"{ahead.patients} more patients are expected to add {gain:.4f} Dice{cost}; "
        f"asked for are {ahead.least_gain:g}"
    )


def _signed(gain: Interval) -> str:
    return f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
