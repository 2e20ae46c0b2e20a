"""What lies behind the chest wall, and inside the breast: fields on the coarse lattice.

Surfaces are negative inside, about 1 per millimetre; the frame is that of
``model.synthetic.anatomy``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.synthetic.anatomy import FAR_MM, Anatomy, Point, chest_front_mm
from model.synthetic.lattice import Field, draw_noise
from model.synthetic.patient import Breast, Implant, Lesion, Patient, Side

RIB_PERIOD_MM = 27.0
CYST_MM = (2.5, 7.0)


@dataclass(frozen=True, slots=True, eq=False)
class Thorax:
    """Organs; each field (slices, rows, columns) on the anatomy's lattice."""

    rib_wave: Field
    """Above 0 where the chest wall is bone or cartilage, below between ribs."""
    heart: Field
    mediastinum: Field
    liver: Field
    spine: Field
    aorta: Field


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What the breasts hold; each field on the anatomy's lattice."""

    gland: Field
    """Above 0 is fibroglandular tissue."""
    strands: Field
    """Near 0 on the sheets of Cooper's ligaments."""
    vessels: Field
    """Distance from vessel paths, in units of the noise."""
    lesion: Field
    cysts: Field
    nodes: Field
    implants: tuple[Field, ...]
    """One surface for each of the patient's implants."""


def build_thorax(
    patient: Patient, anatomy: Anatomy, rng: np.random.Generator
) -> Thorax:
    """Return the organs of ``patient``."""
    chest, p = patient.chest, anatomy.point
    uneven = 3 * draw_noise(rng, anatomy.lattice, (30.0, 30.0, 30.0)).on(
        anatomy.lattice
    )
    size = chest.heart_mm
    heart = _ellipsoid(p, (-22, 72, 22), (0.95 * size, 0.9 * size, 1.1 * size))
    depth = chest.depth_mm
    middle = _ellipsoid(p, (20, 0.5 * depth, 4), (400, 0.42 * depth, 40))
    dome = chest.diaphragm_mm - ((p.x + 75) ** 2 + (p.y - depth / 2) ** 2) / 260
    dome = np.maximum(dome, chest.diaphragm_mm - 28 - ((p.x - 80) ** 2) / 260)
    spine = _ellipsoid(p, (0, 0.76 * depth, 0), (900, 24, 27))
    aorta = _ellipsoid(p, (0, 0.66 * depth, 30), (900, 11.5, 11.5))
    return Thorax(
        rib_wave=_rib_wave(p),
        heart=heart + uneven,
        mediastinum=middle + 2 * uneven,
        liver=np.asarray(p.z - dome + uneven, np.float32),
        spine=spine,
        aorta=aorta,
    )


def build_contents(
    patient: Patient, anatomy: Anatomy, rng: np.random.Generator
) -> Contents:
    """Return what the breasts of ``patient`` hold."""
    lattice = anatomy.lattice
    waves = [draw_noise(rng, lattice, (26.0, 26.0, 26.0)).on(lattice) for _ in "ab"]
    return Contents(
        gland=_gland(patient, anatomy, rng),
        strands=draw_noise(rng, lattice, (13.0, 20.0, 13.0)).on(lattice),
        vessels=np.hypot(*waves),
        lesion=_lesion(patient, anatomy, rng),
        cysts=_cysts(patient, anatomy, rng),
        nodes=_nodes(patient, anatomy.point, rng),
        implants=tuple(
            _implant(patient, implant, anatomy.point) for implant in patient.implants
        ),
    )


def lesion_centre(patient: Patient, lesion: Lesion) -> tuple[float, float, float]:
    """Return z, y, x of the lesion's centre, mm in the undeformed patient."""
    reach = lesion.eccentricity * np.sqrt(1 - lesion.depth)
    lateral = reach * np.cos(lesion.angle_rad)
    upward = reach * np.sin(lesion.angle_rad)
    return _inside(patient, lesion.side, lesion.depth, (lateral, upward))


def _inside(
    patient: Patient, side: Side, depth: float, offset: tuple[float, float]
) -> tuple[float, float, float]:
    """Return a point at ``depth`` of the axis and an offset in shares of the base."""
    b: Breast = patient.breast(side)
    root = float(chest_front_mm(patient.chest, b.centre_x_mm, b.centre_z_mm))
    lateral = b.centre_x_mm + b.nipple_lateral_mm * depth + offset[0] * b.half_width_mm
    z = b.centre_z_mm - b.nipple_caudal_mm * depth**1.5 + offset[1] * b.half_height_mm
    return z, root - depth * (root + b.projection_mm), side.sign * lateral


