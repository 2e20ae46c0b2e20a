"""Open one DICOM file: its header, and where its pixels lie, without reading them."""

import os
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import pydicom
from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from plugin.reading.elements import whole

READ_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    NotImplementedError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on damaged bytes; found by fuzzing (tests/test_bad_input.py)."""

PIXEL_DATA = 0x7FE00010
FLOAT_PIXELS = {0x7FE00008, 0x7FE00009}
ITEM = 0xFFFEE000
SEQUENCE_DELIMITER = 0xFFFEE0DD
UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Instance:
    """A header and the place of its pixel data in the file, in bytes.

    ``pixel_offset`` is None when the place is not known: a deflated file is one
    compressed stream.
    """

    dataset: FileDataset
    transfer_syntax: str
    pixel_offset: int | None
    problem: str
    """Why the pixels cannot be used; empty when they can."""

    @property
    def is_packed(self) -> bool:
        """Whether its transfer syntax compresses the pixels by themselves."""
        return is_packed(self.transfer_syntax)


def read_instance(file: BinaryIO) -> Instance:
    """Return the header of an open DICOM file; pixels stay on disk.

    Raises one of ``READ_ERRORS`` on bytes that are no DICOM.
    """
    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian))
    if syntax == DeflatedExplicitVRLittleEndian:
        return Instance(dataset, syntax, None, "")
    tag, length = _element_at(file, dataset)
    offset = file.tell()
    problem = _tag_problem(tag) or _length_problem(file, dataset, syntax, length)
    return Instance(dataset, syntax, offset, problem)


def is_packed(syntax: str) -> bool:
    """Tell whether a transfer syntax compresses pixels (PS3.5 A.4)."""
    return syntax in AllTransferSyntaxes and bool(UID(syntax).is_encapsulated)


def frame_bytes(dataset: FileDataset) -> int:
    """Return the size of one uncompressed frame in bytes, 0 when not said."""
    keywords = ("Rows", "Columns", "BitsAllocated")
    rows, columns, bits = (whole(dataset, keyword) or 0 for keyword in keywords)
    return rows * columns * (whole(dataset, "SamplesPerPixel") or 1) * bits // 8


def frame_count(dataset: FileDataset) -> int:
    """Return the number of frames, 1 when not said."""
    return whole(dataset, "NumberOfFrames") or 1


def _element_at(file: BinaryIO, dataset: FileDataset) -> tuple[int, int]:
    """Return tag and length of the element under the cursor; 0, 0 at the end."""
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    layout = f"{order}HHL" if implicit else f"{order}HH4xL"
    head = file.read(struct.calcsize(layout))
    if len(head) < struct.calcsize(layout):
        return 0, 0
    group, element, length = struct.unpack(layout, head)
    return group << 16 | element, length


def _tag_problem(tag: int) -> str:
    if tag in FLOAT_PIXELS:
        return "floating-point pixels"
    return "" if tag == PIXEL_DATA else "no pixel data"


def _length_problem(
    file: BinaryIO, dataset: FileDataset, syntax: str, length: int
) -> str:
    packed = is_packed(syntax)
    if packed != (length == UNDEFINED_LENGTH):
        return "pixel data not as its transfer syntax says"
    if packed:
        return "" if _is_closed(file) else "truncated pixel data"
    there = os.fstat(file.fileno()).st_size - file.tell()
    expected = frame_bytes(dataset) * frame_count(dataset)
    if min(length, there) < expected:
        return f"truncated pixel data, {min(length, there)} of {expected} bytes"
    return ""


def _is_closed(file: BinaryIO) -> bool:
    """Walk the fragments of encapsulated pixel data to their delimiter (PS3.5 A.4)."""
    start = file.tell()
    size = os.fstat(file.fileno()).st_size
    closed = False
    while len(head := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHL", head)
        tag = group << 16 | element
        closed = tag == SEQUENCE_DELIMITER
        if tag != ITEM or file.tell() + length > size:
            break
        file.seek(length, os.SEEK_CUR)
    file.seek(start)
    return closed
