"""Turn frame references into pixels: the one place that reads pixel data.

Uncompressed pixels are read from their place in the file; everything else goes
through pydicom's decoders. Values stay as stored; how they rescale comes beside them.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, AllTransferSyntaxes

from plugin.errors import InputError
from plugin.reading.elements import number, text, whole
from plugin.reading.frames import Plane, read_plane
from plugin.reading.instance import READ_ERRORS, Instance, frame_bytes, read_instance
from plugin.reading.multiframe import flat_frames
from plugin.series import FrameRef

PHILIPS_CREATOR = (0x2005, 0x0010)
PHILIPS_SCALE_SLOPE = (0x2005, 0x100E)
WORD_BITS = (8, 16, 32)
DECODE_ERRORS = (*READ_ERRORS, RuntimeError)
MEND = "fetch the file from the archive again"

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Rescale:
    """From stored to output values (PS3.3 C.11.1): ``slope * stored + intercept``."""

    slope: float = 1.0
    intercept: float = 0.0
    philips_scale: float | None = None
    """Philips' private scale slope: display values over it are comparable in time."""

    @property
    def precise(self) -> "Rescale":
        """Return the rescale to Philips' floating-point values, FP = DV / (RS SS)."""
        if not self.philips_scale:
            return self
        step = self.slope * self.philips_scale
        return Rescale(self.slope / step, self.intercept / step)


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """Where a frame lies and how its values rescale."""

    plane: Plane
    rescale: Rescale


@dataclass(frozen=True, slots=True, eq=False)
class SlicePixels:
    """One decoded frame (rows, columns) as stored, and what its header says of it."""

    stored: Pixels
    header: SliceHeader


def read_slices(frames: Sequence[FrameRef]) -> Iterator[tuple[int, SlicePixels]]:
    """Yield index and pixels of every frame, file by file, not always in order.

    Raises
    ------
    InputError
        If a file is gone, changed, truncated, or cannot be decoded.
    """
    by_path: dict[Path, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        by_path[frame.path].append(index)
    for path, indices in by_path.items():
        slices = _read_file(path, [frames[i] for i in indices])
        for index in indices:
            yield index, _next(slices, path)


def _next(slices: Iterator[SlicePixels], path: Path) -> SlicePixels:
    with warnings.catch_warnings():
        # Warnings of pydicom quote values, which may name a patient.
        warnings.simplefilter("ignore")
        try:
            return next(slices)
        except DECODE_ERRORS as error:
            kind = type(error).__name__
            raise _refusal(path, f"unreadable pixel data ({kind})") from error


def _read_file(path: Path, frames: Sequence[FrameRef]) -> Iterator[SlicePixels]:
    with path.open("rb") as file:
        instance = read_instance(file)
    _check(path, instance, frames[0])
    numbers = [(frame.frame_number or 1) - 1 for frame in frames]
    headers: Sequence[Dataset] = [instance.dataset]
    if frames[0].frame_number is not None:
        headers = list(flat_frames(instance.dataset))
    pixels = _pixels(path, instance, numbers)
    for number_, stored in zip(numbers, pixels, strict=True):
        header = headers[number_ if len(headers) > 1 else 0]
        plane = read_plane(header)
        if plane is None or plane.shape != stored.shape:
            found = f"pixels of {stored.shape} without a matching image plane"
            raise _refusal(path, found)
        told = SliceHeader(plane, _rescale(path, header))
        yield SlicePixels(_upright(stored, header), told)


def _check(path: Path, instance: Instance, frame: FrameRef) -> None:
    if instance.problem:
        raise _refusal(path, instance.problem)
    if text(instance.dataset, "SOPInstanceUID") != frame.sop_instance_uid:
        raise _refusal(path, "another instance than when the folder was scanned")
    if (samples := whole(instance.dataset, "SamplesPerPixel") or 1) != 1:
        raise _refusal(path, f"{samples} samples per pixel")
    if (bits := whole(instance.dataset, "BitsAllocated")) not in WORD_BITS:
        raise _refusal(path, f"{bits} bits allocated")


def _pixels(path: Path, instance: Instance, numbers: Sequence[int]) -> Iterator[Pixels]:
    """Yield the frames with these numbers, counted from 0, as stored."""
    syntax = UID(instance.transfer_syntax)
    if syntax not in AllTransferSyntaxes:
        raise _refusal(path, f"unknown transfer syntax {syntax}")
    if syntax.is_encapsulated or instance.pixel_offset is None:
        # pydicom finds no pixels by path in a deflated file, only in its dataset.
        source = path if syntax.is_encapsulated else pydicom.dcmread(path)
        yield from iter_pixels(source, indices=numbers, raw=True)
        return
    dataset = instance.dataset
    kind = "i" if whole(dataset, "PixelRepresentation") == 1 else "u"
    order = "<" if dataset.original_encoding[1] else ">"
    size = frame_bytes(dataset)
    dtype = np.dtype(f"{order}{kind}{(whole(dataset, 'BitsAllocated') or 8) // 8}")
    shape = (whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0)
    for index in numbers:
        offset = instance.pixel_offset + index * size
        raw = np.fromfile(path, dtype, count=size // dtype.itemsize, offset=offset)
        native = raw.reshape(shape).astype(dtype.newbyteorder("="), copy=False)
        yield _used_bits(native, dataset)


def _used_bits(stored: Pixels, dataset: Dataset) -> Pixels:
    """Drop what lies outside the stored bits, such as an embedded overlay."""
    allocated = 8 * stored.dtype.itemsize
    used = whole(dataset, "BitsStored") or allocated
    high = whole(dataset, "HighBit")
    above = allocated - 1 - (used - 1 if high is None else high)
    if used == allocated or above < 0:
        return stored
    stored <<= above
    stored >>= allocated - used
    return stored


def _upright(stored: Pixels, header: Dataset) -> Pixels:
    """Turn MONOCHROME1 (low is bright, PS3.3 C.7.6.3.1.2) into MONOCHROME2."""
    if text(header, "PhotometricInterpretation").upper() != "MONOCHROME1":
        return stored
    bits = whole(header, "BitsStored") or 8 * stored.dtype.itemsize
    top = -1 if stored.dtype.kind == "i" else (1 << bits) - 1
    inverted: Pixels = stored.dtype.type(top) - stored
    return inverted


def _rescale(path: Path, header: Dataset) -> Rescale:
    slope = number(header, "RescaleSlope")
    if slope is not None and slope <= 0:
        raise _refusal(path, f"a rescale slope of {slope:g}")
    return Rescale(
        1.0 if slope is None else slope,
        number(header, "RescaleIntercept") or 0.0,
        _philips_scale(header),
    )


def _philips_scale(header: Dataset) -> float | None:
    creator = header.get_item(PHILIPS_CREATOR)
    element = header.get_item(PHILIPS_SCALE_SLOPE)
    if not isinstance(creator, RawDataElement) or b"Philips" not in (
        creator.value or b""
    ):
        return None
    if not isinstance(element, RawDataElement) or len(element.value or b"") != 4:
        return None
    order = "<" if element.is_little_endian else ">"
    scale = float(np.frombuffer(element.value or b"", f"{order}f4")[0])
    return scale if np.isfinite(scale) and scale > 0 else None


def _refusal(path: Path, found: str) -> InputError:
    return InputError(
        path.name, found=found, needed="complete lossless greyscale pixels", mend=MEND
    )
