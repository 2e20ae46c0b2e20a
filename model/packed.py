"""Weights in a quarter of the bytes: int8 per output channel, and exactly back.

Every restored weight is a scale times an integer from -127 to 127. A scale has 16
significant bits, so that the product fits into float32 without rounding: any machine
restores the same bits, and packing restored weights gives the same bytes again.
Tensors with fewer than two dimensions (BatchNorm, biases) are kept as they are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import CheckpointError

Array = NDArray[Any]
Tensors = Mapping[str, Array]

LEVELS = 127
SCALE_BITS = 16
"""7 bits of level and 16 of scale make at most 23 of the 24 of a float32."""
SCALE_SUFFIX = ".scale"
SMALLEST = 2.0**-100
"""A channel without a larger weight is zero: its scale would lose bits."""


def pack(tensors: Tensors) -> dict[str, Array]:
    """Return the tensors with every float32 matrix as int8 levels and float32 scales.

    Scales are (output channels,), named as their tensor with ``.scale`` behind.

    Raises
    ------
    CheckpointError
        If a weight is not finite.
    """
    packed: dict[str, Array] = {}
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise _not_finite(name)
        if values.ndim < 2 or values.dtype != np.float32:
            packed[name] = values
            continue
        scales = _scales(values)
        packed[name] = _levels(values, scales)
        packed[name + SCALE_SUFFIX] = scales
    return packed


def restore(packed: Tensors) -> dict[str, Array]:
    """Return the float32 tensors that ``pack`` made these of, on any machine alike."""
    scaled = {name for name in packed if name + SCALE_SUFFIX in packed}
    scales = {name + SCALE_SUFFIX for name in scaled}
    restored: dict[str, Array] = {}
    for name in packed.keys() - scales:
        values = packed[name]
        if name in scaled:
            scale = _along_first(packed[name + SCALE_SUFFIX], values)
            values = values.astype(np.float32) * scale
        restored[name] = values
    return restored


def _scales(values: Array) -> NDArray[np.float32]:
    """Return per output channel the smallest 16-bit scale that reaches its maximum."""
    largest = np.abs(values.astype(np.float64)).reshape(len(values), -1).max(axis=1)
    fraction, exponent = np.frexp(largest / LEVELS)
    rounded = np.ldexp(np.ceil(np.ldexp(fraction, SCALE_BITS)), exponent - SCALE_BITS)
    scales: NDArray[np.float64] = np.where(largest > SMALLEST, rounded, 0.0)
    return scales.astype(np.float32)


def _levels(values: Array, scales: NDArray[np.float32]) -> NDArray[np.int8]:
    steps = _along_first(scales.astype(np.float64), values)
    levels = np.divide(values, steps, out=np.zeros(values.shape), where=steps > 0)
    return np.rint(levels).astype(np.int8)


def _along_first(scales: Array, values: Array) -> Array:
    return scales.reshape(-1, *[1] * (values.ndim - 1))


def _not_finite(name: str) -> CheckpointError:
    return CheckpointError(
        name,
        found="a weight that is not a finite number",
        needed="finite weights",
        mend="pack the checkpoint of an earlier epoch",
    )
