"""From tissue labels and contrast to stored values: coil, motion, blur, ghosts, noise.

Works slab by slab; every smooth field is shared by all slices and phases.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.special import ndtri

from model.synthetic.appearance import Contrast, Table
from model.synthetic.lattice import Field, Lattice, Noise, draw_noise, upsample
from model.synthetic.site import Site
from model.synthetic.tissues import TISSUES, Body, Labels, Tissue, slabs

HALO_MM = 9.0
FLARE_MM = 12.0
TEXTURE = 0.07
GHOST_SHARE = 0.23
"""How far ghosts fall, as a share of the image along the phase encoding."""
SLICE_OVERLAP = 0.12
"""Share of a thin slice's signal that comes from each neighbour."""
THIN_MM = 2.5
PULSATING = (Tissue.BLOOD, Tissue.MYOCARDIUM, Tissue.LUNG_VESSEL)

STORED_MAX = 65535
Stored = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Shading:
    """The scanner's smooth fields on the anatomy's coarse lattice."""

    gain: Field
    """Factor on every signal."""
    leak: Field
    """Signal in air next to the skin."""
    fat_failure: Field
    """Share of the suppressed fat signal that returns, 0 to 1."""
    shift_rows_mm: Field
    """Motion between the pre- and post-contrast phases."""
    shift_columns_mm: Field
    texture: Noise


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """One patient in one scanner."""

    body: Body
    site: Site
    grid: Lattice
    shading: Shading
    contrast: Contrast


def draw_shading(
    body: Body, site: Site, grid: Lattice, rng: np.random.Generator
) -> Shading:
    """Draw the smooth fields of one examination."""
    lattice, faults = body.anatomy.lattice, site.faults
    bias, contact, failing, rows, columns = (
        draw_noise(rng, lattice, (scale, scale, scale)).on(lattice)
        for scale in (120.0, 60.0, 80.0, 50.0, 50.0)
    )
    surface, motion_mm = body.anatomy.body, body.patient.motion_mm
    touch = np.clip(contact, 0, 2)
    flare = 1 + faults.flare * touch * np.exp(np.minimum(surface, 0) / FLARE_MM)
    leak = faults.halo * touch * np.exp(-np.maximum(surface, 0) / HALO_MM)
    threshold = -ndtri(max(faults.fat_failure, 1e-6))
    angle = float(rng.uniform(0, 2 * np.pi))
    down, across = 0.6 * math.sin(angle), 0.6 * math.cos(angle)
    return Shading(
        gain=flare * np.exp(faults.bias * bias) * _sensitivity(body, site),
        leak=leak * (surface > 0),
        fat_failure=np.clip(1.5 * (failing - np.float32(threshold)) + 0.5, 0, 1),
        shift_rows_mm=motion_mm * (down + 0.5 * rows),
        shift_columns_mm=motion_mm * (across + 0.5 * columns),
        texture=draw_noise(rng, grid, (4.0, 3.0, 3.0)),
    )


def acquire(
    examination: Examination, labels: Labels, rng: np.random.Generator
) -> tuple[Stored, ...]:
    """Return the stored values of the pre- and the five post-contrast phases."""
    count = len(examination.contrast.phases)
    site = examination.site
    shape = (site.slices, site.rows, site.columns)
    phases = tuple(np.empty(shape, np.uint16) for _ in range(count))
    for part in slabs(examination.grid):
        scanned = _scan(examination, labels, part, rng)
        for stored, values in zip(phases, scanned, strict=True):
            stored[part] = values
    return phases


def _sensitivity(body: Body, site: Site) -> Field:
    """Return the coil's sensitivity: two elements in front, weaker behind."""
    point, faults = body.anatomy.point, site.faults
    depth = np.maximum(point.y + 40, 0) + 0.3 * np.maximum(np.abs(point.x) - 90, 0)
    balance = 1 + faults.coil_imbalance * np.tanh(point.x / 50)
    fall: Field = np.exp(-depth / faults.coil_depth_mm) * balance
    return fall * np.float32(np.exp(60 / faults.coil_depth_mm))


