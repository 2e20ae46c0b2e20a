"""The drawn site: one scanner's protocol, contrast and faults, and their distribution.

Intensities are relative to unsuppressed fat (1.0) until ``gain`` makes them stored
values.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from model.synthetic.patient import one_of

SLAB_MM = (168.0, 218.0)
"""Cranio-caudal extent of a bilateral axial protocol."""
MATRICES = (256, 320, 352, 384, 448, 512)


WRAP_SHARE = 0.1
"""Width of what folds over, as a share of the image."""


class FatSuppression(StrEnum):
    """How much of the fat signal the sequence removes."""

    NONE = "none"
    PARTIAL = "partial"
    FULL = "full"


class PhaseEncoding(StrEnum):
    """In-plane phase encoding direction, in DICOM's words (PS3.3 C.8.3.1)."""

    ROW = "ROW"
    COLUMN = "COL"


@dataclass(frozen=True, slots=True)
class Protocol:
    """What the operator sets, besides the image grid."""

    fat_suppression: FatSuppression
    phase_encoding: PhaseEncoding
    field_strength_t: float
    repetition_time_ms: float
    echo_time_ms: float
    flip_angle_deg: float
    first_post_s: float
    """Start of the first post-contrast phase after the pre-contrast one."""
    phase_interval_s: float
    contrast_seed: int
    """Seed of the table of tissue intensities."""
    contrast_spread: float
    """Departure of each tissue's intensity from its typical one; 1 is anything."""
    gain: float
    """Stored value of unsuppressed fat."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What the scanner adds to the anatomy."""

    coil_depth_mm: float
    """Depth at which the coil's sensitivity has fallen to 1/e."""
    coil_imbalance: float
    """Sensitivity of the left coil relative to the right, minus 1."""
    bias: float
    """Standard deviation of the smooth shading, as a log-ratio."""
    flare: float
    """Brightening of tissue that lies on the coil."""
    halo: float
    """Signal that leaks from the skin into the air."""
    fat_failure: float
    """Share of the image in which fat suppression fails."""
    blur_px: float
    noise: float
    """Standard deviation of the noise in each receiver channel."""
    ghosting: float
    """Amplitude of the ghosts along the phase encoding direction."""
    wrap: float
    """Signal of what lies just outside the image, folded over to its far side."""
    pedestal: float


@dataclass(frozen=True, slots=True)
class Site:
    """One scanner: image grid, protocol and faults."""

    name: str
    rows: int
    columns: int
    slices: int
    fov_rows_mm: float
    """Extent of the image from its anterior to its posterior edge."""
    fov_columns_mm: float
    slice_mm: float
    protocol: Protocol
    faults: Faults

    @property
    def phase_axis(self) -> int:
        """Axis of (slices, rows, columns) along which the phase is encoded."""
        return 1 if self.protocol.phase_encoding is PhaseEncoding.COLUMN else 2

    @property
    def margins_px(self) -> tuple[int, int]:
        """Rows and columns on each side outside the image that fold over into it."""
        if self.faults.wrap == 0:
            return 0, 0
        if self.phase_axis == 1:
            return round(WRAP_SHARE * self.rows), 0
        return 0, round(WRAP_SHARE * self.columns)

    @property
    def row_mm(self) -> float:
        """Distance between neighbouring rows."""
        return self.fov_rows_mm / self.rows

    @property
    def column_mm(self) -> float:
        """Distance between neighbouring columns."""
        return self.fov_columns_mm / self.columns


def draw_site(
    rng: np.random.Generator,
    *,
    slices: int | None = None,
    matrix_px: int | None = None,
) -> Site:
    """Draw one site.

    ``slices`` and ``matrix_px`` make a coarser protocol over the same field of view:
    that many slices, and a square image of that many rows and columns.
    """
    fov_mm = float(np.clip(rng.normal(338, 18), 290, 400))
    slab_mm = float(rng.uniform(*SLAB_MM))
    matrix, share = one_of(rng, MATRICES), float(rng.uniform(0.78, 1.15))
    count = int(np.clip(slab_mm / rng.uniform(1.1, 4.0), 40, 150))
    rows = round(matrix * min(share, 1.0) / 8) * 8
    rows, columns = (matrix_px, matrix_px) if matrix_px else (rows, matrix)
    count = slices or count
    protocol = _draw_protocol(rng)
    return Site(
        name=f"site-{int(rng.integers(1000, 10000))}",
        rows=rows,
        columns=columns,
        slices=count,
        fov_rows_mm=fov_mm * rows / columns,
        fov_columns_mm=fov_mm,
        slice_mm=round(slab_mm / count, 2),
        protocol=protocol,
        faults=_draw_faults(rng, protocol.fat_suppression),
    )


def _draw_protocol(rng: np.random.Generator) -> Protocol:
    repetition_ms = float(rng.uniform(3.5, 9.0))
    return Protocol(
        fat_suppression=one_of(rng, list(FatSuppression)),
        phase_encoding=one_of(rng, list(PhaseEncoding)),
        field_strength_t=one_of(rng, [1.5, 1.5, 3.0]),
        repetition_time_ms=round(repetition_ms, 2),
        echo_time_ms=round(repetition_ms * float(rng.uniform(0.3, 0.5)), 2),
        flip_angle_deg=float(rng.integers(8, 26)),
        first_post_s=float(rng.integers(80, 150)),
        phase_interval_s=float(rng.integers(60, 95)),
        contrast_seed=int(rng.integers(2**31)),
        contrast_spread=float(one_of(rng, [0.12, 0.2, 0.3, 0.45, 0.8])),
        gain=float(np.exp(rng.uniform(np.log(250), np.log(2500)))),
    )


def _draw_faults(rng: np.random.Generator, suppression: FatSuppression) -> Faults:
    may_fail = suppression is not FatSuppression.NONE
    return Faults(
        coil_depth_mm=float(np.exp(rng.uniform(np.log(110), np.log(420)))),
        coil_imbalance=float(np.clip(rng.normal(0, 0.12), -0.4, 0.4)),
        bias=float(rng.uniform(0.03, 0.25)),
        flare=float(rng.choice([0.0, 0.2, 0.6]) * rng.random()),
        halo=float(rng.choice([0.0, 0.05, 0.15]) * rng.random()),
        fat_failure=float(max(rng.uniform(-0.3, 0.2), 0.0)) if may_fail else 0.0,
        blur_px=float(rng.uniform(0.4, 0.9)),
        noise=float(np.exp(rng.uniform(np.log(0.006), np.log(0.05)))),
        ghosting=float(max(rng.uniform(-0.04, 0.08), 0.0)),
        wrap=float(rng.choice([0.0, 0.0, 0.0, 0.0, 0.0, 0.6]) * rng.random()),
        pedestal=float(rng.choice([0.0, 0.0, 0.0, 0.03])),
    )
