"""The drawn patient: every number of a synthetic anatomy, and their distribution.

Lengths follow the frame of ``model.synthetic.anatomy``: origin on the skin over the
sternum at the height of the breasts; x towards the left, y posterior, z towards the
head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Side(StrEnum):
    """Side of the patient."""

    RIGHT = "right"
    LEFT = "left"

    @property
    def sign(self) -> int:
        """Direction of the side along x: -1 right, 1 left (LPS)."""
        return -1 if self is Side.RIGHT else 1


class Arms(StrEnum):
    """Where the arms lie."""

    UP = "up"
    DOWN = "down"
    OUTSIDE = "outside"


class Kinetics(StrEnum):
    """Late enhancement of a lesion after its first rise."""

    PERSISTENT = "persistent"
    PLATEAU = "plateau"
    WASHOUT = "washout"


class ImplantPlane(StrEnum):
    """Where an implant lies."""

    SUBGLANDULAR = "subglandular"
    SUBPECTORAL = "subpectoral"


@dataclass(frozen=True, slots=True)
class Breast:
    """Shape and content of one breast."""

    projection_mm: float
    """How far the nipple hangs in front of the sternal skin."""
    half_width_mm: float
    half_height_mm: float
    centre_x_mm: float
    """Distance of the base's centre from the mid-line."""
    centre_z_mm: float
    nipple_lateral_mm: float
    nipple_caudal_mm: float
    """Ptosis: how much lower than the base's centre the nipple lies."""
    bulb: float
    """Widening of the pendulous part over the base, 0 a cone, 0.3 a drop."""
    bluntness: float
    """Exponent of the profile: 1.7 pointed, 3 blunt."""
    density: float
    """Share of fibroglandular tissue in the breast, 0 to 1."""
    ducts: float
    """How far gland follows thin branching sheets, 0 lobes alone, 1.6 a net."""
    nipple_mm: float


@dataclass(frozen=True, slots=True)
class Lesion:
    """One enhancing mass."""

    side: Side
    depth: float
    """Place along the axis of the breast, 0 base to 1 nipple."""
    angle_rad: float
    eccentricity: float
    """Distance from the axis as a share of the breast's radius."""
    radius_mm: float
    irregularity: float
    rim: bool
    kinetics: Kinetics


@dataclass(frozen=True, slots=True)
class Implant:
    """One breast implant."""

    side: Side
    plane: ImplantPlane
    radius_mm: float
    thickness_mm: float


@dataclass(frozen=True, slots=True)
class Chest:
    """Torso, chest wall and layers."""

    half_width_mm: float
    depth_mm: float
    squareness: float
    """Exponent of the cross-section: 2 an ellipse, 3 a rounded box."""
    slope: float
    """Fall of the chest towards the head, mm posterior per mm."""
    sternal_dip_mm: float
    belly_mm: float
    fat_mm: float
    skin_mm: float
    pectoral_mm: float
    heart_mm: float
    diaphragm_mm: float
    """Height of the liver's dome."""
    shoulder_mm: float = 0.0
    """Widening towards the shoulders, on each side."""
    belly_fat: float = 0.0
    """Thickening of the fat below the breasts, as a share of itself."""
    muscle_fat: float = 0.0
    """Half thickness of the fat plane within the chest muscles, mm."""


