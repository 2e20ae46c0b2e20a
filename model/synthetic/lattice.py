"""Regular grids in patient millimetres, smooth noise on them, and fast upsampling.

Everything a phantom needs to be coherent in three dimensions: a field is evaluated
once per volume on a coarse grid and carried to the image grid axis by axis, so that
neighbouring slices always show the same anatomy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""Values on a lattice, float32, (slices towards the head, rows posterior, columns
left)."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """A grid of points; each axis lists rising coordinates in millimetres (LPS)."""

    z_mm: Field
    y_mm: Field
    x_mm: Field

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        return len(self.z_mm), len(self.y_mm), len(self.x_mm)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring slices, rows and columns."""
        steps = [float(a[1] - a[0]) if len(a) > 1 else 1.0 for a in self._axes()]
        return steps[0], steps[1], steps[2]

    def points(self) -> tuple[Field, Field, Field]:
        """Return z, y and x in millimetres, shaped to broadcast against a field."""
        return (
            self.z_mm[:, None, None],
            self.y_mm[None, :, None],
            self.x_mm[None, None, :],
        )

    def slab(self, start: int, stop: int) -> "Lattice":
        """Return the lattice of slices ``start`` to ``stop``."""
        return Lattice(self.z_mm[start:stop], self.y_mm, self.x_mm)

    def coarse(self, step_mm: float) -> "Lattice":
        """Return a lattice of about ``step_mm`` that covers this one.

        The axes keep their own points where these are already that far apart.
        """
        return Lattice(*[_coarse_axis(axis, step_mm) for axis in self._axes()])

    def _axes(self) -> tuple[Field, Field, Field]:
        return self.z_mm, self.y_mm, self.x_mm


def centred_axis(count: int, spacing_mm: float, centre_mm: float) -> Field:
    """Return ``count`` points ``spacing_mm`` apart around ``centre_mm``."""
    return ((np.arange(count) - (count - 1) / 2) * spacing_mm + centre_mm).astype("f4")


def upsample(values: Field, coarse: Lattice, fine: Lattice) -> Field:
    """Carry ``values`` to the fine lattice, linearly along each axis."""
    along_z = _linear_weights(coarse.z_mm, fine.z_mm)
    along_y = _linear_weights(coarse.y_mm, fine.y_mm)
    along_x = _linear_weights(coarse.x_mm, fine.x_mm)
    return _spread(values, along_z, along_y, along_x)


def gradient_norm(values: Field, lattice: Lattice) -> Field:
    """Return the length of the gradient of ``values`` per millimetre."""
    total = np.zeros_like(values)
    for axis, step in enumerate(lattice.spacing_mm):
        if values.shape[axis] > 1:
            total += np.gradient(values, np.float32(step), axis=axis) ** 2
    return np.sqrt(total)


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """Smooth random field: cubic B-splines on knots ``scale_mm`` apart.

    Mean 0 and standard deviation about 1 everywhere; the same field at any point,
    whatever the lattice that asks.
    """

    knots: Field
    origin_mm: tuple[float, float, float]
    scale_mm: tuple[float, float, float]

    def on(self, lattice: Lattice) -> Field:
        """Return the field at the points of ``lattice``."""
        weights = [
            _spline_weights(axis, origin, scale, count)
            for axis, origin, scale, count in zip(
                lattice._axes(),
                self.origin_mm,
                self.scale_mm,
                self.knots.shape,
                strict=True,
            )
        ]
        return _spread(self.knots, *weights)


def draw_noise(
    rng: np.random.Generator, lattice: Lattice, scale_mm: tuple[float, float, float]
) -> Noise:
    """Draw noise whose knots are ``scale_mm`` (z, y, x) apart over ``lattice``."""
    axes = lattice._axes()
    first = [float(a[0]) - 2 * s for a, s in zip(axes, scale_mm, strict=True)]
    counts = [
        int(np.ceil((a[-1] - a[0]) / s)) + 5
        for a, s in zip(axes, scale_mm, strict=True)
    ]
    knots = rng.standard_normal(counts, dtype=np.float32)
    return Noise(knots, (first[0], first[1], first[2]), scale_mm)


def _spread(values: Field, along_z: Field, along_y: Field, along_x: Field) -> Field:
    planes = np.tensordot(along_z, values, axes=1)
    spread: Field = np.matmul(np.matmul(along_y, planes), along_x.T)
    return spread


def _coarse_axis(axis: Field, step_mm: float) -> Field:
    spacing = float(axis[1] - axis[0]) if len(axis) > 1 else step_mm
    if len(axis) < 3 or spacing >= step_mm:
        return axis
    count = int(np.ceil((axis[-1] - axis[0]) / step_mm)) + 1
    return np.linspace(axis[0], axis[-1], count, dtype=np.float32)


def _linear_weights(coarse: Field, fine: Field) -> Field:
    """Weights (fine, coarse) of linear interpolation; flat beyond the ends."""
    if len(coarse) == 1:
        return np.ones((len(fine), 1), np.float32)
    position = (fine - coarse[0]) / (coarse[1] - coarse[0])
    offset = np.clip(position, 0, len(coarse) - 1)[:, None] - np.arange(len(coarse))
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(offset)), np.float32)


def _spline_weights(axis: Field, origin: float, scale: float, count: int) -> Field:
    """Weights (points, knots) of cubic B-splines, scaled to unit noise variance."""
    distance = np.abs((axis[:, None] - origin) / scale - np.arange(count))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(0.0, 2 - distance) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    norm = np.sqrt((weights**2).sum(axis=1, keepdims=True))
    unit: Field = (weights / norm).astype(np.float32)
    return unit
