"""Tissue labels of a phantom on the image grid, painted slab by slab."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from model.synthetic.anatomy import Anatomy
from model.synthetic.lattice import Field, Lattice, Noise, draw_noise, upsample
from model.synthetic.organs import Contents, Thorax
from model.synthetic.patient import Implant, ImplantPlane, Lesion, Patient, Side

SLAB_VOXELS = 800_000
"""About what stays in a processor's cache; also bounds the memory."""
RIB_MM = 10.0
SHELL_MM = 2.0
CARTILAGE_MM = 70.0
STERNUM_MM = 17.0


class Tissue(IntEnum):
    """What a voxel holds."""

    AIR = 0
    FAT = 1
    SKIN = 2
    NIPPLE = 3
    GLAND = 4
    STRAND = 5
    VESSEL = 6
    MUSCLE = 7
    BONE = 8
    MARROW = 9
    CARTILAGE = 10
    LUNG = 11
    LUNG_VESSEL = 12
    BLOOD = 13
    MYOCARDIUM = 14
    MEDIASTINUM = 15
    LIVER = 16
    GUT = 17
    CORD = 18
    LESION = 19
    LESION_CORE = 20
    CYST = 21
    NODE = 22
    IMPLANT = 23
    MARKER = 24


TISSUES = len(Tissue)
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Grain:
    """Noise too fine for the coarse lattice."""

    gland: Noise
    lung: Noise


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """One patient's fields, ready to be painted."""

    patient: Patient
    anatomy: Anatomy
    thorax: Thorax
    contents: Contents
    grain: Grain

    def on(self, values: Field, grid: Lattice) -> Field:
        """Carry one field from the coarse lattice to ``grid``."""
        return upsample(values, self.anatomy.lattice, grid)


def draw_grain(rng: np.random.Generator, lattice: Lattice) -> Grain:
    """Draw the fine noise of one patient."""
    return Grain(
        gland=draw_noise(rng, lattice, (4.5, 5.5, 4.5)),
        lung=draw_noise(rng, lattice, (9.0, 9.0, 9.0)),
    )


