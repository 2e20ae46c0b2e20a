"""Kinds of patients: those that pretraining sees, and those that it never does.

Held-out anatomies are held out by construction: ``draw_training_patient`` cannot draw
a chest as boxy as ``BOXY`` or an implant under the muscle. Styles are held out because
training slices are drawn by another renderer than test volumes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from model.synthetic.patient import (
    Arms,
    Breast,
    Implant,
    ImplantPlane,
    Patient,
    Side,
    draw_patient,
    one_of,
)
from model.synthetic.site import FatSuppression, Site, draw_site

BOXY = 2.7
"""Squareness of the chest from which on a patient is held out."""
Draw = Callable[[np.random.Generator], Patient]


def draw_training_patient(rng: np.random.Generator) -> Patient:
    """Draw a patient of a training family; half of them are ordinary."""
    names = sorted(TRAINING)
    name = "ordinary" if rng.random() < 0.5 else one_of(rng, names)
    return TRAINING[name](rng)


def _ordinary(rng: np.random.Generator) -> Patient:
    patient = draw_patient(rng)
    chest = replace(
        patient.chest,
        squareness=min(patient.chest.squareness, BOXY),
        shoulder_mm=float(rng.choice([0, 1]) * rng.uniform(0, 55)),
        belly_fat=float(rng.choice([0, 1]) * rng.uniform(0, 1.8)),
        muscle_fat=float(rng.choice([0, 1]) * rng.uniform(0.6, 2.0)),
        pectoral_mm=float(rng.uniform(3, 22)),
    )
    implants = tuple(
        replace(i, plane=ImplantPlane.SUBGLANDULAR) for i in patient.implants
    )
    return replace(
        patient,
        chest=chest,
        implants=implants,
        arm_radius_mm=float(rng.uniform(32, 56)),
        arm_gap_mm=float(rng.uniform(-22, 18)),
    )


def _resized(breast: Breast, projection_mm: float, width: float) -> Breast:
    scale = projection_mm / breast.projection_mm
    return replace(
        breast,
        projection_mm=projection_mm,
        half_width_mm=breast.half_width_mm * width,
        half_height_mm=breast.half_height_mm * width,
        nipple_caudal_mm=breast.nipple_caudal_mm * scale,
    )


def _both(patient: Patient, projection_mm: float, width: float) -> Patient:
    return replace(
        patient,
        right=_resized(patient.right, projection_mm, width),
        left=_resized(patient.left, projection_mm, width),
        sternum_share=float(np.clip(0.27 + 0.0018 * projection_mm, 0.27, 0.62)),
    )


def _small(rng: np.random.Generator) -> Patient:
    return _both(_ordinary(rng), float(rng.uniform(8, 35)), float(rng.uniform(0.8, 1)))


def _large(rng: np.random.Generator) -> Patient:
    width = float(rng.uniform(1.0, 1.3))
    return _both(_ordinary(rng), float(rng.uniform(120, 190)), width)


def _ptotic(rng: np.random.Generator) -> Patient:
    patient = _ordinary(rng)
    fall, bulb = float(rng.uniform(0.25, 0.5)), float(rng.uniform(0.15, 0.32))
    right, left = (
        replace(b, nipple_caudal_mm=fall * b.projection_mm, bulb=bulb)
        for b in (patient.right, patient.left)
    )
    return replace(patient, right=right, left=left)


def _asymmetric(rng: np.random.Generator) -> Patient:
    patient = _ordinary(rng)
    share = float(rng.uniform(0.35, 0.8))
    right = _resized(
        patient.right, patient.right.projection_mm * share, (1 + share) / 2
    )
    return replace(patient, right=right)


def _operated(rng: np.random.Generator) -> Patient:
    """One breast after surgery: smaller, drawn aside, nipple displaced."""
    patient = _asymmetric(rng)
    right = replace(
        patient.right,
        nipple_lateral_mm=float(rng.normal(0, 18)),
        bluntness=float(rng.uniform(2.2, 3.6)),
        density=float(rng.uniform(0.02, 0.3)),
    )
    return replace(patient, right=right, lesion=None)


def _one_breast(rng: np.random.Generator) -> Patient:
    patient = _ordinary(rng)
    return replace(patient, mastectomy=Side.RIGHT, lesion=None, implants=(), cysts=0)


def _implants(rng: np.random.Generator, plane: ImplantPlane) -> Patient:
    radius, thickness = float(rng.uniform(42, 62)), float(rng.uniform(28, 52))
    implants = tuple(Implant(side, plane, radius, thickness) for side in Side)
    return replace(_ordinary(rng), mastectomy=None, implants=implants)


def _subglandular(rng: np.random.Generator) -> Patient:
    return _implants(rng, ImplantPlane.SUBGLANDULAR)


def _fat_poor(rng: np.random.Generator) -> Patient:
    """Draw a lean chest: little fat between skin and muscle."""
    patient = _small(rng)
    chest = replace(patient.chest, fat_mm=float(rng.uniform(3, 6)))
    return replace(patient, chest=chest, arms=one_of(rng, list(Arms)))


def _boxy(rng: np.random.Generator) -> Patient:
    patient = draw_patient(rng)
    chest = replace(patient.chest, squareness=float(rng.uniform(BOXY + 0.1, 3.3)))
    return replace(patient, chest=chest)


def _subpectoral(rng: np.random.Generator) -> Patient:
    return _implants(rng, ImplantPlane.SUBPECTORAL)


TRAINING: Mapping[str, Draw] = {
    "ordinary": _ordinary,
    "small": _small,
    "large": _large,
    "ptotic": _ptotic,
    "asymmetric": _asymmetric,
    "operated": _operated,
    "one breast": _one_breast,
    "implants": _subglandular,
    "lean": _fat_poor,
}
HELD_OUT: Mapping[str, Draw] = {
    "boxy chest": _boxy,
    "implants under the muscle": _subpectoral,
}


def draw_unseen_patient(rng: np.random.Generator) -> tuple[str, Patient]:
    """Draw a patient for tests, and name its family: a third is of a held-out one."""
    families = HELD_OUT if rng.random() < 1 / 3 else TRAINING
    name = one_of(rng, list(families))
    return name, families[name](rng)


StyleDraw = Callable[[np.random.Generator, int, int], Site]


def _site(rng: np.random.Generator, slices: int, matrix_px: int) -> Site:
    return draw_site(rng, slices=slices, matrix_px=matrix_px)


def _style(suppression: FatSuppression, spread: float, **faults: float) -> StyleDraw:
    """Return what draws sites with one suppression and some faults of their own."""

    def draw(rng: np.random.Generator, slices: int, matrix_px: int) -> Site:
        site = draw_site(rng, slices=slices, matrix_px=matrix_px)
        protocol = replace(
            site.protocol, fat_suppression=suppression, contrast_spread=spread
        )
        return replace(site, protocol=protocol, faults=replace(site.faults, **faults))

    return draw


STYLES: Mapping[str, StyleDraw] = {
    "no suppression": _style(FatSuppression.NONE, 0.2),
    "partial suppression": _style(FatSuppression.PARTIAL, 0.2),
    "full suppression": _style(FatSuppression.FULL, 0.2),
    "any contrast": _style(FatSuppression.FULL, 0.8),
    "noisy": _style(FatSuppression.PARTIAL, 0.3, noise=0.08),
    "shaded": _style(
        FatSuppression.FULL, 0.3, coil_depth_mm=75.0, bias=0.35, coil_imbalance=0.35
    ),
    "ghosted": _style(FatSuppression.NONE, 0.3, ghosting=0.12, halo=0.15, flare=0.5),
    "folded": _style(FatSuppression.NONE, 0.3, wrap=0.8),
    "suppression fails": _style(FatSuppression.FULL, 0.2, fat_failure=0.3),
    "drawn": _site,
}
"""Sites for tests, drawn by ``model.phantom`` and not by the training renderer."""
