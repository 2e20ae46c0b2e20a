"""Turn frame references into pixels: the one place that reads pixel data.

Uncompressed pixels are read from their place in the file: without its header where the
scan has kept what it said and the file is the same still. Everything else goes through
pydicom's decoders. Values stay as stored; how they rescale comes beside them.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, AllTransferSyntaxes, JPEGLSLossless, JPEGLSNearLossless

from plugin.reading.elements import text
from plugin.reading.instance import READ_ERRORS, Instance, frame_bytes, read_instance
from plugin.reading.layout import (
    Pixels,
    SlicePixels,
    check_words,
    is_unchanged,
    layout_of,
    refusal,
    slice_header,
    top_of,
    upright,
)
from plugin.reading.multiframe import flat_frames
from plugin.series import FrameRef

DECODE_ERRORS = (*READ_ERRORS, RuntimeError)
FASTER_DECODERS = {JPEGLSLossless: "pyjpegls", JPEGLSNearLossless: "pyjpegls"}
"""Half again as fast as the one that pydicom takes first; comes with highdicom."""


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
            raise refusal(path, f"unreadable pixel data ({kind})") from error


def _read_file(path: Path, frames: Sequence[FrameRef]) -> Iterator[SlicePixels]:
    tail = frames[0].tail
    if tail is not None and is_unchanged(frames[0]):
        yield tail.read(path)
        return
    with path.open("rb") as file:
        instance = read_instance(file)
    _check(path, instance, frames[0])
    numbers = [(frame.frame_number or 1) - 1 for frame in frames]
    headers: Sequence[Dataset] = [instance.dataset]
    if frames[0].frame_number is not None:
        headers = list(flat_frames(instance.dataset))
    pixels = _pixels(path, instance, numbers)
    for number, stored in zip(numbers, pixels, strict=True):
        header = headers[number if len(headers) > 1 else 0]
        told = slice_header(path, header)
        if told.plane.shape != stored.shape:
            found = f"pixels of {stored.shape} without a matching image plane"
            raise refusal(path, found)
        yield SlicePixels(upright(stored, top_of(header)), told)


def _check(path: Path, instance: Instance, frame: FrameRef) -> None:
    if instance.problem:
        raise refusal(path, instance.problem)
    if text(instance.dataset, "SOPInstanceUID") != frame.sop_instance_uid:
        raise refusal(path, "another instance than when the folder was scanned")
    check_words(path, instance.dataset)


def _pixels(path: Path, instance: Instance, numbers: Sequence[int]) -> Iterator[Pixels]:
    """Yield the frames with these numbers, counted from 0, as stored."""
    syntax = UID(instance.transfer_syntax)
    if syntax not in AllTransferSyntaxes:
        raise refusal(path, f"unknown transfer syntax {syntax}")
    if instance.is_packed or instance.pixel_offset is None:
        # pydicom finds no pixels by path in a deflated file, only in its dataset.
        source = path if instance.is_packed else pydicom.dcmread(path)
        decoder = _decoder(syntax)
        yield from iter_pixels(
            source, indices=numbers, raw=True, decoding_plugin=decoder
        )
        return
    layout, size = layout_of(instance.dataset), frame_bytes(instance.dataset)
    for index in numbers:
        yield layout.read(path, instance.pixel_offset + index * size)


def _decoder(syntax: UID) -> str:
    """Return the name of the fastest decoder that is installed, empty for any."""
    name = FASTER_DECODERS.get(syntax, "")
    return name if name and name in get_decoder(syntax).available_plugins else ""
