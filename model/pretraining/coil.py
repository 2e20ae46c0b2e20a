"""The scanner's smooth fields: coil, shading, flare and halo, as functions of place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from model.pretraining.view import View
from model.synthetic.lattice import Field, Lattice, draw_noise


@dataclass(frozen=True, slots=True)
class Coil:
    """Receive sensitivity: falls with depth, sideways, along z, and near elements."""

    depth_mm: float
    aside_mm: float
    along_mm: float
    balance: float
    """Sensitivity of the left relative to the right, minus 1."""
    spot: float
    """Extra brightness right at each of two elements."""
    spot_mm: float
    spot_x_mm: float

    def at(self, z_mm: Field | float, y_mm: Field, x_mm: Field) -> Field:
        """Return the sensitivity at places in the patient, about 1 in mid-breast."""
        depth = np.maximum(y_mm + 40, 0)
        aside = np.maximum(np.abs(x_mm) - 70, 0)
        log = -depth / self.depth_mm - aside / self.aside_mm
        log = log - (z_mm / np.float32(self.along_mm)) ** 2 / 2
        near = (np.abs(x_mm) - self.spot_x_mm) ** 2 + (y_mm + 60) ** 2
        spot = self.spot * np.exp(-near / (2 * self.spot_mm**2))
        balance = 1 + self.balance * np.tanh(x_mm / 50)
        field = np.exp(log + 40 / self.depth_mm) * balance * (1 + spot)
        return np.asarray(field, np.float32)


def draw_coil(rng: np.random.Generator) -> Coil:
    """Draw a coil, from nearly even to one that leaves lateral breast dark."""
    weak = rng.random() < 0.12
    return Coil(
        depth_mm=_log_uniform(rng, 60, 500),
        aside_mm=_log_uniform(rng, 35, 800),
        along_mm=_log_uniform(rng, 60, 500),
        balance=float(rng.uniform(-0.8, 0.8) if weak else rng.normal(0, 0.12)),
        spot=float(rng.choice([0, 0, 1, 4]) * rng.random()),
        spot_mm=float(rng.uniform(15, 50)),
        spot_x_mm=float(rng.uniform(50, 150)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Skin:
    """What happens at the body's surface, on the raster."""

    flare: Field
    """Factor on tissue that lies on the coil."""
    leak: Field
    """Signal in air next to the skin."""


def draw_skin(view: View, rng: np.random.Generator) -> Skin:
    """Draw flare and halo: patches along the skin, seldom strong."""
    shape = view.before[0].shape
    if rng.random() < 0.35:
        return Skin(np.ones(shape, np.float32), np.zeros(shape, np.float32))
    body = view.before[0] > 0
    outside = _distance_mm(~body, view.frame.mm)
    inside = _distance_mm(body, view.frame.mm)
    contact = np.clip(noise(view.frame.lattice, 60.0, rng), 0, 2)
    strength = float(rng.choice([0.0, 0.3, 1.0]) * rng.random())
    reach = np.float32(rng.uniform(4, 16))
    halo = float(rng.choice([0.0, 0.06, 0.2]) * rng.random())
    wide = np.float32(rng.uniform(3, 14))
    return Skin(
        flare=np.float32(1) + strength * contact * np.exp(-inside / reach),
        leak=halo * contact * np.exp(-outside / wide) * ~body,
    )


def noise(lattice: Lattice, scale_mm: float, rng: np.random.Generator) -> Field:
    """Draw smooth noise of mean 0 and variance 1 on a raster of one slice."""
    field = draw_noise(rng, lattice, (scale_mm,) * 3).on(lattice)
    return np.asarray(field[0], np.float32)


def _distance_mm(mask: NDArray[np.bool_], mm: float) -> Field:
    """Return the distance to the outside of ``mask``, on every second point."""
    coarse = distance_transform_edt(mask[::2, ::2]).astype("f4") * np.float32(2 * mm)
    fine = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)
    return np.asarray(fine[: mask.shape[0], : mask.shape[1]], np.float32)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
