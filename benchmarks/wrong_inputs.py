"""Sessions that are no bilateral axial breast DCE-MR of a prone patient, as DICOM.

All come from one synthetic examination: with its headers changed, with its images
turned, cut, subtracted or projected, or with another body in its place.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from highdicom import Volume
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, PositronEmissionTomographyImageStorage
from scipy import ndimage

from model.phantom import PhantomCase, draw_patient, draw_site, make_case
from plugin.phantom_dicom import VendorStyle, write_session

SEED = 12
SLAB = 7
"""Slices that one projection of a thin-slab MIP covers."""
Image = NDArray[np.uint16]
Change = Callable[[Image], NDArray[Any]]
Kind = Callable[[PhantomCase, Path], None]


def draw_case(*, slices: int = 32, matrix_px: int = 128) -> PhantomCase:
    """Return the examination that all kinds come from."""
    rng = np.random.default_rng(SEED)
    site = draw_site(rng, slices=slices, matrix_px=matrix_px)
    return make_case(draw_patient(rng), site, seed=SEED)


def as_it_is(case: PhantomCase, folder: Path) -> None:
    """Write the right examination: the control."""
    style = VendorStyle.SEPARATE_SERIES
    write_session(case, folder, style=style, session_id="S", distractors=False)


def turned(orientation: str) -> Kind:
    """Return the kind whose slices lie in another plane, with true headers."""

    def write(case: PhantomCase, folder: Path) -> None:
        phases = [v.to_patient_orientation(orientation) for v in case.phases]
        as_it_is(replace(case, phases=tuple(phases)), folder)

    return write


def cut(first: float, last: float) -> Kind:
    """Return the kind whose field of view is a part of the columns."""

    def write(case: PhantomCase, folder: Path) -> None:
        columns = case.phases[0].spatial_shape[2]
        kept = slice(round(first * columns), round(last * columns))
        phases = [_columns(v, kept) for v in case.phases]
        as_it_is(replace(case, phases=tuple(phases)), folder)

    return write


def redrawn(change: Change) -> Kind:
    """Return the kind whose voxels are others under the same headers."""

    def write(case: PhantomCase, folder: Path) -> None:
        shape = case.phases[0].spatial_shape
        phases = [_with(v, fitted(change(v.array), shape)) for v in case.phases]
        as_it_is(replace(case, phases=tuple(phases)), folder)

    return write


def tagged(**tags: Any) -> Kind:
    """Return the kind with other elements in every header; None deletes one."""

    def write(case: PhantomCase, folder: Path) -> None:
        as_it_is(case, folder)
        retag(folder.rglob("*.dcm"), tags)

    return write


def retag(paths: Iterable[Path], tags: dict[str, Any]) -> None:
    """Set elements in files; None deletes one."""
    for path in paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in tags.items():
            if value is not None:
                setattr(dataset, keyword, value)
            elif keyword in dataset:
                delattr(dataset, keyword)
        dataset.save_as(path)


def subtracted(case: PhantomCase, folder: Path) -> None:
    """Write post minus pre in place of the phases, and do not say so."""
    pre = case.phases[0].array.astype(np.int32)
    first, *others = case.phases[1:]
    sources = (first, first, *others)
    phases = [
        _with(v, np.maximum(s.array - pre, 0) // (1 + (i == 0)))
        for i, (v, s) in enumerate(zip(case.phases, sources, strict=True))
    ]
    as_it_is(replace(case, phases=tuple(phases)), folder)


def unenhanced(case: PhantomCase, folder: Path) -> None:
    """Write the pre-contrast images in place of all phases."""
    phases = [_with(v, case.phases[0].array) for v in case.phases]
    as_it_is(replace(case, phases=tuple(phases)), folder)


def post_only(case: PhantomCase, folder: Path) -> None:
    """Leave out the pre-contrast series."""
    as_it_is(case, folder)
    for path in (folder / "SE000005").iterdir():
        path.unlink()


def supine(case: PhantomCase, folder: Path) -> None:
    """Write a patient whose breasts lie flat on the chest, position not given."""
    flat = (
        replace(b, projection_mm=9.0) for b in (case.patient.right, case.patient.left)
    )
    right, left = flat
    patient = replace(case.patient, right=right, left=left)
    as_it_is(make_case(patient, case.site, seed=SEED), folder)
    retag(folder.rglob("*.dcm"), {"PatientPosition": None})


def projected(image: Image) -> Image:
    """Return the maximum over the neighbouring slices: a thin-slab MIP."""
    highest: Image = ndimage.maximum_filter1d(image, SLAB, axis=0)
    return highest


def head(image: Image) -> NDArray[Any]:
    """Return a head: skull fat, brain, dark sinuses."""
    inside = _ellipsoid(image.shape, (0.9, 0.32, 0.25))
    brain = _ellipsoid(image.shape, (0.75, 0.26, 0.2))
    return _tissue(image, np.where(brain, 0.6, 1.0) * inside)


def leg(image: Image) -> NDArray[Any]:
    """Return one thigh along the body's axis."""
    return _tissue(image, 1.0 * _ellipsoid(image.shape, (9, 0.25, 0.2)))