def _scan(
    examination: Examination, labels: Labels, part: slice, rng: np.random.Generator
) -> Iterator[Stored]:
    """Yield each phase of one slab, from one more slice on each side."""
    wider = np.clip(np.arange(part.start - 1, part.stop + 1), 0, len(labels) - 1)
    whole, site = examination.grid, examination.site
    grid = Lattice(whole.z_mm[wider], whole.y_mm, whole.x_mm)
    lattice, shading = examination.body.anatomy.lattice, examination.shading
    gain, leak, failure = (
        upsample(field, lattice, grid)
        for field in (shading.gain, shading.leak, shading.fat_failure)
    )
    gain *= 1 + TEXTURE * shading.texture.on(grid)
    before = labels[wider]
    after = _moved(examination, before, grid)
    for tissue, tables in zip(
        (before, after), _pre_and_posts(examination), strict=True
    ):
        returned = failure * examination.contrast.lost_fat[tissue]
        for table in tables:
            signal = _between_slices((table[tissue] + returned) * gain + leak, site)
            signal = _blur(_ghosts(signal, tissue[1:-1], site), site)
            yield _store(_fold(signal, site), site, rng)


def _pre_and_posts(examination: Examination) -> tuple[tuple[Table, ...], ...]:
    """Return the tables before the patient moved, and those after."""
    return examination.contrast.phases[:1], examination.contrast.phases[1:]


def _moved(examination: Examination, labels: Labels, grid: Lattice) -> Labels:
    """Return the labels after the patient moved in plane, nearest neighbour."""
    lattice, shading = examination.body.anatomy.lattice, examination.shading
    count, rows, columns = labels.shape
    _, row_mm, column_mm = grid.spacing_mm
    down = upsample(shading.shift_rows_mm / row_mm, lattice, grid)
    across = upsample(shading.shift_columns_mm / column_mm, lattice, grid)
    row = np.arange(rows, dtype=np.int32)[None, :, None] + np.rint(down).astype("i4")
    column = np.arange(columns, dtype=np.int32) + np.rint(across).astype("i4")
    np.clip(row, 0, rows - 1, out=row)
    np.clip(column, 0, columns - 1, out=column)
    plane = np.arange(count, dtype=np.int32)[:, None, None] * rows
    moved: Labels = np.take(labels, (plane + row) * columns + column)
    return moved


def _ghosts(signal: Field, labels: Labels, site: Site) -> Field:
    """Add copies of the beating heart, and a faint one of everything."""
    amplitude = site.faults.ghosting
    if amplitude == 0:
        return signal
    axis = site.phase_axis
    step = round(GHOST_SHARE * signal.shape[axis])
    beats = np.zeros(TISSUES, np.float32)
    beats[list(PULSATING)] = 2 * amplitude
    heart = signal * beats[labels]
    ghost = np.roll(heart, step, axis) + np.roll(heart, -step, axis)
    half = np.roll(signal, signal.shape[axis] // 2, axis)
    ghosted: Field = signal + ghost + 0.3 * amplitude * half
    return ghosted


def _blur(signal: Field, site: Site) -> Field:
    """Blur in plane by the point spread function, wider along the phase encoding."""
    widths = (1.25, 1.0) if site.phase_axis == 1 else (1.0, 1.25)
    for axis, width in enumerate(widths, start=1):
        kernel = _gaussian(width * site.faults.blur_px)
        signal = correlate1d(signal, kernel, axis=axis, mode="nearest")
    return signal


def _between_slices(signal: Field, site: Site) -> Field:
    """Return all but the outer slices, each with a share of its neighbours."""
    overlap = SLICE_OVERLAP * min(1.0, THIN_MM / site.slice_mm)
    return (1 - 2 * overlap) * signal[1:-1] + overlap * (signal[:-2] + signal[2:])


def _fold(signal: Field, site: Site) -> Field:
    """Return the image alone, with its margins folded over to the far sides."""
    margin = max(site.margins_px)
    if margin == 0:
        return signal
    along = np.moveaxis(signal, site.phase_axis, 0)
    image = along[margin:-margin].copy()
    image[:margin] += site.faults.wrap * along[-margin:]
    image[-margin:] += site.faults.wrap * along[:margin]
    return np.moveaxis(image, 0, site.phase_axis)


def _gaussian(sigma_px: float) -> NDArray[np.float64]:
    offsets = np.arange(-2, 3)
    weights = np.exp(-0.5 * (offsets / sigma_px) ** 2)
    unit: NDArray[np.float64] = weights / weights.sum()
    return unit


def _store(signal: Field, site: Site, rng: np.random.Generator) -> Stored:
    """Add Rician noise and the pedestal, then scale to stored values."""
    faults = site.faults
    noise = rng.standard_normal((2, *signal.shape), dtype=np.float32)
    noise *= np.float32(faults.noise)
    noise[0] += signal
    noise *= noise
    magnitude: Field = np.sqrt(noise[0] + noise[1])
    magnitude += np.float32(faults.pedestal)
    magnitude *= np.float32(site.protocol.gain)
    stored: Stored = np.minimum(magnitude + 0.5, STORED_MAX).astype(np.uint16)
    return stored
