"""Synthetic breast DCE-MR with known masks: six phases of a prone patient.

``draw_patient`` and ``draw_site`` draw parameters from seeded distributions wide
enough that nearest point and breast size spread as in the paper; ``make_case``
renders one patient in one scanner. What a mask covers is told in
``model.synthetic.anatomy``.
"""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.synthetic.acquisition import Examination, acquire, draw_shading
from model.synthetic.anatomy import build_anatomy
from model.synthetic.appearance import draw_contrast
from model.synthetic.lattice import Lattice, centred_axis
from model.synthetic.organs import build_contents, build_thorax
from model.synthetic.patient import Patient, Side, draw_patient
from model.synthetic.site import Site, draw_site
from model.synthetic.tissues import Body, Labels, Mask, Tissue, draw_grain, paint

if TYPE_CHECKING:
    from highdicom import Volume

__all__ = [
    "Patient",
    "PhantomCase",
    "Side",
    "Site",
    "draw_patient",
    "draw_site",
    "draw_voxels",
    "make_case",
]

COARSE_MM = 3.0
VERSION = 2
"""Raised whenever the same parameters give another image."""


@dataclass(frozen=True, slots=True, eq=False)
class PhantomCase:
    """One synthetic examination and its known breast masks.

    ``phases`` are the pre- and five post-contrast volumes, uint16, in canonical order
    (index slices towards the head, rows posterior, columns left; LPS affine).
    ``right`` and ``left`` are disjoint masks (slices, rows, columns) on that grid, of
    the pre-contrast phase.
    """

    patient: Patient
    site: Site
    seed: int
    phases: "tuple[Volume, ...]"
    right: NDArray[np.bool_]
    left: NDArray[np.bool_]

    def record(self) -> dict[str, object]:
        """Return every parameter of the case, ready for JSON."""
        values = {
            "phantom_version": VERSION,
            "seed": self.seed,
            "patient": asdict(self.patient),
            "site": asdict(self.site),
        }
        record: dict[str, object] = json.loads(json.dumps(values))
        return record


def make_case(
    patient: Patient, site: Site, *, seed: int, include_skin: bool = True
) -> PhantomCase:
    """Render ``patient`` at ``site``; the same arguments give the same voxels."""
    from highdicom import Volume

    stored, (right, left) = draw_voxels(
        patient, site, seed=seed, include_skin=include_skin
    )
    affine = image_affine(patient, site)
    phases = tuple(Volume(v, affine, coordinate_system="PATIENT") for v in stored)
    return PhantomCase(patient, site, seed, phases, right, left)


def draw_voxels(
    patient: Patient, site: Site, *, seed: int, include_skin: bool = True
) -> tuple[tuple[NDArray[np.uint16], ...], tuple[Mask, Mask]]:
    """Return the arrays of ``make_case``: six phases, and the right and left mask.

    Each is (slices, rows, columns). Nothing of DICOM is imported for them.
    """
    for_body, for_contrast, for_scan = (
        np.random.default_rng([seed, stream]) for stream in range(3)
    )
    grid = image_lattice(patient, site)
    body = build_body(patient, grid, for_body)
    labels, masks = paint(body, grid)
    shading = draw_shading(body, site, grid, for_scan)
    contrast = draw_contrast(site.protocol, patient, for_contrast)
    examination = Examination(body, site, grid, shading, contrast)
    stored = acquire(examination, labels, for_scan)
    if not include_skin:
        masks = {side: _without_skin(mask, labels) for side, mask in masks.items()}
    right, left = (_image_part(masks[side], site) for side in Side)
    return stored, (right, left)


def build_body(patient: Patient, grid: Lattice, rng: np.random.Generator) -> Body:
    """Return the fields of ``patient`` for an image on ``grid``."""
    anatomy = build_anatomy(patient, grid.coarse(COARSE_MM), rng)
    return Body(
        patient=patient,
        anatomy=anatomy,
        thorax=build_thorax(patient, anatomy, rng),
        contents=build_contents(patient, anatomy, rng),
        grain=draw_grain(rng, grid),
    )


def image_lattice(patient: Patient, site: Site) -> Lattice:
    """Return where the voxels lie, from the patient's position below the front edge.

    Beyond the image it holds the margins that fold over into it.
    """
    row_margin, column_margin = site.margins_px
    middle_mm = _middle_mm(patient, site)
    return Lattice(
        centred_axis(site.slices, site.slice_mm, 0.0),
        centred_axis(site.rows + 2 * row_margin, site.row_mm, middle_mm),
        centred_axis(site.columns + 2 * column_margin, site.column_mm, 0.0),
    )


def image_affine(patient: Patient, site: Site) -> NDArray[np.float64]:
    """Return the affine from (slice, row, column) to LPS millimetres."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag([site.column_mm, site.row_mm, site.slice_mm])[:, ::-1]
    counts = np.array([site.slices, site.rows, site.columns])
    affine[:3, 3] = -affine[:3, :3] @ ((counts - 1) / 2)
    affine[1, 3] += _middle_mm(patient, site)
    return affine


def _middle_mm(patient: Patient, site: Site) -> float:
    """Return y of the image's middle row, mm behind the skin over the sternum."""
    return site.fov_rows_mm / 2 - patient.sternum_share * site.fov_columns_mm


def _image_part(mask: Mask, site: Site) -> Mask:
    """Return the mask without the margins that fold over."""
    top, side = site.margins_px
    part: Mask = mask[:, top : top + site.rows, side : side + site.columns].copy()
    return part


def _without_skin(mask: Mask, labels: Labels) -> Mask:
    inner: Mask = mask & (labels != Tissue.SKIN) & (labels != Tissue.NIPPLE)
    return inner
