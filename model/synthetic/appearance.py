"""From tissue labels to MR signal: contrast tables and enhancement curves.

Signals are relative to unsuppressed fat. A table is typical values times a random
departure of each tissue: what carries over from phantoms to real scans is that no
tissue can be told by its brightness alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.synthetic.patient import Kinetics, Patient
from model.synthetic.site import FatSuppression, Protocol
from model.synthetic.tissues import TISSUES, Tissue

POST_PHASES = 5
Table = NDArray[np.float32]
"""One value per tissue, indexed by ``Tissue``."""

SUPPRESSED_FAT = {
    FatSuppression.NONE: 1.0,
    FatSuppression.PARTIAL: 0.5,
    FatSuppression.FULL: 0.17,
}
FATTY = (Tissue.FAT, Tissue.MARROW, Tissue.MEDIASTINUM)

TYPICAL = {
    Tissue.AIR: 0.0,
    Tissue.FAT: 1.0,
    Tissue.SKIN: 0.5,
    Tissue.NIPPLE: 0.48,
    Tissue.GLAND: 0.46,
    Tissue.STRAND: 0.42,
    Tissue.VESSEL: 0.35,
    Tissue.MUSCLE: 0.36,
    Tissue.BONE: 0.12,
    Tissue.MARROW: 0.6,
    Tissue.CARTILAGE: 0.4,
    Tissue.LUNG: 0.05,
    Tissue.LUNG_VESSEL: 0.25,
    Tissue.BLOOD: 0.32,
    Tissue.MYOCARDIUM: 0.4,
    Tissue.MEDIASTINUM: 0.85,
    Tissue.LIVER: 0.5,
    Tissue.GUT: 0.4,
    Tissue.CORD: 0.28,
    Tissue.LESION: 0.4,
    Tissue.LESION_CORE: 0.34,
    Tissue.CYST: 0.22,
    Tissue.NODE: 0.4,
    Tissue.IMPLANT: 0.25,
    Tissue.MARKER: 0.95,
}
"""T1-weighted gradient echo without fat suppression."""

UPTAKE = {
    Tissue.SKIN: 0.15,
    Tissue.NIPPLE: 0.4,
    Tissue.STRAND: 0.05,
    Tissue.VESSEL: 1.5,
    Tissue.MUSCLE: 0.1,
    Tissue.LUNG: 0.2,
    Tissue.LUNG_VESSEL: 1.5,
    Tissue.BLOOD: 1.8,
    Tissue.MYOCARDIUM: 0.8,
    Tissue.LIVER: 0.5,
    Tissue.GUT: 0.4,
    Tissue.CORD: 0.05,
    Tissue.LESION: 1.3,
    Tissue.LESION_CORE: 0.25,
    Tissue.NODE: 0.8,
    Tissue.MARROW: 0.05,
}
"""Peak relative enhancement after contrast agent; 0 for what is not listed."""

CURVES = {
    Kinetics.PERSISTENT: (0.6, 0.75, 0.86, 0.94, 1.0),
    Kinetics.PLATEAU: (0.9, 0.98, 1.0, 1.0, 0.99),
    Kinetics.WASHOUT: (1.0, 0.92, 0.84, 0.77, 0.71),
}
ARTERIAL = (1.0, 0.82, 0.72, 0.66, 0.62)
VASCULAR = (
    Tissue.VESSEL,
    Tissue.LUNG_VESSEL,
    Tissue.BLOOD,
    Tissue.MYOCARDIUM,
    Tissue.LIVER,
)


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Signal of each tissue: six phases, and what suppression took from fat."""

    phases: tuple[Table, ...]
    """Pre-contrast, then five post-contrast tables."""
    lost_fat: Table
    """Signal that returns where fat suppression fails."""


def draw_contrast(
    protocol: Protocol, patient: Patient, rng: np.random.Generator
) -> Contrast:
    """Return the contrast of ``patient`` at a site.

    The site's own table comes from ``protocol.contrast_seed``; each patient departs
    from it by a few per cent.
    """
    bare = _as_table(TYPICAL)
    spread = _departure(protocol) * np.exp(rng.normal(0, 0.06, TISSUES))
    pre = (bare * _suppression(protocol) * spread).astype(np.float32)
    pre[Tissue.AIR] = 0
    lost = np.zeros(TISSUES, np.float32)
    fatty = list(FATTY)
    lost[fatty] = np.maximum(bare[fatty] - pre[fatty], 0)
    uptake = _uptake(patient, rng)
    posts = [pre * (1 + uptake * _curve(patient, k)) for k in range(POST_PHASES)]
    return Contrast((pre, *[p.astype(np.float32) for p in posts]), lost)


def _departure(protocol: Protocol) -> NDArray[np.float64]:
    """Return each tissue's factor at this site, about log-normal."""
    rng = np.random.default_rng(protocol.contrast_seed)
    factors: NDArray[np.float64] = np.exp(
        np.clip(rng.normal(0, protocol.contrast_spread, TISSUES), -1.6, 1.2)
    )
    return factors


def _suppression(protocol: Protocol) -> Table:
    """Return the share of each tissue's signal that fat suppression leaves."""
    factors = np.ones(TISSUES, np.float32)
    left = SUPPRESSED_FAT[protocol.fat_suppression]
    factors[list(FATTY)] = left
    return factors


def _uptake(patient: Patient, rng: np.random.Generator) -> Table:
    uptake = _as_table(UPTAKE)
    uptake[Tissue.GLAND] = patient.background_enhancement
    dose = np.exp(rng.normal(0, 0.15))
    uneven = dose * np.exp(rng.normal(0, 0.2, TISSUES))
    return np.asarray(uptake * uneven, np.float32)


def _curve(patient: Patient, phase: int) -> Table:
    """Return each tissue's share of its peak enhancement in a post phase."""
    shares = np.full(TISSUES, CURVES[Kinetics.PERSISTENT][phase], np.float32)
    shares[list(VASCULAR)] = ARTERIAL[phase]
    if patient.lesion is not None:
        shares[Tissue.LESION] = CURVES[patient.lesion.kinetics][phase]
    shares[Tissue.NODE] = CURVES[Kinetics.PLATEAU][phase]
    return shares


def _as_table(values: dict[Tissue, float]) -> Table:
    table = np.zeros(TISSUES, np.float32)
    for tissue, value in values.items():
        table[tissue] = value
    return table