def _gland(patient: Patient, anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Return the affinity to gland, shifted so that its share is the density."""
    lattice = anatomy.lattice
    lobes = 0.55 * draw_noise(rng, lattice, (20.0, 30.0, 20.0)).on(lattice)
    lobes += 0.35 * draw_noise(rng, lattice, (9.0, 14.0, 9.0)).on(lattice)
    ducts = np.abs(draw_noise(rng, lattice, (13.0, 26.0, 13.0)).on(lattice))
    gland = np.full_like(lobes, -FAR_MM)
    for side in patient.sides():
        breast = patient.breast(side)
        inside = np.maximum(anatomy.bed[side], anatomy.body) < -2
        score = lobes - breast.ducts * ducts - _gland_distance(patient, side, anatomy)
        if not inside.any():
            continue
        score = score - np.quantile(score[inside], 1 - breast.density)
        gland = np.where(anatomy.bed[side] < 0, score, gland)
    return gland.astype(np.float32)


def _gland_distance(patient: Patient, side: Side, anatomy: Anatomy) -> Field:
    """Grow from the middle of the breast outwards; a cone towards the nipple."""
    breast, p = patient.breast(side), anatomy.point
    _, middle_y, _ = _inside(patient, side, 0.45, (0.0, 0.0))
    length = 0.5 * (breast.projection_mm + 20)
    along = (p.y - middle_y) / length
    z, _, x = _inside(patient, side, 0.45, (0.06, 0.08))
    across = (p.x - x) / breast.half_width_mm
    up = (p.z - z) / breast.half_height_mm
    taper = np.clip(0.75 + 0.45 * along, 0.18, 1.0)
    cone = (across**2 + up**2) / taper**2 + np.where(along > 0, 1.6, 0.8) * along**2
    rim = np.clip(anatomy.radius[side] - 0.8, 0, None) * 8 * (along > -0.85)
    distance: Field = 1.2 * cone + rim
    return distance


def _lesion(patient: Patient, anatomy: Anatomy, rng: np.random.Generator) -> Field:
    if patient.lesion is None:
        return np.full_like(anatomy.body, FAR_MM)
    radius = patient.lesion.radius_mm
    scale = max(0.7 * radius, 5.0)
    noise = draw_noise(rng, anatomy.lattice, (scale, scale, scale))
    ball = _balls(anatomy.point, [(*lesion_centre(patient, patient.lesion), radius)])
    uneven = patient.lesion.irregularity * radius * noise.on(anatomy.lattice)
    surface: Field = ball + np.clip(uneven, -0.6 * radius, 0.6 * radius)
    return surface


def _cysts(patient: Patient, anatomy: Anatomy, rng: np.random.Generator) -> Field:
    balls = []
    for _ in range(patient.cysts):
        side = patient.sides()[int(rng.integers(len(patient.sides())))]
        offset = rng.uniform(-0.4, 0.4, 2)
        centre = _inside(
            patient, side, float(rng.uniform(0.2, 0.7)), (offset[0], offset[1])
        )
        balls.append((*centre, float(rng.uniform(*CYST_MM))))
    return _balls(anatomy.point, balls)


def _nodes(patient: Patient, point: Point, rng: np.random.Generator) -> Field:
    """Return axillary lymph nodes: three to six on each side."""
    balls = []
    for side in Side:
        for _ in range(int(rng.integers(3, 7))):
            lateral = rng.uniform(0.72, 0.9) * patient.chest.half_width_mm
            y = chest_front_mm(patient.chest, lateral, 60.0) + rng.uniform(6, 30)
            place = rng.uniform(45, 95), float(y), side.sign * lateral
            balls.append((*place, float(rng.uniform(2.5, 5.5))))
    return _balls(point, balls)


def _implant(patient: Patient, implant: Implant, point: Point) -> Field:
    breast = patient.breast(implant.side)
    radius = min(implant.radius_mm, 0.85 * breast.half_width_mm)
    half = min(implant.thickness_mm, 0.6 * breast.projection_mm + 10) / 2
    root = float(chest_front_mm(patient.chest, breast.centre_x_mm, breast.centre_z_mm))
    centre = (
        breast.centre_z_mm - 5,
        root + 0.5 * patient.chest.fat_mm - half,
        implant.side.sign * breast.centre_x_mm,
    )
    return _ellipsoid(point, centre, (radius, half, radius))


def _rib_wave(point: Point) -> Field:
    """Ribs run down and forward: their height falls towards the sternum."""
    height = point.z - 0.55 * np.sqrt(point.x**2 + 30**2) + 0.3 * point.y
    wave: Field = np.cos(height * np.float32(2 * np.pi / RIB_PERIOD_MM))
    return wave


def _balls(
    point: Point, balls: list[tuple[float, float, float, float]]
) -> NDArray[np.float32]:
    """Return the union of balls, each z, y, x and radius in mm."""
    surface = np.full_like(point.x, FAR_MM)
    for z, y, x, radius in balls:
        surface = np.minimum(surface, _ellipsoid(point, (z, y, x), (radius,) * 3))
    return surface


def _ellipsoid(
    point: Point,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> Field:
    z, y, x = (
        (axis - np.float32(c)) / np.float32(r)
        for axis, c, r in zip((point.z, point.y, point.x), centre, radii, strict=True)
    )
    surface: Field = (np.sqrt(z**2 + y**2 + x**2) - 1) * np.float32(min(radii))
    return surface
