"""From a patient's parameters to fields in space: where every tissue begins.

The frame is the prone patient's, in millimetres along LPS: origin on the skin over
the sternum at the height of the breasts, x left, y posterior, z towards the head.
A surface is a field that is negative inside its structure and grows about 1 per
millimetre, so that thicknesses can be added to it. All are evaluated on one coarse
lattice, after one smooth deformation of space.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.synthetic.band import FOLD_SHARE, build_bands
from model.synthetic.lattice import Field, Lattice, draw_noise, gradient_norm
from model.synthetic.patient import Arms, Breast, Chest, Patient, Side

FAR_MM = 1e3
MERGE_MM = 24.0
"""Radius with which breast and chest run into one another."""
SIDE_RIM, END_RIM = 0.12, 0.5
"""Part of the base, from its rim and its upper and lower ends, where it thins."""
BED_SCALE_MM = 60.0
"""Turns the base's dimensionless field into about millimetres."""
UPPER_SLOPE, LOWER_SLOPE = 0.22, 0.12
"""How much longer each half is at its root than half way to the nipple."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Coordinates of every lattice point in the undeformed patient, mm."""

    z: Field
    y: Field
    x: Field


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """Surfaces of one patient on a coarse lattice, each (slices, rows, columns)."""

    lattice: Lattice
    point: Point
    body: Field
    muscle: Field
    ribs: Field
    bed: dict[Side, Field]
    """Where the gland of each breast may lie."""
    region: dict[Side, Field]
    """Breast region of each side that carries a breast; see ``band``."""
    radius: dict[Side, Field]
    """Distance from a breast's axis as a share of its surface's, 1 on the skin."""
    nipple: Field
    arms: Field


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Every point seen from the axis of one breast, from its root to the nipple."""

    height: Field
    """0 at the root, 1 at the nipple; negative behind the root."""
    behind_mm: Field
    across_mm: Field
    """Distance from the axis, positive laterally."""
    along_mm: Field
    """Distance from the axis, positive towards the head."""
    drop: Field
    """Widening at this height."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """The footprint of one breast on the chest."""

    inside: Field
    """1 at its centre, 0 on its rim, negative outside."""
    height: Field
    """1 at mid-height, 0 at the upper and the lower end."""


def build_anatomy(
    patient: Patient, lattice: Lattice, rng: np.random.Generator
) -> Anatomy:
    """Return the surfaces of ``patient`` on ``lattice``."""
    point = _deform(patient, lattice, rng)
    chest = _distance(_torso(patient.chest, point), lattice)
    fat_mm = _fat_thickness(patient.chest, lattice, point, rng)
    muscle = chest + fat_mm
    body, nipple = chest, np.full_like(chest, FAR_MM)
    bed, radius = {}, {}
    for side in patient.sides():
        breast, lateral = patient.breast(side), side.sign * point.x
        axis = _axis(breast, patient.chest, lateral, point)
        radius[side] = _breast(breast, axis)
        surface = _distance(radius[side] - 1, lattice)
        body = _merge(body, surface, MERGE_MM)
        nipple = np.minimum(nipple, _nipple(breast, lateral, point))
        base = _base(breast, patient.chest, axis, point)
        bed[side] = _bed(base, muscle=muscle, fat_mm=fat_mm)
    arms = _arms(patient, point)
    fold_x_mm = FOLD_SHARE * patient.chest.half_width_mm
    return Anatomy(
        lattice=lattice,
        point=point,
        body=_merge(np.minimum(body, nipple), arms, 12.0),
        muscle=muscle,
        ribs=muscle + _muscle_thickness(patient.chest, point),
        bed=bed,
        region=build_bands(
            patient,
            point.z,
            behind_fold=point.y - chest_front_mm(patient.chest, fold_x_mm, point.z),
            muscle=muscle,
            fat_mm=fat_mm,
            radius=radius,
        ),
        radius=radius,
        nipple=nipple,
        arms=arms,
    )


def chest_front_mm(chest: Chest, lateral: Field | float, z: Field | float) -> Field:
    """Return y of the chest's anterior skin ``lateral`` mm from the mid-line."""
    share = np.clip(np.abs(lateral) / chest.half_width_mm, 0, 0.999)
    bend = 1 - (1 - share**chest.squareness) ** (1 / chest.squareness)
    front = _sternum_mm(chest, np.asarray(z)) + chest.depth_mm / 2 * bend
    return np.asarray(front, np.float32)