def slabs(grid: Lattice) -> Iterator[slice]:
    """Yield runs of slices small enough to work on at once."""
    slices, rows, columns = grid.shape
    step = max(1, SLAB_VOXELS // (rows * columns))
    for start in range(0, slices, step):
        yield slice(start, min(start + step, slices))


def paint(body: Body, grid: Lattice) -> tuple[Labels, dict[Side, Mask]]:
    """Return the tissue label of every voxel and the mask of each side's breast."""
    labels = np.zeros(grid.shape, np.uint8)
    masks = {side: np.zeros(grid.shape, bool) for side in Side}
    for part in slabs(grid):
        slab = grid.slab(part.start, part.stop)
        surface = body.on(body.anatomy.body, slab)
        labels[part] = _paint_slab(body, slab, surface)
        for side, region in breast_regions(body.anatomy, slab, surface).items():
            masks[side][part] = region
    return labels, masks


def breast_regions(anatomy: Anatomy, grid: Lattice, surface: Field) -> dict[Side, Mask]:
    """Return each side's region, cut at the patient's mid-line so that none overlap.

    ``surface`` is the body's on ``grid``.
    """
    left_half = upsample(anatomy.point.x, anatomy.lattice, grid) > 0
    outside_arms = upsample(anatomy.arms, anatomy.lattice, grid) > 0
    inside = (surface < 0) & outside_arms
    halves = {Side.LEFT: left_half, Side.RIGHT: ~left_half}
    return {
        side: inside & halves[side] & (upsample(region, anatomy.lattice, grid) < 0)
        for side, region in anatomy.region.items()
    }


def _paint_slab(body: Body, slab: Lattice, surface: Field) -> Labels:
    labels = np.where(surface < 0, Tissue.FAT, Tissue.AIR).astype(np.uint8)
    muscle = body.on(body.anatomy.muscle, slab)
    inside = surface < 0
    labels[inside & (muscle < 0)] = Tissue.MUSCLE
    _paint_muscle_fat(body, slab, labels, muscle)
    _paint_chest(body, slab, labels, inside)
    _paint_breast(body, slab, labels, muscle)
    skin_mm = body.patient.chest.skin_mm
    labels[inside & (surface > -skin_mm)] = Tissue.SKIN
    _paint_arms(body, slab, labels, skin_mm)
    nipple = body.on(body.anatomy.nipple, slab)
    labels[inside & (nipple < 1.5)] = Tissue.NIPPLE
    if body.patient.markers:
        labels[(nipple > 6) & (nipple < 9) & (surface > 0) & (surface < 4)] = (
            Tissue.MARKER
        )
    return labels


def _paint_muscle_fat(body: Body, slab: Lattice, labels: Labels, muscle: Field) -> None:
    """Paint the fat plane between the layers of muscle in front of the ribs."""
    half_mm = body.patient.chest.muscle_fat
    if half_mm == 0:
        return
    ribs = body.on(body.anatomy.ribs, slab)
    middle = np.abs(muscle + 0.55 * (ribs - muscle)) < half_mm
    uneven = body.grain.lung.on(slab) > -0.4
    labels[(labels == Tissue.MUSCLE) & middle & uneven] = Tissue.FAT


def _paint_chest(body: Body, slab: Lattice, labels: Labels, inside: Mask) -> None:
    """Paint ribs, sternum and what lies behind them."""
    depth = -body.on(body.anatomy.ribs, slab)
    wall = inside & (depth > 0)
    lateral = np.abs(body.on(body.anatomy.point.x, slab))
    posterior = body.on(body.anatomy.point.y, slab)
    rib = body.on(body.thorax.rib_wave, slab) > 0.1
    rib |= (lateral < STERNUM_MM) & (posterior < 60)
    bone = wall & rib & (depth < RIB_MM)
    labels[bone] = Tissue.BONE
    labels[bone & (depth > 2) & (depth < RIB_MM - 2)] = Tissue.MARROW
    front = (lateral > STERNUM_MM) & (lateral < CARTILAGE_MM) & (posterior < 60)
    labels[bone & front] = Tissue.CARTILAGE
    cavity = wall & (depth > RIB_MM)
    _paint_cavity(body, slab, labels, cavity)
    mammary = np.hypot(lateral - 15, depth - RIB_MM - 2.5) < 2.4
    labels[wall & mammary & (posterior < 80)] = Tissue.BLOOD
    spine = body.on(body.thorax.spine, slab)
    labels[wall & (spine < 0)] = Tissue.BONE
    labels[wall & (spine < -2.5)] = Tissue.MARROW
    canal = np.hypot(lateral, posterior - 0.9 * body.patient.chest.depth_mm) < 9
    labels[inside & canal] = Tissue.CORD


def _paint_cavity(body: Body, slab: Lattice, labels: Labels, cavity: Mask) -> None:
    thorax = body.thorax
    labels[cavity] = Tissue.LUNG
    twigs = np.abs(body.grain.lung.on(slab)) + np.abs(
        0.7 * body.on(body.contents.strands, slab)
    )
    labels[cavity & (twigs < 0.12)] = Tissue.LUNG_VESSEL
    labels[cavity & (body.on(thorax.mediastinum, slab) < 0)] = Tissue.MEDIASTINUM
    heart = body.on(thorax.heart, slab)
    for limit, tissue in (
        (0.0, Tissue.MEDIASTINUM),
        (-4.0, Tissue.MYOCARDIUM),
        (-13.0, Tissue.BLOOD),
    ):
        labels[cavity & (heart < limit)] = tissue
    left = body.on(body.anatomy.point.x, slab) > 25
    abdomen = cavity & (body.on(thorax.liver, slab) < 0)
    labels[abdomen & ~left] = Tissue.LIVER
    labels[abdomen & left] = Tissue.GUT
    labels[cavity & (body.on(thorax.aorta, slab) < 0)] = Tissue.BLOOD


def _paint_breast(body: Body, slab: Lattice, labels: Labels, muscle: Field) -> None:
    """Paint gland, ligaments, vessels, lesion, cysts, nodes and implants into fat."""
    contents = body.contents
    fat = labels == Tissue.FAT
    gland = body.on(contents.gland, slab)
    strands = np.abs(body.on(contents.strands, slab))
    labels[fat & (gland > -30) & (strands < 0.07)] = Tissue.STRAND
    labels[fat & (body.on(contents.vessels, slab) < 0.085)] = Tissue.VESSEL
    grain = 0.32 * body.grain.gland.on(slab)
    labels[fat & (muscle > 3) & (gland + grain > 0)] = Tissue.GLAND
    labels[fat & (body.on(contents.nodes, slab) < 0)] = Tissue.NODE
    if body.patient.cysts:
        labels[fat & (body.on(contents.cysts, slab) < 0)] = Tissue.CYST
    for implant, field in zip(body.patient.implants, contents.implants, strict=True):
        _paint_implant(body, labels, implant, body.on(field, slab))
    if body.patient.lesion is not None:
        _paint_lesion(body, slab, labels, body.patient.lesion)


def _paint_lesion(body: Body, slab: Lattice, labels: Labels, lesion: Lesion) -> None:
    surface = body.on(body.contents.lesion, slab)
    breast = (labels != Tissue.AIR) & (labels != Tissue.IMPLANT)
    breast &= body.on(body.anatomy.muscle, slab) > 1
    labels[breast & (surface < 0)] = Tissue.LESION
    if lesion.rim:
        labels[breast & (surface < -0.4 * lesion.radius_mm)] = Tissue.LESION_CORE


def _paint_implant(
    body: Body, labels: Labels, implant: Implant, surface: Field
) -> None:
    tissue = labels != Tissue.AIR
    cover = Tissue.STRAND
    cover_mm = SHELL_MM
    if implant.plane is ImplantPlane.SUBPECTORAL:
        cover, cover_mm = Tissue.MUSCLE, 0.4 * body.patient.chest.pectoral_mm
    labels[tissue & (surface < cover_mm)] = cover
    labels[tissue & (surface < 0)] = Tissue.IMPLANT


def _paint_arms(body: Body, slab: Lattice, labels: Labels, skin_mm: float) -> None:
    arms = body.on(body.anatomy.arms, slab)
    if arms.min() > 0:
        return
    layers = (
        (-skin_mm, Tissue.FAT),
        (-9.0, Tissue.MUSCLE),
        (-30.0, Tissue.BONE),
        (-33.0, Tissue.MARROW),
    )
    outer = (arms < 0) & (labels != Tissue.SKIN)
    for limit, tissue in layers:
        labels[outer & (arms < limit)] = tissue
