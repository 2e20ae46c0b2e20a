"""Small phantoms for tests: drawn values on a coarse grid, and their tissue labels."""

from dataclasses import replace

import numpy as np

from model.phantom import (
    Patient,
    Side,
    Site,
    build_body,
    draw_patient,
    draw_site,
    image_lattice,
)
from model.synthetic.tissues import Labels, Mask, paint

SLICES, MATRIX_PX = 12, 64


def site_for(seed: int, *, slices: int = SLICES, matrix_px: int = MATRIX_PX) -> Site:
    return draw_site(np.random.default_rng(seed), slices=slices, matrix_px=matrix_px)


def patient_for(seed: int) -> Patient:
    return draw_patient(np.random.default_rng(seed))


def clean(site: Site) -> Site:
    """Return the site without noise, ghosts, fold-over, flare, halo or fat failure."""
    bare = replace(site.faults, noise=0.0, ghosting=0.0, wrap=0.0, flare=0.0, halo=0.0)
    return replace(site, faults=replace(bare, fat_failure=0.0, pedestal=0.0, bias=0.0))


def coarsened(site: Site, *, columns: int, slices: int) -> Site:
    """Return a site of the same field of view with fewer, larger voxels."""
    return replace(
        site,
        rows=round(site.rows * columns / site.columns),
        columns=columns,
        slices=slices,
        slice_mm=site.slice_mm * site.slices / slices,
    )


def painted(patient: Patient, site: Site, seed: int) -> tuple[Labels, dict[Side, Mask]]:
    """Return what ``make_case`` paints before it makes an image of it."""
    grid = image_lattice(patient, site)
    body = build_body(patient, grid, np.random.default_rng([seed, 0]))
    return paint(body, grid)
