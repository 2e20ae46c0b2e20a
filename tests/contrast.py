"""Contrast of two colours as WCAG 2.1 defines it."""

import numpy as np

LEGIBLE = 4.5
"""Success criterion 1.4.3, for text of normal size."""


def contrast(one: str, two: str) -> float:
    """Return the ratio, 1 to 21, of two colours written ``#rrggbb``."""
    low, high = sorted((_luminance(one), _luminance(two)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
