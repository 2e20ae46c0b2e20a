"""Where air ends and the patient begins: three rough bodies of one volume.

No single threshold survives every scanner. The logarithmic one holds under shading and
dark, fat-suppressed skin; the shell one under signal that leaks into the air beside
bright skin; the sweep one under ghosts of the front. Each is wrong elsewhere, so their
nearest points are compared: the middle one counts and their spread tells the doubt.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model.front import front_rows
from model.neighbours import Field, Mask, filled, highest_within, largest_part, opened

SMOOTH_MM = 1.5
"""Noise of single pixels goes, a nipple stays."""
SMOOTH_SLICES = 0.8
AIR_BLOCK_PX = 4
AIR_SHARE = 0.1
"""Share of the anterior blocks, the darkest, that are surely air."""
TINY = float(np.finfo(np.float32).tiny)
FLOOR_SHARE = 0.01
"""Of the 99th percentile: noise of images whose background was set to zero."""
SHELL_WINDOW_MM = 25.0
SHELL_SHARE = 0.2
"""Leaked signal stays below this share of the tissue within the window."""
SHELL_KEEPS = 0.85
"""A leak is thin; a shell body below this share of the other has lost dark fat too."""
SWEEP_STEPS = 10
SWEEP_FROM_FLOORS = 3.0
"""Smoothed noise hardly exceeds this many floors."""
OPENING_MM = 3.0
EDGE_MM = 3.0
CENTRAL_COLUMNS = 0.7
CONTACT_SLICES = 3
"""A row is reached when this many slices reach it with two columns or more."""


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A reduced volume: (slices, rows, columns), square pixels, row 0 in front."""

    voxels: Field
    mm_per_px: float
    slice_mm: float


@dataclass(frozen=True, slots=True)
class Air:
    """Typical signal of air, its spread, and that of bright tissue (same scale)."""

    level: float
    sigma: float
    bright: float

    @property
    def floor(self) -> float:
        """Smallest difference from air that is worth telling."""
        return max(self.sigma, FLOOR_SHARE * self.bright, TINY)

    @property
    def contrast(self) -> float:
        """Bright tissue over air, in standard deviations of air."""
        return self.bright / self.floor


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """A scan's smoothed signal above air, its logarithm, and where that is high."""

    scan: Scan
    signal: Field
    logs: Field
    high: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """One rough body: everything behind the air that a slice's front row reaches."""

    mask: Mask
    front: Field
    """First body row, (slices, columns), NaN where there is none."""
    back: Field
    """The same counted from the image's posterior edge."""
    nearest_row: float
    """First row of the body, the image's last when there is none."""
    edge: float
    """How steep and how wide its front is; higher is better."""


def smooth(scan: Scan) -> Field:
    """Return the voxels without single-pixel noise; negative values become zero."""
    sigma_px = SMOOTH_MM / scan.mm_per_px
    sigma_slices = min(SMOOTH_SLICES, SMOOTH_MM / scan.slice_mm)
    positive = np.maximum(scan.voxels, 0)
    return ndimage.gaussian_filter(positive, (sigma_slices, sigma_px, sigma_px))


