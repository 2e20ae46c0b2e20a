"""A phantom's grid full of noise: no two voxels, slices or phases are alike."""

import numpy as np
from highdicom import Volume
from phantoms import MATRIX_PX, patient_for, site_for

from model.phantom import PhantomCase, image_affine

PHASES = 6


def noise_case(seed: int, *, matrix_px: int = MATRIX_PX) -> PhantomCase:
    patient, site = patient_for(seed), site_for(seed, matrix_px=matrix_px)
    shape = (site.slices, site.rows, site.columns)
    rng, affine = np.random.default_rng(seed), image_affine(patient, site)
    phases = tuple(
        Volume(rng.integers(0, 4000, shape, np.uint16), affine, "PATIENT")
        for _ in range(PHASES)
    )
    nothing = np.zeros(shape, np.bool_)
    return PhantomCase(patient, site, seed, phases, nothing, nothing)