def _deform(patient: Patient, lattice: Lattice, rng: np.random.Generator) -> Point:
    """Place the patient on the table and bend space smoothly, at two scales."""
    z, y, x = lattice.points()
    roll, pitch = np.deg2rad([patient.roll_deg, patient.pitch_deg]).astype("f4")
    moved_x, moved_z = x - patient.shift_x_mm, z - patient.shift_z_mm
    axes = [
        moved_z + pitch * y,
        y - pitch * moved_z - roll * moved_x,
        moved_x + roll * y,
    ]
    bent = []
    for axis in axes:
        bend = 3.5 * draw_noise(rng, lattice, (70.0, 70.0, 70.0)).on(lattice)
        bend += 1.2 * draw_noise(rng, lattice, (28.0, 28.0, 28.0)).on(lattice)
        bent.append(axis + bend)
    return Point(*bent)


def _sternum_mm(chest: Chest, z: Field) -> Field:
    """Return y of the skin over the sternum: the chest falls back towards the head."""
    up = np.maximum(z, 0) * chest.slope + 0.0012 * np.maximum(z - 20, 0) ** 2
    down = _step(-z, 50.0, 120.0) * chest.belly_mm
    return np.asarray(up - down, np.float32)


def _torso(chest: Chest, point: Point) -> Field:
    half_depth = chest.depth_mm / 2
    dip = chest.sternal_dip_mm * np.exp(-((point.x / 22) ** 2))
    front = _sternum_mm(chest, point.z) + dip * (point.y < half_depth)
    width = chest.half_width_mm * (1 - 0.04 * ((point.z + 10) / 100) ** 2)
    width = width + chest.shoulder_mm * _step(point.z, 60.0, 125.0)
    n = chest.squareness
    across = np.abs(point.x / width) ** n
    along = np.abs((point.y - front - half_depth) / half_depth) ** n
    return np.asarray((across + along) ** (1 / n) - 1, np.float32)


def _fat_thickness(
    chest: Chest, lattice: Lattice, point: Point, rng: np.random.Generator
) -> Field:
    """Return the subcutaneous fat in mm: thin over the sternum, thick at the flank."""
    side = np.abs(point.x) / chest.half_width_mm
    shape = 1 - 0.45 * np.exp(-((point.x / 28) ** 2)) + 0.35 * side**2
    uneven = 1 + 0.15 * draw_noise(rng, lattice, (45.0, 45.0, 45.0)).on(lattice)
    shape = shape * (1 + chest.belly_fat * _step(-point.z, 40.0, 110.0))
    return np.asarray(chest.fat_mm * shape * np.maximum(uneven, 0.4), np.float32)


def _muscle_thickness(chest: Chest, point: Point) -> Field:
    """Return muscle in mm: pectoral in front, thicker upwards, and back muscles."""
    lateral = np.abs(point.x)
    reach = np.clip(118 + 0.25 * point.z, 90, 140)
    sheet = _step(lateral, 8.0, 45.0) * (1 - _step(lateral - reach, 0.0, 28.0))
    height = np.clip(0.75 + point.z / 140, 0.25, 1.35)
    pectoral = chest.pectoral_mm * sheet * height
    front = 1 - _step(point.y, 0.35 * chest.depth_mm, 0.5 * chest.depth_mm)
    back = 22 * _step(point.y, 0.5 * chest.depth_mm, 0.8 * chest.depth_mm)
    serratus = 4 * _step(lateral, 15.0, 60.0)
    return np.asarray(pectoral * front + serratus + back + 1, np.float32)


def _axis(breast: Breast, chest: Chest, lateral: Field, point: Point) -> Axis:
    root_mm = float(chest_front_mm(chest, breast.centre_x_mm, breast.centre_z_mm))
    length_mm = root_mm + breast.projection_mm
    height = (root_mm - point.y) / length_mm
    hang = np.clip(height, 0, 1)
    return Axis(
        height=height,
        behind_mm=np.maximum(-height, 0) * length_mm,
        across_mm=lateral - breast.centre_x_mm - breast.nipple_lateral_mm * hang,
        along_mm=point.z - breast.centre_z_mm + breast.nipple_caudal_mm * hang**1.5,
        drop=1 + breast.bulb * np.sin(np.pi * hang),
    )


def _breast(breast: Breast, axis: Axis) -> Field:
    """Return the distance from the breast's axis, 1 on its surface."""
    across = axis.across_mm / (breast.half_width_mm * axis.drop)
    slope = 1 - 2 * np.clip(axis.height, 0, 1)
    above, below = 1 + UPPER_SLOPE * slope, axis.drop + LOWER_SLOPE * slope
    rise = np.where(axis.along_mm > 0, above, below)
    along = axis.along_mm / (breast.half_height_mm * rise)
    front = np.maximum(axis.height, 0) ** breast.bluntness
    radius: Field = np.sqrt(across**2 + along**2 + front + (axis.behind_mm / 70) ** 2)
    return radius