@dataclass(frozen=True, slots=True)
class Patient:
    """Anatomy and positioning of one synthetic patient."""

    right: Breast
    left: Breast
    chest: Chest
    lesion: Lesion | None
    mastectomy: Side | None
    implants: tuple[Implant, ...]
    arms: Arms
    cysts: int
    markers: bool
    background_enhancement: float
    sternum_share: float
    """How far the sternal skin lies behind the image's anterior edge, as a share of the
    image's width (an image lower than wide is cut behind)."""
    shift_x_mm: float
    shift_z_mm: float
    roll_deg: float
    pitch_deg: float
    motion_mm: float
    """Typical displacement between the pre- and post-contrast phases."""
    arm_radius_mm: float = 42.0
    arm_gap_mm: float = 0.0
    """Shift of the arms away from the chest; negative presses them on it."""

    def breast(self, side: Side) -> Breast:
        """Return the breast of one side."""
        return self.right if side is Side.RIGHT else self.left

    def sides(self) -> tuple[Side, ...]:
        """Return the sides that carry a breast."""
        return tuple(side for side in Side if side is not self.mastectomy)


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw one patient; about 1 in 25 has a mastectomy, 1 in 16 implants."""
    build = float(np.clip(rng.normal(), -1.8, 2.2))
    chest = _draw_chest(rng, build)
    mean = _draw_breast(rng, chest, build)
    mastectomy = one_of(rng, list(Side)) if rng.random() < 0.04 else None
    sides = [side for side in Side if side is not mastectomy]
    return Patient(
        right=_vary(rng, mean),
        left=_vary(rng, mean),
        chest=chest,
        lesion=_draw_lesion(rng, one_of(rng, sides)) if rng.random() < 0.6 else None,
        mastectomy=mastectomy,
        implants=_draw_implants(rng, sides),
        arms=one_of(rng, [Arms.UP, Arms.UP, Arms.OUTSIDE, Arms.DOWN]),
        cysts=int(rng.poisson(0.5)),
        markers=bool(rng.random() < 0.1),
        background_enhancement=float(rng.gamma(1.6, 0.12)),
        sternum_share=_draw_sternum_share(rng, mean.projection_mm),
        shift_x_mm=float(rng.normal(0, 6)),
        shift_z_mm=float(rng.normal(0, 5)),
        roll_deg=float(rng.normal(0, 1.8)),
        pitch_deg=float(rng.normal(0, 2)),
        motion_mm=float(min(rng.gamma(1.5, 0.6), 4)),
    )


def _draw_sternum_share(rng: np.random.Generator, projection_mm: float) -> float:
    """Larger breasts push the chest deeper into the field of view, but not fully."""
    share = 0.435 + 0.0020 * (projection_mm - 88) + rng.normal(0, 0.05)
    return float(np.clip(share, 0.25, 0.62))


def _draw_chest(rng: np.random.Generator, build: float) -> Chest:
    return Chest(
        half_width_mm=float(156 + 11 * build + rng.normal(0, 5)),
        depth_mm=float(215 + 16 * build + rng.normal(0, 8)),
        squareness=float(rng.uniform(2.1, 2.9)),
        slope=float(rng.uniform(0.02, 0.24)),
        sternal_dip_mm=float(rng.uniform(0, 9)),
        belly_mm=float(np.clip(8 * build + rng.normal(0, 8), -15, 35)),
        fat_mm=float(np.clip(11 * np.exp(0.42 * build + rng.normal(0, 0.2)), 4, 34)),
        skin_mm=float(rng.uniform(1.4, 3.0)),
        pectoral_mm=float(np.clip(rng.normal(12, 3.5), 4, 22)),
        heart_mm=float(rng.uniform(42, 58)),
        diaphragm_mm=float(rng.uniform(-85, -25)),
    )


def _draw_breast(rng: np.random.Generator, chest: Chest, build: float) -> Breast:
    size = 0.20 * build + rng.normal(0, 0.30)
    half_width = float(np.clip(57 + 22 * size + rng.normal(0, 4), 44, 84))
    projection = float(np.clip(88 * np.exp(size), 24, 165))
    centre = np.clip(0.52 * chest.half_width_mm + rng.normal(0, 4), 66, 105)
    return Breast(
        projection_mm=projection,
        half_width_mm=half_width,
        half_height_mm=float(half_width * rng.uniform(0.88, 1.12)),
        centre_x_mm=float(centre),
        centre_z_mm=0.0,
        nipple_lateral_mm=float(rng.normal(4, 8)),
        nipple_caudal_mm=float(
            np.clip(rng.normal(0.07, 0.07), -0.06, 0.25) * projection
        ),
        bulb=float(np.clip(rng.normal(0.1, 0.1) + 0.002 * (projection - 80), 0, 0.32)),
        bluntness=float(rng.uniform(1.6, 2.9)),
        ducts=float(rng.uniform(0, 1.6)),
        density=float(np.clip(rng.beta(1.5, 4.0), 0.03, 0.8)),
        nipple_mm=float(rng.uniform(3.5, 6.5)),
    )


def _vary(rng: np.random.Generator, mean: Breast) -> Breast:
    """Return ``mean`` with the asymmetry of one side."""
    scale = float(np.exp(rng.normal(0, 0.06)))
    return Breast(
        projection_mm=mean.projection_mm * scale * float(np.exp(rng.normal(0, 0.05))),
        half_width_mm=mean.half_width_mm * scale,
        half_height_mm=mean.half_height_mm * scale,
        centre_x_mm=mean.centre_x_mm + float(rng.normal(0, 3)),
        centre_z_mm=mean.centre_z_mm + float(rng.normal(0, 4)),
        nipple_lateral_mm=mean.nipple_lateral_mm + float(rng.normal(0, 5)),
        nipple_caudal_mm=mean.nipple_caudal_mm + float(rng.normal(0, 4)),
        bulb=mean.bulb,
        bluntness=mean.bluntness,
        ducts=mean.ducts,
        density=float(np.clip(mean.density * np.exp(rng.normal(0, 0.15)), 0.02, 0.85)),
        nipple_mm=mean.nipple_mm,
    )


def _draw_lesion(rng: np.random.Generator, side: Side) -> Lesion:
    return Lesion(
        side=side,
        depth=float(rng.uniform(0.1, 0.75)),
        angle_rad=float(rng.uniform(0, 2 * np.pi)),
        eccentricity=float(rng.uniform(0, 0.55)),
        radius_mm=float(np.clip(rng.lognormal(np.log(8), 0.5), 3, 28)),
        irregularity=float(rng.uniform(0.05, 0.5)),
        rim=bool(rng.random() < 0.3),
        kinetics=one_of(rng, list(Kinetics)),
    )


def _draw_implants(rng: np.random.Generator, sides: list[Side]) -> tuple[Implant, ...]:
    """Return no implant in 15 of 16 patients, else one on each drawn side."""
    if rng.random() > 1 / 16:
        return ()
    chosen = sides if rng.random() < 0.75 else sides[:1]
    plane = one_of(rng, list(ImplantPlane))
    radius, thickness = float(rng.uniform(42, 58)), float(rng.uniform(28, 44))
    return tuple(Implant(side, plane, radius, thickness) for side in chosen)


def one_of(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return one option, each as likely as it is listed."""
    return options[int(rng.integers(len(options)))]
