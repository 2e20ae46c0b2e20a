"""From tissues to the two channels of a network input: signal, faults, scaling."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from model.preprocess import BODY_FRACTION, ROBUST_MAX_PERCENTILE
from model.pretraining.bank import MIDDLE_Y_MM, PIXEL_MM, SLICE_MM
from model.pretraining.coil import Coil, draw_coil, draw_skin, noise
from model.pretraining.look import Look
from model.pretraining.view import FINER, View
from model.synthetic.lattice import Field, centred_axis
from model.synthetic.tissues import TISSUES, Labels, Tissue

PULSATING = (Tissue.BLOOD, Tissue.MYOCARDIUM, Tissue.LUNG_VESSEL)
EVERY = (6, 5, 5)
"""Voxels of the volume from which its robust maximum is taken."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What the scanner adds to both phases alike."""

    axis: int
    """Phase encoding: 0 rows, 1 columns."""
    blur_px: tuple[float, float]
    kept: tuple[float, float]
    """Share of spatial frequencies along each axis; below 1 it rings."""
    ghost: float
    ghost_step: float
    fold: float
    noise: float
    pedestal: float


def draw_faults(rng: np.random.Generator) -> Faults:
    """Draw the faults of one scan; each alone is absent in most."""
    blur = np.abs(rng.normal(0.5, 0.4, 2)) + (rng.random(2) < 0.12) * rng.uniform(0, 3)
    rings = rng.random(2) < 0.12
    kept = np.where(rings, rng.uniform(0.45, 0.95, 2), 1.0)
    return Faults(
        axis=int(rng.integers(2)),
        blur_px=(float(blur[0]), float(blur[1])),
        kept=(float(kept[0]), float(kept[1])),
        ghost=float(max(rng.uniform(-0.12, 0.14), 0)),
        ghost_step=float(rng.uniform(0.08, 0.5)),
        fold=float(rng.uniform(0.1, 0.9)),
        noise=float(np.exp(rng.uniform(np.log(0.004), np.log(0.09)))),
        pedestal=float((rng.random() < 0.12) * rng.uniform(0, 0.15)),
    )


def image(
    view: View, look: Look, volume: Labels, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return (2, grid, grid): pre and post in units of the volume's robust maximum."""
    coil, faults = draw_coil(rng), draw_faults(rng)
    fields = _draw_fields(view, coil, look, rng)
    scale = float(rng.choice([0.06, 0.06, 0.06, 0.3])) * rng.normal()
    unit = _robust_maximum(volume, look.pre, coil, view) * np.exp(scale)
    gain = float(np.exp(rng.normal(0, rng.choice([0.03, 0.03, 0.2]))))
    pairs = (view.before, look.pre, 1.0), (view.after, look.post, gain)
    phases = []
    for layers, table, factor in pairs:
        shown = [_signal(t, table, look, fields) for t in layers]
        signal = _scan(np.mean(shown, axis=0), layers[0], view, faults)
        phases.append(_magnitude(signal / unit, faults, rng) * np.float32(factor))
    if rng.random() < 0.07:
        phases[1] = phases[0].copy()
    stored = _stored(np.stack(phases), rng)
    return np.stack([_padded(phase, view.frame.grid_px) for phase in stored])


def target(view: View) -> NDArray[np.bool_]:
    """Return the mask on the network grid (grid, grid)."""
    share = _averaged(_cropped(view.breast.astype("f4"), view))
    return _padded(share, view.frame.grid_px) >= 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Fields:
    gain: Field
    leak: Field
    failure: Field | None
    """Share of the suppressed fat signal that returns."""


def _draw_fields(
    view: View, coil: Coil, look: Look, rng: np.random.Generator
) -> _Fields:
    lattice = view.frame.lattice
    skin = draw_skin(view, rng)
    bias = np.exp(rng.uniform(0, 0.3) * noise(lattice, 110.0, rng))
    texture = rng.choice([0.0, 0.05, 0.12]) * noise(lattice, rng.uniform(2, 5), rng)
    gain = coil.at(view.z_mm, view.y_mm, view.x_mm) * bias * skin.flare
    gain *= np.maximum(1 + texture, 0.2)
    if view.cleft is not None:
        gain *= 1 - view.cleft
    failure = None
    if look.lost_fat.any() and rng.random() < 0.35:
        wave, level = noise(lattice, 80.0, rng), rng.uniform(0.3, 1.8)
        failure = np.clip(1.5 * (wave - np.float32(level)) + 0.5, 0, 1)
    leak = skin.leak * _bright(look)
    return _Fields(_with_voids(view, gain, rng), leak, failure)


def _bright(look: Look) -> float:
    """Return the signal of what lies under the skin."""
    tissues = [Tissue.SKIN, Tissue.FAT, Tissue.GLAND]
    return float(look.pre[tissues].max())


def _with_voids(view: View, gain: Field, rng: np.random.Generator) -> Field:
    """Punch the voids of clips and ports into the gain: dark, with a bright rim."""
    if rng.random() > 0.08:
        return gain
    rows, columns = np.nonzero(view.breast)
    if len(rows) == 0:
        return gain
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(rows)))
        radius = rng.uniform(2, 7) if rng.random() < 0.8 else rng.uniform(10, 28)
        y, x = view.y_mm[rows[at], columns[at]], view.x_mm[rows[at], columns[at]]
        away = np.hypot(view.y_mm - y, (view.x_mm - x) * rng.uniform(0.6, 1.6))
        ring = np.exp(-(((away - radius) / 1.5) ** 2)) * rng.uniform(0, 1.5)
        gain = gain * (np.clip((away - radius) / 2 + 0.5, 0.03, 1) + ring)
    return np.asarray(gain, np.float32)


