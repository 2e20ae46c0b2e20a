"""DICOM-SEG as other programs write it, built by hand with pydicom alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage
from seg_sources import SourceStyle, decimal, positions

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
TISSUE = ("85756007", "SCT", "Tissue")
BREAST = ("76752008", "SCT", "Breast")
LESION = ("52988006", "SCT", "Lesion")
RIGHT = ("24028007", "SCT", "Right")
LEFT = ("7771000", "SCT", "Left")


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment; ``mask`` (slices, rows, columns) is boolean, or 0-255 fractions."""

    label: str
    mask: NDArray[Any]
    kind: tuple[str, str, str] = TISSUE
    laterality: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Writer:
    """Habits of the program that wrote the SEG."""

    kind: str = "BINARY"
    keep_empty: bool = False
    flip_rows: bool = False
    spacing_told: bool = True
    shift_mm: float = 0.0
    manufacturer: str = "SIEMENS"


def write_seg(
    path: Path,
    style: SourceStyle,
    segments: Sequence[Segment],
    writer: Writer | None = None,
) -> Path:
    """Write a SEG of the series of ``style`` and return ``path``."""
    writer = writer or Writer()
    dataset = _head(style, writer)
    dataset.SegmentSequence = [_describe(i, s) for i, s in enumerate(segments, 1)]
    planes, groups = [], []
    for number, plane, index in _frames(segments, writer):
        planes.append(plane[::-1] if writer.flip_rows else plane)
        groups.append(_groups(style, writer, index, number))
    dataset.NumberOfFrames = len(planes)
    dataset.PerFrameFunctionalGroupsSequence = groups
    _fill(dataset, np.stack(planes), writer)
    dataset.save_as(path, enforce_file_format=True)
    return path


def concept(code: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def _frames(
    segments: Sequence[Segment], writer: Writer
) -> list[tuple[int, NDArray[Any], int]]:
    if writer.kind == "LABELMAP":
        labels = np.zeros(segments[0].mask.shape, np.uint8)
        for number, segment in enumerate(segments, 1):
            labels[segment.mask > 0] = number
        stacks = [(0, labels)]
    else:
        stacks = [(n, s.mask) for n, s in enumerate(segments, 1)]
    return [
        (number, plane, index)
        for number, stack in stacks
        for index, plane in enumerate(stack)
        if writer.keep_empty or plane.any()
    ]


def _head(style: SourceStyle, writer: Writer) -> Dataset:
    dataset = Dataset()
    for keyword, value in style.patient.items():
        setattr(dataset, keyword, value)
    label_map = writer.kind == "LABELMAP"
    dataset.SOPClassUID = LABEL_MAP if label_map else SegmentationStorage
    dataset.SOPInstanceUID = style.uid("viewer", writer.kind)
    dataset.StudyInstanceUID = style.uid("study")
    dataset.SeriesInstanceUID = style.uid("viewer series")
    dataset.FrameOfReferenceUID = style.uid("frame of reference")
    dataset.Modality, dataset.Manufacturer = "SEG", writer.manufacturer
    dataset.SeriesDescription = "BRS breast"
    dataset.SegmentationType = writer.kind
    dataset.ReferencedSeriesSequence = [Dataset()]
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = style.uid("series")
    dataset.SharedFunctionalGroupsSequence = [_shared(style, writer)]
    return dataset


def _shared(style: SourceStyle, writer: Writer) -> Dataset:
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    cosines = np.array(style.orientation, float)
    if writer.flip_rows:
        cosines[3:] *= -1
    orientation.ImageOrientationPatient = [decimal(v) for v in cosines]
    measures.PixelSpacing = [decimal(v) for v in style.pixel_mm]
    if writer.spacing_told:
        measures.SpacingBetweenSlices = decimal(style.slice_mm)
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    return shared


def _describe(number: int, segment: Segment) -> Dataset:
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel = number, segment.label
    item.SegmentAlgorithmType = "SEMIAUTOMATIC"
    kind = concept(segment.kind)
    if segment.laterality:
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept(segment.laterality)]
    item.SegmentedPropertyTypeCodeSequence = [kind]
    return item


def _groups(style: SourceStyle, writer: Writer, index: int, number: int) -> Dataset:
    groups, position = Dataset(), Dataset()
    start = np.array(positions(style)[index], float) + writer.shift_mm
    if writer.flip_rows:
        down = np.array(style.orientation[3:], float) * style.pixel_mm[0]
        start = start + down * (style.shape[1] - 1)
    position.ImagePositionPatient = [decimal(v) for v in start]
    groups.PlanePositionSequence = [position]
    if number:
        groups.SegmentIdentificationSequence = [Dataset()]
        groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber = number
    return groups


def _fill(dataset: Dataset, planes: NDArray[Any], writer: Writer) -> None:
    _, dataset.Rows, dataset.Columns = planes.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    bits = 1 if writer.kind == "BINARY" else 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    if writer.kind == "FRACTIONAL":
        dataset.MaximumFractionalValue = 200
    stored = planes.astype(np.uint8)
    packed = pack_bits(stored, pad=True) if bits == 1 else stored.tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