def two_legs(image: Image) -> NDArray[Any]:
    """Return both thighs side by side."""
    one = (_ellipsoid(image.shape, (9, 0.3, 0.2), column=c) for c in (0.27, 0.73))
    return _tissue(image, 1.0 * np.logical_or(*one))


def abdomen(image: Image) -> NDArray[Any]:
    """Return a body without breasts, as wide as a chest."""
    return _tissue(image, 1.0 * _ellipsoid(image.shape, (9, 0.3, 0.42)))


def noise(image: Image) -> NDArray[Any]:
    """Return noise alone."""
    return np.random.default_rng(0).rayleigh(100, image.shape)


def fitted(image: NDArray[Any], shape: tuple[int, ...]) -> Image:
    """Return an image cut or padded with zeros around its middle."""
    out = np.zeros(shape, np.float64)
    pairs = list(zip(image.shape, shape, strict=True))
    source = tuple(slice((a - min(a, b)) // 2, (a + min(a, b)) // 2) for a, b in pairs)
    target = tuple(slice((b - min(a, b)) // 2, (b + min(a, b)) // 2) for a, b in pairs)
    out[target] = image[source]
    return np.clip(out, 0, 65535).astype(np.uint16)


def _with(volume: Volume, image: NDArray[Any]) -> Volume:
    return volume.with_array(np.clip(image, 0, 65535).astype(np.uint16))


def _columns(volume: Volume, kept: slice) -> Volume:
    """Return these columns alone, where they lie."""
    turned = volume.to_patient_orientation("LPH")
    part: Volume = turned[kept].to_patient_orientation("HPL")
    return part


def _ellipsoid(
    shape: tuple[int, ...], radii: tuple[float, float, float], *, column: float = 0.5
) -> NDArray[np.bool_]:
    """Return an ellipsoid; radii and centre as shares of the image."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    places = (z / shape[0] - 0.5, y / shape[1] - 0.5, x / shape[2] - column)
    squares = [(p / r) ** 2 for p, r in zip(places, radii, strict=True)]
    inside: NDArray[np.bool_] = sum(squares[1:], squares[0]) < 1
    return inside


def _tissue(image: Image, share: NDArray[Any]) -> NDArray[Any]:
    bright = float(np.percentile(image, 95))
    texture = np.random.default_rng(1).rayleigh(0.03, image.shape)
    return bright * (share * (1 + texture) + texture)


KINDS: dict[str, Kind] = {
    "right examination (control)": as_it_is,
    "sagittal": turned("LFP"),
    "coronal": turned("PFL"),
    "sagittal, header says axial": redrawn(lambda v: v.transpose(2, 1, 0)),
    "coronal, header says axial": redrawn(lambda v: v.transpose(1, 0, 2)),
    "one side only, field of view cut": cut(0.0, 0.5),
    "one side only, by header": tagged(ImageLaterality="L"),
    "supine, by header": tagged(PatientPosition="HFS"),
    "supine, position not given": supine,
    "back in front": redrawn(lambda v: v[:, ::-1]),
    "head": redrawn(head),
    "head, by header": tagged(BodyPartExamined="HEAD"),
    "one leg": redrawn(leg),
    "both legs": redrawn(two_legs),
    "abdomen": redrawn(abdomen),
    "noise": redrawn(noise),
    "CT": tagged(Modality="CT", SOPClassUID=CTImageStorage),
    "PET": tagged(Modality="PT", SOPClassUID=PositronEmissionTomographyImageStorage),
    "T2-weighted": tagged(EchoTime="90", ScanningSequence="SE"),
    "subtraction, labelled": tagged(
        ImageType=["DERIVED", "PRIMARY", "M", "SUBTRACTION"]
    ),
    "subtraction, not labelled": subtracted,
    "MIP, labelled": tagged(
        ImageType=["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP"]
    ),
    "thin-slab MIP, not labelled": redrawn(projected),
    "screenshot": tagged(ImageType=["DERIVED", "SECONDARY"]),
    "post-contrast only": post_only,
    "no contrast agent: one volume twice": unenhanced,
}