def _signal(tissue: Labels, table: Field, look: Look, fields: _Fields) -> Field:
    values = table[tissue]
    if fields.failure is not None:
        values = values + fields.failure * look.lost_fat[tissue]
    return np.asarray(values * fields.gain + fields.leak, np.float32)


def _scan(signal: Field, tissue: Labels, view: View, faults: Faults) -> Field:
    """Add ghosts, fold-over, blur and ringing; return it on the network's pixels."""
    signal = _ghosted(signal, tissue, faults)
    signal = _folded(signal, view, faults)
    signal = gaussian_filter(signal, faults.blur_px, mode="nearest", truncate=3)
    return _averaged(_ringing(signal, faults))


def _ghosted(signal: Field, tissue: Labels, faults: Faults) -> Field:
    if faults.ghost == 0:
        return signal
    length = signal.shape[faults.axis]
    step = round(faults.ghost_step * length)
    beats = np.zeros(TISSUES, np.float32)
    beats[list(PULSATING)] = 2 * faults.ghost
    heart = signal * beats[tissue]
    ghost = np.roll(heart, step, faults.axis) + np.roll(heart, -step, faults.axis)
    whole = 0.4 * faults.ghost * np.roll(signal, length // 2, faults.axis)
    return np.asarray(signal + ghost + whole, np.float32)


def _folded(signal: Field, view: View, faults: Faults) -> Field:
    """Return the image alone, its margins folded over to the far sides."""
    axis = 0 if view.frame.margin_px[0] else 1
    margin = view.frame.margin_px[axis]
    inner = _cropped(signal, view).copy()
    if margin:
        along, source = np.moveaxis(inner, axis, 0), np.moveaxis(signal, axis, 0)
        along[:margin] += faults.fold * source[-margin:]
        along[-margin:] += faults.fold * source[:margin]
    return inner


def _ringing(signal: Field, faults: Faults) -> Field:
    if min(faults.kept) >= 1:
        return signal
    spectrum = np.fft.rfft2(signal)
    rows = np.abs(np.fft.fftfreq(signal.shape[0])) <= faults.kept[0] / 2
    columns = np.fft.rfftfreq(signal.shape[1]) <= faults.kept[1] / 2
    back = np.fft.irfft2(spectrum * (rows[:, None] & columns), signal.shape)
    return np.abs(back).astype(np.float32)


def _magnitude(signal: Field, faults: Faults, rng: np.random.Generator) -> Field:
    """Return the Rician magnitude on a pedestal."""
    noise_px = rng.standard_normal((2, *signal.shape), dtype=np.float32)
    noise_px *= np.float32(faults.noise)
    noisy = np.hypot(signal + noise_px[0], noise_px[1]) + np.float32(faults.pedestal)
    return np.asarray(noisy, np.float32)


def _stored(phases: Field, rng: np.random.Generator) -> Field:
    """Return the phases as an export may leave them: clipped, bent, in few steps."""
    top = float(np.percentile(phases[0], 99.8)) + 1e-6
    if rng.random() < 0.1:
        phases = np.minimum(phases, top * rng.uniform(0.7, 1.2))
    if rng.random() < 0.2:
        bend = np.float32(rng.uniform(0.7, 1.5))
        phases = np.asarray(top * (np.maximum(phases, 0) / top) ** bend, np.float32)
    if rng.random() < 0.15:
        step = top / float(rng.choice([60, 120, 255]))
        phases = np.asarray(np.rint(phases / step) * step, np.float32)
    if rng.random() < 0.1:
        silent = phases < 0.08 * rng.random() * top
        phases = np.where(silent, np.float32(0), phases)
    return np.asarray(phases, np.float32)


def _robust_maximum(volume: Labels, table: Field, coil: Coil, view: View) -> float:
    """Return what ``preprocess.robust_maximum`` finds in the volume, nearly.

    From every few voxels in front of the image's posterior edge, without the fields
    that one slice alone has.
    """
    tissue = volume[:: EVERY[0], :: EVERY[1], :: EVERY[2]] & np.uint8(127)
    z, y, x = (
        centred_axis(count, step, middle)[::every]
        for count, step, middle, every in zip(
            volume.shape,
            (SLICE_MM, PIXEL_MM, PIXEL_MM),
            (0.0, MIDDLE_Y_MM, 0.0),
            EVERY,
            strict=True,
        )
    )
    seen = y <= view.frame.y_mm[-1]
    gain = coil.at(z[:, None, None], y[seen][None, :, None], x[None, None, :])
    values = table[tissue[:, seen]] * gain
    body = values[values > BODY_FRACTION * np.percentile(values, 99.5)]
    return float(np.percentile(body, ROBUST_MAX_PERCENTILE))


def _cropped(values: Field, view: View) -> Field:
    top, side = view.frame.margin_px
    rows, columns = values.shape
    return values[top : rows - top, side : columns - side]


def _averaged(values: Field) -> Field:
    rows, columns = values.shape[0] // FINER, values.shape[1] // FINER
    inner = values[: rows * FINER, : columns * FINER]
    down = reduce(np.add, [inner[row::FINER] for row in range(FINER)])
    both = reduce(np.add, [down[:, column::FINER] for column in range(FINER)])
    return np.asarray(both / np.float32(FINER**2), np.float32)


def _padded(values: Field, grid_px: int) -> Field:
    """Centre an image on the square grid as ``preprocess.place`` does."""
    rows, columns = (min(length, grid_px) for length in values.shape)
    top, left = (grid_px - rows) // 2, (grid_px - columns) // 2
    out = np.zeros((grid_px, grid_px), np.float32)
    out[top : top + rows, left : left + columns] = values[:rows, :columns]
    return out