def measure_air(voxels: Field) -> Air:
    """Return the signal of air from the darkest blocks of the anterior half."""
    front = voxels[:, : max(AIR_BLOCK_PX, voxels.shape[1] // 2)]
    blocks = _blocks(front)
    means = blocks.mean(axis=1)
    dark = blocks[means <= np.quantile(means, AIR_SHARE)]
    level = float(np.median(dark))
    sigma = 1.4826 * float(np.median(np.abs(dark - level)))
    return Air(level, sigma, float(np.percentile(voxels, 99)) - level)


def find_tissue(scan: Scan, air: Air) -> Tissue:
    """Return where a scan's signal stands out of its air.

    The logarithm is floored where it drowns in noise.
    """
    signal = smooth(scan) - np.float32(air.level)
    logs: Field = np.log(np.maximum(signal, 0) + np.float32(air.floor))
    return Tissue(scan, signal, logs, logs > otsu(logs))


def rough_bodies(tissue: Tissue, air: Air) -> dict[str, Body]:
    """Return the ``log``, ``shell`` and ``sweep`` bodies of a volume."""
    log = _body(tissue.high, tissue)
    shell = _body(tissue.high & _above_leak(tissue), tissue)
    if shell.mask.sum() < SHELL_KEEPS * log.mask.sum():
        shell = log
    return {"log": log, "shell": shell, "sweep": _sweep(tissue, _steps(tissue, air))}


def otsu(values: Field) -> float:
    """Return the threshold that best parts ``values`` in two (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nanargmax(np.nan_to_num(between, nan=-1.0))])


def _blocks(voxels: Field) -> Field:
    """Return the in-plane blocks of the voxels, (blocks, block voxels)."""
    size = AIR_BLOCK_PX
    rows, columns = (length // size for length in voxels.shape[1:])
    whole = voxels[:, : rows * size, : columns * size]
    parts = whole.reshape(len(voxels), rows, size, columns, size)
    return parts.transpose(0, 1, 3, 2, 4).reshape(-1, size * size)


def _above_leak(tissue: Tissue) -> Mask:
    """Return where the signal is no mere leak of brighter tissue nearby."""
    scan, signal = tissue.scan, tissue.signal
    half_px = max(1, round(SHELL_WINDOW_MM / 2 / scan.mm_per_px))
    half_slices = max(0, round(SHELL_WINDOW_MM / 2 / scan.slice_mm))
    around = highest_within(signal, (half_slices, half_px, half_px))
    return signal > np.float32(SHELL_SHARE) * around


def _steps(tissue: Tissue, air: Air) -> Field:
    """Return the thresholds to sweep, from above noise to the middle of the tissue."""
    low = np.log(SWEEP_FROM_FLOORS * air.floor)
    top = np.median(tissue.logs[tissue.high])
    steps: Field = np.linspace(low, top, SWEEP_STEPS + 1)[:-1].astype(np.float32)
    return steps


def _sweep(tissue: Tissue, steps: Field) -> Body:
    """Return the body with the steepest front, chosen on a copy of half the size."""
    logs = np.ascontiguousarray(tissue.logs[:, ::2, ::2])
    mm_per_px = 2 * tissue.scan.mm_per_px
    fronts = (front_rows(_solid(logs > step, mm_per_px)) for step in steps)
    edges = [_edge(front, logs, mm_per_px) for front in fronts]
    return _body(tissue.logs > steps[int(np.argmax(edges))], tissue)


def _body(high: Mask, tissue: Tissue) -> Body:
    """Return the largest connected body with its interior filled and its front."""
    mm_per_px = tissue.scan.mm_per_px
    solid = _solid(high, mm_per_px)
    front = front_rows(solid)
    return Body(
        mask=filled(solid),
        front=front,
        back=front_rows(solid[:, ::-1]),
        nearest_row=_nearest_row(front, solid.shape[1]),
        edge=_edge(front, tissue.logs, mm_per_px),
    )


def _solid(high: Mask, mm_per_px: float) -> Mask:
    """Return the largest connected part; filling it would not move its front."""
    return largest_part(opened(high, max(1, round(OPENING_MM / 2 / mm_per_px))))


def _nearest_row(front: Field, depth_px: int) -> float:
    """Return the first row that two columns of enough slices reach."""
    second = np.sort(np.nan_to_num(front, nan=depth_px), axis=1)[:, 1]
    return float(np.sort(second)[min(CONTACT_SLICES, len(second)) - 1])


def _edge(front: Field, logs: Field, mm_per_px: float) -> float:
    """Return the rise of log signal across the front, times its width and slices."""
    rows, columns = logs.shape[1:]
    margin = int(columns * (1 - CENTRAL_COLUMNS) / 2)
    central = front[:, margin : columns - margin]
    at_slice, at_column = np.nonzero(~np.isnan(central))
    if at_slice.size == 0:
        return -np.inf
    row = central[at_slice, at_column].astype(int)
    step = max(1, round(EDGE_MM / mm_per_px))
    behind = logs[at_slice, np.minimum(row + step, rows - 1), at_column + margin]
    before = logs[at_slice, np.maximum(row - step, 0), at_column + margin]
    share = at_slice.size / central.size
    return float(np.median(behind - before)) * share
