"""Random intensities: what each tissue looks like before and after contrast.

That no tissue can be told by its brightness is what carries over from phantoms to real
scans. So a quarter of the tables is drawn without any physics.
"""

from dataclasses import dataclass

import numpy as np

from model.synthetic.appearance import (
    ARTERIAL,
    FATTY,
    TYPICAL,
    UPTAKE,
    VASCULAR,
    Table,
)
from model.synthetic.tissues import TISSUES, Tissue


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Signal of every tissue."""

    pre: Table
    post: Table
    lost_fat: Table
    """Signal that returns where fat suppression fails."""


def draw_look(rng: np.random.Generator, *, suppressed: float, anything: float) -> Look:
    """Draw tables: a share ``suppressed`` of fat, a share ``anything`` of no physics.

    The rest is T1-weighted without fat suppression.
    """
    chance = float(rng.random())
    typical = _listed(TYPICAL)
    if chance < anything:
        pre, lost = _anything(rng), np.zeros(TISSUES, np.float32)
    else:
        left = _fat_left(rng) if chance < anything + suppressed else 1.0
        pre = typical * np.exp(rng.normal(0, rng.uniform(0.1, 0.6), TISSUES))
        pre[list(FATTY)] *= left
        lost = np.zeros(TISSUES, np.float32)
        fatty = list(FATTY)
        lost[fatty] = np.maximum(typical[fatty] - pre[fatty], 0) * (left < 1)
    pre[Tissue.AIR] = 0
    post = pre * (1 + _draw_uptake(rng))
    return Look(pre.astype("f4"), post.astype("f4"), lost.astype("f4"))


def _fat_left(rng: np.random.Generator) -> float:
    """Return the share of fat's signal that suppression leaves."""
    weakly = rng.random() < 0.25
    return float(rng.uniform(0.35, 0.75) if weakly else rng.uniform(0.04, 0.35))


def _anything(rng: np.random.Generator) -> Table:
    table = rng.uniform(0.02, 1.0, TISSUES)
    if rng.random() < 0.7:
        table[[Tissue.LUNG, Tissue.BONE]] *= 0.25
    return np.asarray(table, np.float32)


def _draw_uptake(rng: np.random.Generator) -> Table:
    """Return relative enhancement: 8 in 10 like tissue, else anything or nothing."""
    chance = rng.random()
    if chance < 0.1:
        return np.zeros(TISSUES, np.float32)
    if chance < 0.2:
        return np.asarray(rng.uniform(0, 2, TISSUES) ** 2 / 2, np.float32)
    uptake = _listed(UPTAKE)
    uptake[Tissue.GLAND] = rng.gamma(1.6, 0.15)
    uptake[list(VASCULAR)] *= ARTERIAL[int(rng.integers(len(ARTERIAL)))]
    uneven = np.exp(rng.normal(0, 0.35, TISSUES)) * np.exp(rng.normal(0, 0.25))
    return np.asarray(uptake * uneven, np.float32)


def _listed(values: dict[Tissue, float]) -> Table:
    table = np.zeros(TISSUES, np.float32)
    for tissue, value in values.items():
        table[tissue] = value
    return table
