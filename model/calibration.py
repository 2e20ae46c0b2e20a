"""Temperature scaling of logits, calibration error, and entropy after it.

A network trained with the Dice loss is sure of nearly every pixel, right or wrong, so
its entropy says little before it is calibrated on cases that it was not trained on
(Guo et al., On Calibration of Modern Neural Networks, ICML 2017).
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, xlogy

Pixel = TypeVar("Pixel", bound=np.generic)

TEMPERATURE_RANGE = (0.05, 20.0)
ECE_BINS = 15
MOST_PIXELS = 2_000_000
"""More than these are thinned evenly: the fit is of one number."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The temperature fitted on held-out cases, and what it mends there."""

    temperature: float
    ece: float
    """Expected calibration error as trained, 0 to 1."""
    ece_calibrated: float


def thinned(values: NDArray[Pixel], *, pixels: int) -> NDArray[Pixel]:
    """Return values flat, evenly thinned as ``pixels`` of all cases together need."""
    return values.reshape(-1)[:: max(1, pixels // MOST_PIXELS)]


def calibrated(logits: NDArray[np.floating], truth: NDArray[np.bool_]) -> Calibration:
    """Return the calibration of logits against masks of the same shape."""
    temperature = fit_temperature(logits, truth)
    return Calibration(
        temperature=temperature,
        ece=calibration_error(expit(logits), truth),
        ece_calibrated=calibration_error(expit(logits / temperature), truth),
    )


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Return the T > 0 for which sigmoid(logit / T) is the likeliest.

    Where no finite T is (no pixel is wrong, or half are), the end of
    ``TEMPERATURE_RANGE``.
    """
    margins = np.where(truth, logits, -logits).astype(float)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -margins / np.exp(log_temperature)).mean())

    low, high = (float(np.log(end)) for end in TEMPERATURE_RANGE)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


def calibration_error(
    probability: NDArray[np.floating], truth: NDArray[np.bool_]
) -> float:
    """Return the mean gap of confidence and accuracy over ``ECE_BINS``, 0 to 1."""
    sure = np.maximum(probability, 1 - probability)
    right = (probability >= 0.5) == truth
    bins = np.minimum((2 * (sure - 0.5) * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, sure - right, ECE_BINS)
    return float(np.abs(gaps).sum() / truth.size)


def entropy(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the binary entropy of each probability in nats, 0 to log 2."""
    p = probability.astype(float)
    bits: NDArray[np.float64] = -(xlogy(p, p) + xlogy(1 - p, 1 - p))
    return bits
