"""A synthetic study of clinical size as DICOM files: two series, every slice a file."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from highdicom import Volume

from model.phantom import PhantomCase, draw_patient, draw_site, make_case
from plugin.phantom_dicom import VendorStyle, write_session

DRAWN_PX = 128
"""Phantoms are drawn at this matrix and enlarged: the cost of drawing is not ours."""
FIRST_UNUSED_SERIES = 7
"""Series 5 is pre-contrast, 6 the first post-contrast phase."""
NOISE = 6.0


def draw_study(*, slices: int, matrix_px: int, seed: int = 1) -> PhantomCase:
    """Return a phantom whose phases have ``slices`` and ``matrix_px`` squared pixels.

    Its masks stay at the drawn matrix.
    """
    rng = np.random.default_rng(seed)
    patient = draw_patient(rng)
    site = draw_site(rng, slices=slices, matrix_px=DRAWN_PX)
    case = make_case(patient, site, seed=seed)
    factor = matrix_px // DRAWN_PX
    phases = tuple(_enlarged(phase, factor, rng) for phase in case.phases[:2])
    return replace(case, phases=(*phases, *[phases[1]] * (len(case.phases) - 2)))


def write_study(
    folder: Path, *, slices: int = 160, matrix_px: int = 512, seed: int = 1
) -> Path:
    """Write the two series of a study below ``folder`` and return it."""
    case = draw_study(slices=slices, matrix_px=matrix_px, seed=seed)
    write_session(
        case,
        folder,
        style=VendorStyle.SEPARATE_SERIES,
        session_id=f"bench-{seed}",
        distractors=False,
    )
    for series in sorted(folder.iterdir()):
        if int(series.name[2:]) >= FIRST_UNUSED_SERIES:
            shutil.rmtree(series)
    return folder


def _enlarged(phase: Volume, factor: int, rng: np.random.Generator) -> Volume:
    """Return a phase with every pixel split, and noise as fine as the new ones."""
    affine = phase.affine.copy()
    affine[:3, 1:3] /= factor
    affine[:3, 3] -= affine[:3, 1:3].sum(axis=1) * (factor - 1) / 2
    fine = phase.array.repeat(factor, axis=1).repeat(factor, axis=2)
    noise = rng.normal(0, NOISE, fine.shape[1:]).astype(np.int16)
    voxels = np.clip(fine.astype(np.int32) + noise, 0, 4095).astype(np.uint16)
    return Volume(voxels, affine, coordinate_system="PATIENT")
