"""A prone body of simple solids whose nearest point and sternum are given numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.preprocess import Placement

Image = NDArray[np.float32]
Points = NDArray[np.floating]

AIR, TISSUE, LUNG = 0.02, 1.0, 0.08


@dataclass(frozen=True, slots=True)
class Prone:
    """Two half-ellipsoid breasts on a curved chest, millimetres."""

    near_mm: float = 60.0
    """From the image's anterior edge to the tips."""
    projection_mm: float = 80.0
    """From the tips to the skin over the sternum."""
    half_width_mm: float = 140.0
    right: bool = True
    left: bool = True
    apart_mm: float = 140.0
    """Between the axes of the breasts."""
    grid_px: int = 128
    image_mm: float = 332.8
    slices: int = 24
    slice_mm: float = 7.0
    top_px: int = 0
    """Padding before the image, and the same behind it."""

    @property
    def mm_per_px(self) -> float:
        return self.image_mm / self.grid_px

    @property
    def placement(self) -> Placement:
        return Placement(
            grid_px=self.grid_px,
            mm_per_px=self.mm_per_px,
            slice_mm=self.slice_mm,
            top_px=self.top_px,
            left_px=0,
            rows_px=float(self.grid_px - 2 * self.top_px),
            columns_px=float(self.grid_px),
        )

    def tissue(self) -> NDArray[np.bool_]:
        """Return the body (slices, rows, columns), lungs included."""
        z, y, x = self._points_mm()
        sternum = self.near_mm + self.projection_mm
        front = sternum + x**2 / 500
        body = (y >= front) & (y <= sternum + 150) & (np.abs(x) <= self.half_width_mm)
        for side, present in ((-1, self.right), (1, self.left)):
            across = (x - side * self.apart_mm / 2) / 62
            share = 1 - across**2 - (z / 68) ** 2
            hang = self.projection_mm * np.sqrt(np.maximum(share, 0))
            hangs = present & (share > 0) & (y >= sternum - hang) & (y <= front)
            body = body | hangs
        return np.asarray(body, np.bool_)

    def image(self, *, noise: float = 0.01, seed: int = 0) -> Image:
        """Return body, lungs and air with Rician noise; zero in the padding."""
        _, y, x = self._points_mm()
        body = self.tissue()
        depth = y - self.near_mm - self.projection_mm
        lung = ((np.abs(x) - 70) / 45) ** 2 + ((depth - 90) / 40) ** 2 < 1
        clean = np.where(body, np.where(lung, LUNG, TISSUE), AIR)
        padded = (np.arange(self.grid_px) < self.top_px)[None, :, None]
        seen = ~(padded | padded[:, ::-1])
        return rician(clean, noise, seed) * seen.astype(np.float32)

    def _points_mm(self) -> tuple[Points, Points, Points]:
        z = (np.arange(self.slices) - (self.slices - 1) / 2) * self.slice_mm
        rows = np.arange(self.grid_px)
        y = (rows - self.top_px + 0.5) * self.mm_per_px
        x = (rows + 0.5) * self.mm_per_px - self.image_mm / 2
        return z[:, None, None], y[None, :, None], x[None, None]


def rician(clean: NDArray[np.floating], noise: float, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    real, imaginary = rng.normal(0, noise, (2, *clean.shape))
    noisy: Image = np.hypot(clean + real, imaginary).astype(np.float32)
    return noisy
