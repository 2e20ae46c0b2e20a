"""From the phases of a pair to volumes in patient space (LPS), and to NIfTI."""

from collections.abc import Sequence

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from plugin.errors import InputError
from plugin.nifti import read_nifti, write_nifti
from plugin.reading.acquisitions import same_grid
from plugin.reading.decoding import read_all
from plugin.reading.grid import geometry, positions_mm
from plugin.reading.layout import Pixels, Rescale, SliceHeader
from plugin.series import DcePair, Phase

__all__ = ["load", "load_pair", "read_nifti", "write_nifti"]

LOAD_TOLERANCE = 0.25
"""Share of a slice step, or of the smallest voxel side, that headers may be off.

``plugin.dce`` is far stricter; this only keeps nonsense out.
"""


def load(phase: Phase) -> Volume:
    """Return the voxels of a phase; slice ``i`` is ``phase.frames[i]``.

    Values are rescaled: the stored integers where that changes nothing, else float32.

    Raises
    ------
    InputError
        If a file is damaged, or the frames make no regular stack.
    """
    if phase.nifti is not None:
        return read_nifti(phase.nifti)
    voxels, slices = _read(phase)
    planes = [one.plane for one in slices]
    step_mm = float(np.ptp(positions_mm(planes))) / max(1, len(planes) - 1)
    grid = geometry(
        planes,
        subject=_name(phase),
        frame_of_reference_uid=phase.frame_of_reference_uid,
        tolerance_mm=LOAD_TOLERANCE * step_mm,
    )
    return grid.with_array(_rescaled(voxels, [one.rescale for one in slices]))


def load_pair(pair: DcePair) -> tuple[Volume, Volume]:
    """Return pre and post on exactly one grid, that of pre.

    Headers round; a difference below a quarter of a voxel is taken for that.

    Raises
    ------
    InputError
        If a phase cannot be read, or the two lie on different grids.
    """
    pre, post = load(pair.pre), load(pair.post)
    grid = pre.get_geometry()
    tolerance_mm = LOAD_TOLERANCE * min(grid.spacing)
    if not same_grid(grid, post.get_geometry(), tolerance_mm):
        raise InputError(
            _name(pair.post),
            found=f"{post.spatial_shape} voxels on another grid than the pre series",
            needed="the grid of the pre-contrast series",
            mend="use two series of one acquisition",
        )
    return pre, grid.with_array(post.array)


def _read(phase: Phase) -> tuple[Pixels, list[SliceHeader]]:
    """Return stored values (slices, rows, columns), filled in place, and headers."""
    headers: dict[int, SliceHeader] = {}
    voxels: Pixels | None = None
    for index, one in read_all(phase.frames):
        if voxels is None:
            voxels = np.empty((len(phase.frames), *one.stored.shape), one.stored.dtype)
        if one.stored.shape != voxels.shape[1:] or one.stored.dtype != voxels.dtype:
            raise _refusal(phase, "slices of different matrix or pixel type")
        voxels[index], headers[index] = one.stored, one.header
    if voxels is None:
        raise _refusal(phase, "no frame")
    return voxels, [headers[index] for index in sorted(headers)]


def _rescaled(voxels: Pixels, rescales: Sequence[Rescale]) -> NDArray[np.generic]:
    """Apply each slice's own slope and intercept, Philips' precise ones if all have."""
    if all(rescale.philips_scale for rescale in rescales):
        rescales = [rescale.precise for rescale in rescales]
    slopes = np.array([r.slope for r in rescales], np.float32)
    intercepts = np.array([r.intercept for r in rescales], np.float32)
    if (slopes == 1).all() and (intercepts == 0).all():
        return voxels
    scaled = voxels.astype(np.float32)
    scaled *= slopes[:, None, None]
    scaled += intercepts[:, None, None]
    return scaled


def _name(phase: Phase) -> str:
    return f"series {phase.series_uid or phase.description}"


def _refusal(phase: Phase, found: str) -> InputError:
    return InputError(
        _name(phase),
        found=found,
        needed="one volume of equal slices",
        mend="fetch the series from the archive again",
    )
