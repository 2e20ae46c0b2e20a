"""From a painted patient to one slice as a scanner places it: field of view and bends.

Nothing here knows intensities. Coordinates are the patient's, mm (LPS); the raster is
finer than the network grid by ``FINER`` in each direction and averaged down later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.pretraining.bank import (
    BREAST,
    MIDDLE_Y_MM,
    PIXEL_MM,
    SHAPE,
    SLICE_MM,
    breast_slices,
)
from model.synthetic.lattice import Field, Lattice, draw_noise
from model.synthetic.tissues import Labels

FINER = 2
END_SLICES = 7
"""How far around the ends of the breast slices are drawn more often."""
TOP_MM = MIDDLE_Y_MM - PIXEL_MM * (SHAPE[1] - 1) / 2
SIDE_MM = -PIXEL_MM * (SHAPE[2] - 1) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where the image lies in the patient, before it is bent."""

    grid_px: int
    mm: float
    """Distance between points of the raster."""
    y_mm: Field
    x_mm: Field
    margin_px: tuple[int, int]
    """Rows and columns on each side that fold over into the image."""
    depth_mm: float
    """Thickness of the slice."""

    @property
    def lattice(self) -> Lattice:
        """Return the raster as a lattice of one slice."""
        return Lattice(np.zeros(1, np.float32), self.y_mm, self.x_mm)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One slice before and after contrast: what each raster point shows."""

    frame: Frame
    z_mm: float
    y_mm: Field
    """Place of every raster point in the patient, for the coil."""
    x_mm: Field
    before: tuple[Labels, ...]
    """Tissues in the slice, and in its neighbours when these shine in."""
    after: tuple[Labels, ...]
    breast: NDArray[np.bool_]
    volume: Labels
    """The patient's bytes, and which slice of it this is."""
    number: int
    cleft: Field | None = None
    """Share of air in a skin fold; see ``skin_folds``."""


def draw_view(patient: Labels, grid_px: int, rng: np.random.Generator) -> View:
    """Draw a slice of ``patient`` and where the scanner sees it."""
    number = _draw_slice(patient, rng)
    front_mm = _front_mm(patient, rng)
    frame = _draw_frame(front_mm, grid_px, rng)
    y_mm, x_mm = _bend(frame, rng)
    rows, columns = _move(frame, y_mm, x_mm, rng)
    shining = _neighbours(number, frame, rng)
    packed = patient[number][indices(y_mm, x_mm)]
    breast = packed >= BREAST
    return View(
        frame=frame,
        z_mm=(number - (SHAPE[0] - 1) / 2) * SLICE_MM,
        y_mm=y_mm,
        x_mm=x_mm,
        before=_tissues(patient, shining, indices(y_mm, x_mm)),
        after=_tissues(patient, shining, indices(rows, columns)),
        breast=breast,
        volume=patient,
        number=number,
    )


def _draw_slice(patient: Labels, rng: np.random.Generator) -> int:
    """Draw mostly breast slices, and often those near the breast's ends."""
    inside = breast_slices(patient)
    chance = rng.random()
    if chance < 0.15 or len(inside) == 0:
        return int(rng.integers(len(patient)))
    if chance < 0.45:
        end = inside[0] if rng.random() < 0.5 else inside[-1]
        around = int(end + rng.integers(-END_SLICES, END_SLICES + 1))
        return int(np.clip(around, 0, len(patient) - 1))
    return int(rng.choice(inside))


