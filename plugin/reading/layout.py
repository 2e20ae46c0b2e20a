"""How one frame's pixels lie in an uncompressed file, and what becomes of them.

Everything that a header says of pixels, kept small, so that they can be read from
their place later without the header being read again.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset

from plugin.errors import InputError
from plugin.reading.elements import number, text, whole
from plugin.reading.frames import Plane, read_plane
from plugin.series import FrameRef

PHILIPS_CREATOR = (0x2005, 0x0010)
PHILIPS_SCALE_SLOPE = (0x2005, 0x100E)
WORD_BITS = (8, 16, 32)
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


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file is written again."""

    inode: int
    size: int
    written_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """Return the stamp of a file by its status."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Layout:
    """The words of one frame."""

    dtype: str
    shape: tuple[int, int]
    unused_above: int
    """Bits above the stored ones, such as an embedded overlay."""
    unused: int
    """Bits of a word that hold no pixel."""

    def read(self, path: Path, offset: int) -> Pixels:
        """Return the frame that begins at ``offset`` in a file, as stored."""
        dtype = np.dtype(self.dtype)
        count = self.shape[0] * self.shape[1]
        raw = np.fromfile(path, dtype, count=count, offset=offset)
        stored = raw.reshape(self.shape).astype(dtype.newbyteorder("="), copy=False)
        if self.unused:
            stored <<= self.unused_above
            stored >>= self.unused
        return stored


@dataclass(frozen=True, slots=True)
class Tail:
    """The pixels of a single-frame file that was scanned: where they are, and how.

    Only for a file that is still the same one, see ``is_unchanged``.
    """

    offset: int
    layout: Layout
    header: SliceHeader
    inverted_from: int | None
    """The value that becomes 0 where low is bright, else None."""

    def read(self, path: Path) -> SlicePixels:
        """Return the pixels, without the header being read again."""
        stored = self.layout.read(path, self.offset)
        return SlicePixels(upright(stored, self.inverted_from), self.header)


def is_unchanged(frame: FrameRef) -> bool:
    """Tell whether a frame's file is the one that was scanned, by its stamp."""
    return frame.stamp is not None and frame.stamp == Stamp.of(frame.path.stat())


def find_tail(
    path: Path, dataset: FileDataset, pixel_offset: int | None
) -> Tail | None:
    """Return the tail of a native single-frame file, None where its pixels need more.

    A file that would be refused has none either: whoever reads it is told why.
    """
    if pixel_offset is None:
        return None
    try:
        check_words(path, dataset)
        header = slice_header(path, dataset)
    except InputError:
        return None
    return Tail(pixel_offset, layout_of(dataset), header, top_of(dataset))


def layout_of(dataset: FileDataset) -> Layout:
    """Return how the frames of an uncompressed file lie in it."""
    kind = "i" if whole(dataset, "PixelRepresentation") == 1 else "u"
    order = "<" if dataset.original_encoding[1] else ">"
    allocated = whole(dataset, "BitsAllocated") or 8
    used = whole(dataset, "BitsStored") or allocated
    high = whole(dataset, "HighBit")
    above = allocated - 1 - (used - 1 if high is None else high)
    is_full = used == allocated or above < 0
    return Layout(
        dtype=f"{order}{kind}{allocated // 8}",
        shape=(whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0),
        unused_above=0 if is_full else above,
        unused=0 if is_full else allocated - used,
    )


def check_words(path: Path, dataset: Dataset) -> None:
    """Raise ``InputError`` unless a pixel is one whole number."""
    if (samples := whole(dataset, "SamplesPerPixel") or 1) != 1:
        raise refusal(path, f"{samples} samples per pixel")
    if (bits := whole(dataset, "BitsAllocated")) not in WORD_BITS:
        raise refusal(path, f"{bits} bits allocated")


def slice_header(path: Path, dataset: Dataset) -> SliceHeader:
    """Return plane and rescale of a frame; ``InputError`` where they make no sense."""
    plane = read_plane(dataset)
    if plane is None:
        raise refusal(path, "pixels without an image plane")
    return SliceHeader(plane, _rescale(path, dataset))


def top_of(dataset: Dataset) -> int | None:
    """Return the stored value that means black in MONOCHROME1, None otherwise."""
    if text(dataset, "PhotometricInterpretation").upper() != "MONOCHROME1":
        return None
    if whole(dataset, "PixelRepresentation") == 1:
        return -1
    bits = whole(dataset, "BitsStored") or whole(dataset, "BitsAllocated") or 8
    return (1 << bits) - 1


def upright(stored: Pixels, top: int | None) -> Pixels:
    """Turn MONOCHROME1 (low is bright, PS3.3 C.7.6.3.1.2) into MONOCHROME2."""
    if top is None:
        return stored
    inverted: Pixels = stored.dtype.type(top) - stored
    return inverted


def refusal(path: Path, found: str) -> InputError:
    """Return the error of a file whose pixels cannot be used."""
    return InputError(
        path.name, found=found, needed="complete lossless greyscale pixels", mend=MEND
    )


def _rescale(path: Path, header: Dataset) -> Rescale:
    slope = number(header, "RescaleSlope")
    if slope is not None and slope <= 0:
        raise refusal(path, f"a rescale slope of {slope:g}")
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
