"""Phantoms of one site in a case store, and the same slices as .nii.gz.

Nothing of DICOM is imported: the site images on the network's own grid.
"""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from model.dataset import CaseInfo, CaseStore, SliceIndex
from model.phantom import draw_patient, draw_site, draw_voxels
from model.preprocess import robust_maximum

SEED = 515
LEVELS = 1000
"""Stored values of .nii.gz per robust maximum: about as fine as the store's float16."""
PHASES = ("pre", "post")


@dataclass(frozen=True, slots=True)
class Cases:
    """Where the phantoms lie, one patient a case."""

    folder: Path
    names: tuple[str, ...]

    @property
    def store(self) -> CaseStore:
        """Return them as brs keeps them."""
        return CaseStore(self.folder / "store")

    def read(self, index: SliceIndex) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read one slice (2, H, W) and its mask (H, W) from three files of .nii.gz."""
        name, number = index
        paths = [_gzip(self.folder, name, kind) for kind in (*PHASES, "mask")]
        images = [nib.Nifti1Image.from_filename(path) for path in paths]
        *phases, mask = (np.asarray(i.dataobj[:, :, number]).T for i in images)
        voxels = np.stack(phases).astype(np.float32)
        voxels /= LEVELS
        return voxels, mask > 0


def draw(folder: Path, *, count: int, slices: int, grid: int, workers: int) -> Cases:
    """Draw ``count`` phantoms of ``grid`` x ``grid`` px, in so many processes."""
    names = tuple(f"case-{number:03d}" for number in range(count))
    jobs = [(folder, name, at, slices, grid) for at, name in enumerate(names)]
    for _ in _each(jobs, workers):
        pass
    return Cases(folder, names)


def _each(jobs: list[tuple[Path, str, int, int, int]], workers: int) -> Iterable[None]:
    if workers <= 1:
        yield from map(_keep, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_keep, jobs)


def _keep(job: tuple[Path, str, int, int, int]) -> None:
    """Draw one phantom and write it both ways."""
    folder, name, number, slices, grid = job
    site = draw_site(np.random.default_rng(SEED), slices=slices, matrix_px=grid)
    patient = draw_patient(np.random.default_rng([SEED, number]))
    phases, (right, left) = draw_voxels(patient, site, seed=SEED + number)
    voxels = np.stack(phases[:2], axis=1) / np.float32(robust_maximum(phases[0]))
    info = CaseInfo(
        *(name, name, name, name, "human", slices, grid),
        mm_per_px=site.column_mm,
        slice_mm=site.slice_mm,
    )
    CaseStore(folder / "store").put(info, voxels, right | left)
    for channel, kind in enumerate(PHASES):
        _write(_gzip(folder, name, kind), np.rint(voxels[:, channel] * LEVELS))
    _write(_gzip(folder, name, "mask"), right | left)


def _write(path: Path, planes: NDArray[np.floating] | NDArray[np.bool_]) -> None:
    kind = np.uint8 if planes.dtype == bool else np.uint16
    voxels = planes.astype(kind).transpose(2, 1, 0)
    image = nib.Nifti1Image(voxels, np.eye(4))  # type: ignore[no-untyped-call]
    nib.save(image, path)


def _gzip(folder: Path, name: str, kind: str) -> Path:
    return folder / f"{name}-{kind}.nii.gz"
