"""Small source series on disk, any orientation and style, for the tests of SEG."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from plugin.series import FrameRef, Phase

PATIENT = {
    "PatientID": "SECRET-ID-4711",
    "PatientName": "Mustermann^Erika",
    "PatientBirthDate": "19640812",
    "PatientSex": "F",
    "AccessionNumber": "SECRET-ACC",
    "StudyID": "S1",
    "StudyDate": "20240131",
    "StudyTime": "101500",
    "ReferringPhysicianName": "",
}
SECRETS = ("SECRET", "4711", "Mustermann", "Erika", "19640812")
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class SourceStyle:
    """How a series is written; ``temporal`` puts two phases in one series."""

    shape: tuple[int, int, int] = (4, 5, 6)
    orientation: Sequence[float] = AXIAL
    position_mm: Sequence[float] = (-10.0, -20.0, 30.0)
    pixel_mm: tuple[float, float] = (1.5, 0.75)
    slice_mm: float = 2.5
    multi_frame: bool = False
    apart: bool = False
    """Each slice is a multi-frame instance of one frame."""
    temporal: bool = False
    patient: dict[str, str] = field(default_factory=lambda: dict(PATIENT))
    seed: str = "one"

    @property
    def normal(self) -> np.ndarray:
        cosines = np.array(self.orientation, float).reshape(2, 3)
        return np.cross(cosines[0], cosines[1])

    def uid(self, *parts: object) -> str:
        return generate_uid(entropy_srcs=[self.seed, *(str(p) for p in parts)])


def write_phase(folder: Path, style: SourceStyle | None = None) -> Phase:
    """Write the series and return its first phase, in the order ``Phase`` promises."""
    style = style or SourceStyle()
    several = _write_multi if style.multi_frame else _write_single
    frames = (_write_apart if style.apart else several)(folder, style)
    return Phase(
        study_uid=style.uid("study"),
        series_uid=style.uid("series"),
        frame_of_reference_uid=style.uid("frame of reference"),
        frames=frames,
        description="t1 fl3d pre",
        time_s=0.0,
    )


def other_series(style: SourceStyle) -> SourceStyle:
    """Return the style of another series of the same study and frame of reference."""
    return replace(style, seed=f"{style.seed} again")


def decimal(value: float) -> str:
    """Return a DICOM decimal string of at most 16 characters."""
    return f"{value:.10g}"[:16]


def positions(style: SourceStyle) -> list[list[str]]:
    start = np.array(style.position_mm, float)
    steps = [start + i * style.slice_mm * style.normal for i in range(style.shape[0])]
    return [[decimal(v) for v in step] for step in steps]


def _phases(style: SourceStyle) -> int:
    return 2 if style.temporal else 1


def _write_single(folder: Path, style: SourceStyle) -> tuple[FrameRef, ...]:
    frames = []
    for phase, index in product(range(_phases(style)), range(style.shape[0])):
        dataset = _instance(style, MRImageStorage, style.uid(phase, index))
        dataset.update(_plane(style, index))
        dataset.InstanceNumber = phase * style.shape[0] + style.shape[0] - index
        path = folder / f"{phase}-{(index * 7) % 11:02}-{index}.dcm"
        _save(dataset, path)
        if phase == 0:
            frames.append(FrameRef(path, dataset.SOPInstanceUID, MRImageStorage))
    return tuple(frames)


def _write_multi(folder: Path, style: SourceStyle) -> tuple[FrameRef, ...]:
    """Write one object, phases interleaved: a frame number is no slice index."""
    uid = style.uid("multi-frame")
    dataset = _instance(style, EnhancedMRImageStorage, uid)
    order = list(product(reversed(range(style.shape[0])), range(_phases(style))))
    dataset.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_measures(style)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_groups(style, i) for i, _ in order]
    path = folder / "multi.dcm"
    _save(dataset, path)
    numbers = {pair: number for number, pair in enumerate(order, start=1)}
    return tuple(
        FrameRef(path, uid, EnhancedMRImageStorage, numbers[index, 0])
        for index in range(style.shape[0])
    )


def _write_apart(folder: Path, style: SourceStyle) -> tuple[FrameRef, ...]:
    frames = []
    for index in range(style.shape[0]):
        dataset = _instance(style, EnhancedMRImageStorage, style.uid("apart", index))
        dataset.NumberOfFrames = 1
        shared = Dataset()
        shared.PixelMeasuresSequence = [_measures(style)]
        dataset.SharedFunctionalGroupsSequence = [shared]
        dataset.PerFrameFunctionalGroupsSequence = [_groups(style, index)]
        path = folder / f"{(index * 7) % 11:02}-{index}.dcm"
        _save(dataset, path)
        named = (dataset.SOPInstanceUID, EnhancedMRImageStorage, 1)
        frames.append(FrameRef(path, *named))
    return tuple(frames)


def _instance(style: SourceStyle, sop_class: str, uid: str) -> Dataset:
    dataset = Dataset()
    for keyword, value in style.patient.items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
    dataset.StudyInstanceUID = style.uid("study")
    dataset.SeriesInstanceUID = style.uid("series")
    dataset.FrameOfReferenceUID = style.uid("frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.Modality, dataset.SeriesNumber = "MR", 7
    _, dataset.Rows, dataset.Columns = style.shape
    return dataset


def _plane(style: SourceStyle, index: int) -> Dataset:
    plane = _measures(style)
    plane.ImagePositionPatient = positions(style)[index]
    plane.ImageOrientationPatient = [decimal(v) for v in style.orientation]
    return plane


def _measures(style: SourceStyle) -> Dataset:
    measures = Dataset()
    measures.PixelSpacing = [decimal(v) for v in style.pixel_mm]
    measures.SliceThickness = decimal(style.slice_mm)
    return measures


def _groups(style: SourceStyle, index: int) -> Dataset:
    plane, groups = _plane(style, index), Dataset()
    position, orientation = Dataset(), Dataset()
    position.ImagePositionPatient = plane.ImagePositionPatient
    orientation.ImageOrientationPatient = plane.ImageOrientationPatient
    groups.PlanePositionSequence = [position]
    groups.PlaneOrientationSequence = [orientation]
    return groups


def _save(dataset: Dataset, path: Path) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