def _front_mm(patient: Labels, rng: np.random.Generator) -> float:
    """Return y of the image's anterior edge; 1 in 25 cuts into the breast."""
    rows = np.flatnonzero((patient >= BREAST).any(axis=(0, 2)))
    tip_mm = TOP_MM + PIXEL_MM * float(rows[0] if len(rows) else SHAPE[1] // 2)
    gap_mm = abs(rng.normal(20, 22)) + 2
    return tip_mm - float(-rng.uniform(0, 15) if rng.random() < 0.04 else gap_mm)


def _draw_frame(front_mm: float, grid_px: int, rng: np.random.Generator) -> Frame:
    width_mm = float(np.clip(rng.normal(335, 48), 220, 440))
    height_mm = width_mm * float(rng.choice([1.0, rng.uniform(0.72, 1.2)]))
    height_mm = max(height_mm, rng.uniform(30, 90) - front_mm)
    mm = max(width_mm, height_mm) / (FINER * grid_px)
    margins = _draw_margins(FINER * grid_px, rng)
    rows, columns = (
        FINER * max(1, round(length / mm / FINER)) + 2 * margin
        for length, margin in zip((height_mm, width_mm), margins, strict=True)
    )
    first = front_mm - margins[0] * mm
    middle = rng.normal(0, 9)
    return Frame(
        grid_px=grid_px,
        mm=mm,
        y_mm=(first + mm * (np.arange(rows) + 0.5)).astype("f4"),
        x_mm=(middle + mm * (np.arange(columns) - (columns - 1) / 2)).astype("f4"),
        margin_px=margins,
        depth_mm=float(rng.uniform(0.8, 5)),
    )


def _draw_margins(side_px: int, rng: np.random.Generator) -> tuple[int, int]:
    if rng.random() > 0.1:
        return 0, 0
    margin = FINER * round(side_px * rng.uniform(0.03, 0.15) / FINER)
    return (margin, 0) if rng.random() < 0.5 else (0, margin)


def _bend(frame: Frame, rng: np.random.Generator) -> tuple[Field, Field]:
    """Turn, stretch, mirror and bend the raster in the patient."""
    angle = np.deg2rad(np.float32(rng.normal(0, 3)))
    stretch = np.exp(rng.normal(0, 0.05, 2)).astype("f4")
    flip = np.float32(rng.choice([-1, 1]))
    strength = float(rng.choice([0, 2.5, 5]) * rng.random())
    y, x = frame.y_mm[:, None], frame.x_mm[None, :]
    bends = wave(frame, 45.0, rng), wave(frame, 45.0, rng)
    y_mm = stretch[0] * (y * np.cos(angle) - x * np.sin(angle)) + strength * bends[0]
    x_mm = stretch[1] * (x * np.cos(angle) + y * np.sin(angle)) + strength * bends[1]
    return y_mm, flip * x_mm


def _move(
    frame: Frame, y_mm: Field, x_mm: Field, rng: np.random.Generator
) -> tuple[Field, Field]:
    """Return the places of the raster after the patient moved between the phases."""
    size_mm = float(min(rng.gamma(1.2, 0.7), 5))
    angle = rng.uniform(0, 2 * np.pi)
    down, across = 0.6 * size_mm * np.sin(angle), 0.6 * size_mm * np.cos(angle)
    waves = (wave(frame, 50.0, rng) for _ in range(2))
    rows, columns = (0.5 * size_mm * moved for moved in waves)
    return (
        y_mm + (rows + np.float32(down)),
        x_mm + (columns + np.float32(across)),
    )


def wave(frame: Frame, scale_mm: float, rng: np.random.Generator) -> Field:
    """Draw smooth noise of mean 0 and variance 1 on the raster."""
    lattice = frame.lattice
    field = draw_noise(rng, lattice, (scale_mm,) * 3).on(lattice)
    return np.asarray(field[0], np.float32)


def _neighbours(number: int, frame: Frame, rng: np.random.Generator) -> tuple[int, ...]:
    """Return the slice, and those whose tissue shines in through its thickness."""
    reach = round(frame.depth_mm / SLICE_MM)
    if reach == 0 or rng.random() < 0.4:
        return (number,)
    others = (max(number - reach, 0), min(number + reach, SHAPE[0] - 1))
    return (number, *others)


def indices(y_mm: Field, x_mm: Field) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return rows and columns of a bank's slice nearest to places in the patient."""
    rows = np.rint((y_mm - np.float32(TOP_MM)) / np.float32(PIXEL_MM)).astype("i4")
    columns = np.rint((x_mm - np.float32(SIDE_MM)) / np.float32(PIXEL_MM)).astype("i4")
    return np.clip(rows, 0, SHAPE[1] - 1), np.clip(columns, 0, SHAPE[2] - 1)


def _tissues(
    patient: Labels,
    numbers: tuple[int, ...],
    indices: tuple[NDArray[np.int32], NDArray[np.int32]],
) -> tuple[Labels, ...]:
    return tuple(patient[n][indices] & ~BREAST for n in numbers)