def _nipple(breast: Breast, lateral: Field, point: Point) -> Field:
    x = lateral - breast.centre_x_mm - breast.nipple_lateral_mm
    z = point.z - breast.centre_z_mm + breast.nipple_caudal_mm
    y = (point.y + breast.projection_mm) / 1.4
    surface: Field = np.sqrt(x**2 + y**2 + z**2) - np.float32(breast.nipple_mm)
    return surface


def _base(breast: Breast, chest: Chest, axis: Axis, point: Point) -> Base:
    """Return the base of one breast: footprint, axillary tail and height."""
    fold_mm = 0.94 * chest.half_width_mm - breast.centre_x_mm
    outer_mm = max(fold_mm, 1.1 * breast.half_width_mm + 6)
    inner_mm = max(breast.centre_x_mm + 6, 1.1 * breast.half_width_mm)
    above_mm = 1.16 * breast.half_height_mm + 8
    below_mm = 1.05 * breast.half_height_mm + 5
    height_mm = _either(axis.along_mm > 0, above_mm, below_mm)
    u = axis.across_mm / (_either(axis.across_mm > 0, outer_mm, inner_mm) * axis.drop)
    rise_mm = 0.16 * height_mm * np.clip(u, 0, 1.2)
    v = (axis.along_mm - rise_mm) / (height_mm * axis.drop)
    fold_y = float(chest_front_mm(chest, 0.8 * 0.94 * chest.half_width_mm, 0.0))
    w = np.maximum(point.y - fold_y, 0) / 45
    height = 1 - v**2 * np.sqrt(np.abs(v))
    lobe = height - u**2 * np.sqrt(np.abs(u)) - w**2
    tail_x = (axis.across_mm - 0.72 * fold_mm) / 28
    tail_z = (axis.along_mm - rise_mm - 0.75 * height_mm) / 30
    tail = 0.6 * (1 - tail_x**2 - tail_z**2) - w**2
    return Base(-_merge(-lobe, -tail, 0.25), height)


def _bed(base: Base, *, muscle: Field, fat_mm: Field) -> Field:
    """Return the bed's surface; near the rim of its base it leaves the muscle."""
    inwards = np.minimum(base.inside / SIDE_RIM, base.height / END_RIM)
    lift_mm = fat_mm * (1 - np.clip(inwards, 0, 1))
    surface: Field = np.maximum(-BED_SCALE_MM * base.inside, lift_mm - muscle)
    return surface


def _arms(patient: Patient, point: Point) -> Field:
    """Return the arms as capsules; far away when outside the field of view."""
    side = patient.chest.half_width_mm + patient.arm_gap_mm
    lateral = np.abs(point.x)
    if patient.arms is Arms.OUTSIDE:
        return np.full_like(lateral, FAR_MM)
    if patient.arms is Arms.UP:
        ends = (95.0, 60.0, side - 2), (235.0, -30.0, side + 4)
    else:
        ends = (130.0, 70.0, side + 40), (-250.0, 90.0, side + 54)
    radius_mm = patient.arm_radius_mm
    return _capsule(Point(point.z, point.y, lateral), *ends, radius_mm=radius_mm)


def _capsule(
    point: Point,
    start: tuple[float, float, float],
    stop: tuple[float, float, float],
    *,
    radius_mm: float,
) -> Field:
    axes = (point.z, point.y, point.x)
    offset = [a - np.float32(s) for a, s in zip(axes, start, strict=True)]
    axis = np.subtract(stop, start).astype("f4")
    along = sum(o * a for o, a in zip(offset, axis, strict=True)) / (axis**2).sum()
    share = np.clip(along, 0, 1)
    square = sum((o - share * a) ** 2 for o, a in zip(offset, axis, strict=True))
    return np.asarray(np.sqrt(square) - radius_mm, np.float32)


def _distance(values: Field, lattice: Lattice) -> Field:
    """Scale ``values`` to about 1 per mm near their zero."""
    norm = gradient_norm(values, lattice)
    return np.asarray(values / np.maximum(norm, 1e-3), np.float32)


def _either(condition: NDArray[np.bool_], yes: float, no: float) -> Field:
    return np.where(condition, np.float32(yes), np.float32(no))


def _merge(first: Field, second: Field, radius: float) -> Field:
    """Return the smooth union of two surfaces."""
    near = np.maximum(1 - np.abs(first - second) / radius, 0)
    return np.asarray(np.minimum(first, second) - near**2 * (radius / 4), np.float32)


def _step(values: Field, start: float, stop: float) -> Field:
    """Rise smoothly from 0 at ``start`` to 1 at ``stop``."""
    share = np.clip((values - start) / (stop - start), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
