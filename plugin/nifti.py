"""NIfTI files as LPS volumes and back; ``pre`` and ``post`` files as a DCE pair.

A NIfTI array is (column, row, slice) in RAS space, a ``Volume`` (slice, row, column)
in LPS: highdicom changes the convention, the axes are only reversed.
"""

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from highdicom import Volume
from highdicom.volume import VolumeGeometry
from isal import igzip
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from plugin.errors import InputError
from plugin.reading.acquisitions import same_grid
from plugin.reading.flags import confidence
from plugin.reading.headers import NIFTI_NAMES, Scan
from plugin.reading.suitable import PLANES, width_mm
from plugin.rules import DceRules
from plugin.series import DcePair, Phase

FILE_ERRORS = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
)
COMPRESSION_LEVEL = 1
"""Of ISA-L: as small as zlib's level 1 and some times sooner (docs/performance.md)."""
SCANNER_SPACE = 1
"""sform and qform code: scanner anatomical coordinates (nifti1.h)."""
MEND = "export it again with its position in scanner space, three dimensions only"


def nifti_pair(scan: Scan, rules: DceRules) -> DcePair:
    """Return the pair of the files ``pre`` and ``post`` of a scanned folder.

    Raises
    ------
    InputError
        If one is missing, double or unreadable, or the two do not fit together.
    """
    paths = {name: _only(scan, name) for name in ("pre", "post")}
    grids = {name: _geometry(_open(path), path) for name, path in paths.items()}
    for name, grid in grids.items():
        _check_axial(grid, paths[name], rules)
    if not same_grid(grids["pre"], grids["post"], rules.tolerance_mm):
        raise _refusal(paths["post"], "another grid than pre", "the grid of pre")
    flags = ["patient-position-unknown"]
    if width_mm(grids["pre"]) < rules.minimum_width_mm:
        flags.append("unilateral")
    if rules.require_bilateral and "unilateral" in flags:
        raise _refusal(paths["pre"], "a one-sided field of view", "both breasts")
    return DcePair(
        pre=_phase(paths["pre"]),
        post=_phase(paths["post"]),
        confidence=confidence(flags),
        reasons=("the file names say pre and post",),
        flags=tuple(sorted(flags)),
        ignored=dict(scan.ignored),
    )


def read_nifti(path: Path) -> Volume:
    """Return a RAS NIfTI file as an LPS volume, index (slice, row, column).

    Integers stay integers unless the header scales them; everything else is float32.

    Raises
    ------
    InputError
        If the file is unreadable, not three-dimensional, or has no place in space.
    """
    image = _open(path)
    _geometry(image, path)
    try:
        volume = Volume.from_nibabel(image.slicer[..., 0] if image.ndim == 4 else image)
    except FILE_ERRORS as error:
        raise _unreadable(path, error) from error
    if volume.dtype.kind == "f":
        if not np.isfinite(volume.array).all():
            raise _refusal(path, "voxels that are not finite numbers", "numbers")
        volume = volume.astype(np.float32)
    return volume.permute_spatial_axes((2, 1, 0))


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume as RAS NIfTI; on one machine equal volumes give equal bytes."""
    image = volume.permute_spatial_axes((2, 1, 0)).to_nibabel()
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(image.affine, SCANNER_SPACE)
    image.set_qform(image.affine, SCANNER_SPACE)
    with path.open("wb") as file:
        if path.suffix != ".gz":
            image.to_stream(file)
            return
        packed = igzip.IGzipFile(  # type: ignore[no-untyped-call]
            "", "wb", COMPRESSION_LEVEL, file, mtime=0
        )
        with packed:
            image.to_stream(packed)


def _only(scan: Scan, name: str) -> Path:
    paths = [path for path in scan.nifti if NIFTI_NAMES[path.name.lower()] == name]
    if len(paths) != 1:
        raise InputError(
            "session folder",
            found=f"{len(paths)} files {name}.nii.gz and no MR image in DICOM",
            needed="one pre.nii.gz and one post.nii.gz, or a DICOM series",
            mend="export the pair again",
        )
    return paths[0]


def _open(path: Path) -> nib.Nifti1Image:
    try:
        image = nib.load(path)
    except FILE_ERRORS as error:
        raise _unreadable(path, error) from error
    if not isinstance(image, nib.Nifti1Image):
        raise _refusal(path, type(image).__name__, "a NIfTI-1 or NIfTI-2 file")
    return image


def _geometry(image: nib.Nifti1Image, path: Path) -> VolumeGeometry:
    shape = image.shape[:3] if image.shape[3:] in ((), (1,)) else ()
    stored = image.get_data_dtype()  # type: ignore[no-untyped-call]
    if len(shape) != 3 or stored.kind not in "fiu":
        found = f"shape {image.shape} of type {stored}"
        raise _refusal(path, found, "one number per voxel in three dimensions")
    codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    if not any(codes):
        raise _refusal(path, "no sform and no qform", "a position in patient space")
    try:
        grid = VolumeGeometry(image.affine, shape, "PATIENT", None, "RAS")
    except ValueError as error:
        raise _refusal(path, "a sheared grid", "axes at right angles") from error
    return grid.permute_spatial_axes((2, 1, 0))


def _check_axial(grid: VolumeGeometry, path: Path, rules: DceRules) -> None:
    name = PLANES[int(np.argmax(np.abs(grid.affine[:3, 0])))]
    if name != "axial":
        raise _refusal(path, f"{name} slices", "axial slices along the third axis")
    if (count := grid.spatial_shape[0]) < rules.minimum_slices:
        raise _refusal(path, f"{count} slices", f"at least {rules.minimum_slices}")


def _phase(path: Path) -> Phase:
    return Phase("", "", "", (), description=path.name, nifti=path)


def _unreadable(path: Path, error: Exception) -> InputError:
    return _refusal(path, f"unreadable bytes ({type(error).__name__})", "a NIfTI file")


def _refusal(path: Path, found: str, needed: str) -> InputError:
    return InputError(path.name, found=found, needed=needed, mend=MEND)
