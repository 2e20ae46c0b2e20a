"""Build small MR sessions on disk: healthy ones, and every way to break one.

A ``Plan`` describes one volume of one series; ``slices`` turns it into datasets that a
test may change before ``write`` puts them on disk. Every file carries ``SECRETS``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

SECRETS = ("PLANTED^NAME", "PLANTED-ID", "19010203", "PLANTED-ACC")
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
DAY = "20240131"
START_S = 36_000
PHASE_S = 90


@dataclass(frozen=True)
class Plan:
    """One volume: 12 slices of 16 x 24 pixels, 320 mm wide, prone, T1 gradient echo."""

    number: int = 5
    description: str = "t1_fl3d_tra"
    phase: int = 0
    """Time point; moves every clock by ``PHASE_S`` and marks the pixels."""
    shape: tuple[int, int, int] = (12, 16, 24)
    orientation: Sequence[float] = AXIAL
    position_mm: Sequence[float] = (-160.0, -120.0, -30.0)
    pixel_mm: tuple[float, float] = (15.0, 320 / 24)
    slice_mm: float = 5.0
    study: str = "study"
    patient: str = "PLANTED-ID"
    brighter: int = 0
    """Added to every pixel, so that two patients have other images."""
    tags: dict[str, Any] = field(default_factory=dict)
    """DICOM keyword -> value in every dataset; None deletes the element."""

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.orientation[:3], self.orientation[3:])

    def position_of(self, index: int) -> NDArray[np.float64]:
        """Return ImagePositionPatient of slice ``index``, rising along the normal."""
        return np.asarray(self.position_mm) + index * self.slice_mm * self.normal

    def voxels(self) -> NDArray[np.uint16]:
        """Return the pixels: a ramp, offset by slice and phase, never 0."""
        ramp = np.arange(np.prod(self.shape[1:]), dtype=np.uint16)
        offset = np.arange(self.shape[0], dtype=np.uint16) * 64 + 1
        plane = ramp.reshape(self.shape[1:]) % 64
        added = np.uint16(1000 * self.phase + self.brighter)
        return plane[None] + offset[:, None, None] + added

    def with_tags(self, **tags: object) -> "Plan":
        return replace(self, tags=self.tags | tags)


def uid(*parts: object) -> str:
    return str(generate_uid(entropy_srcs=["brs test", *map(str, parts)]))


def clock(seconds: float) -> str:
    whole = int(seconds)
    rest = f"{seconds - whole:.3f}"[1:]
    return f"{whole // 3600:02d}{whole % 3600 // 60:02d}{whole % 60:02d}{rest}"


def decimals(values: Iterable[float]) -> list[str]:
    return [f"{value:.9f}"[:16] for value in values]


def slices(plan: Plan) -> list[Dataset]:
    """Return one MR Image Storage dataset per slice of ``plan``."""
    voxels = plan.voxels()
    return [_slice(plan, index, voxels[index]) for index in range(plan.shape[0])]


def _slice(plan: Plan, index: int, pixels: NDArray[np.uint16]) -> Dataset:
    time = clock(START_S + PHASE_S * plan.phase)
    dataset = _header(plan, MRImageStorage)
    dataset.SOPInstanceUID = uid(plan.study, plan.number, plan.phase, index)
    dataset.InstanceNumber = plan.phase * plan.shape[0] + index + 1
    dataset.AcquisitionTime = dataset.ContentTime = time
    dataset.ImagePositionPatient = decimals(plan.position_of(index))
    dataset.ImageOrientationPatient = decimals(plan.orientation)
    dataset.PixelSpacing = decimals(plan.pixel_mm)
    dataset.SliceThickness = decimals([plan.slice_mm])[0]
    dataset.PixelData = pixels.tobytes()
    return change([dataset], **plan.tags)[0]


def _header(plan: Plan, sop_class: UID) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.PatientName, _, dataset.PatientBirthDate, dataset.AccessionNumber = SECRETS
    dataset.PatientID = plan.patient
    dataset.PatientSex, dataset.PatientPosition = "F", "HFP"
    dataset.StudyInstanceUID = uid(plan.study)
    dataset.SeriesInstanceUID = uid(plan.study, "series", plan.number)
    dataset.FrameOfReferenceUID = uid(plan.study, "frame of reference")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = DAY
    dataset.ContentDate, dataset.StudyTime = DAY, clock(START_S)
    dataset.StudyID = dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.Manufacturer = "MR", "test"
    dataset.SeriesNumber, dataset.SeriesDescription = plan.number, plan.description
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.ScanningSequence, dataset.SequenceVariant = "GR", "SP"
    dataset.ScanOptions, dataset.MRAcquisitionType = "FS", "3D"
    dataset.EchoTime, dataset.RepetitionTime, dataset.FlipAngle = "2", "5", "12"
    dataset.EchoTrainLength = "1"
    _, dataset.Rows, dataset.Columns = plan.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    return dataset


def change(datasets: Sequence[Dataset], **tags: object) -> Sequence[Dataset]:
    """Set elements in every dataset; a callable gets the index, None deletes."""
    for index, dataset in enumerate(datasets):
        for keyword, given in tags.items():
            value = given(index) if callable(given) else given
            if value is not None:
                setattr(dataset, keyword, value)
            elif keyword in dataset:
                delattr(dataset, keyword)
    return datasets


def enhanced(plans: Sequence[Plan], **tags: object) -> Dataset:
    """Return one Enhanced MR object with the slices of all plans, phase by phase."""
    first = plans[0]
    dataset = _header(first, EnhancedMRImageStorage)
    dataset.SOPInstanceUID = uid(first.study, "enhanced", first.number, first.phase)
    dataset.InstanceNumber = 1
    dataset.AcquisitionDateTime = DAY + clock(START_S + PHASE_S * first.phase)
    dataset.NumberOfFrames = sum(plan.shape[0] for plan in plans)
    dataset.PixelData = np.concatenate([plan.voxels() for plan in plans]).tobytes()
    for keyword in ("EchoTime", "RepetitionTime", "ScanningSequence", "FlipAngle"):
        delattr(dataset, keyword)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=decimals(first.pixel_mm))]
    shared.PlaneOrientationSequence = [
        _item(ImageOrientationPatient=decimals(first.orientation))
    ]
    shared.MREchoSequence = [_item(EffectiveEchoTime=2.0)]
    shared.MRTimingAndRelatedParametersSequence = [
        _item(RepetitionTime="5", FlipAngle="12")
    ]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame_groups(plan, index) for plan in plans for index in range(plan.shape[0])
    ]
    return change([dataset], **first.tags, **tags)[0]


def _frame_groups(plan: Plan, index: int) -> Dataset:
    stamp = DAY + clock(START_S + PHASE_S * plan.phase)
    groups = Dataset()
    groups.PlanePositionSequence = [
        _item(ImagePositionPatient=decimals(plan.position_of(index)))
    ]
    groups.FrameContentSequence = [
        _item(
            TemporalPositionIndex=plan.phase + 1,
            InStackPositionNumber=index + 1,
            StackID="1",
            FrameAcquisitionDateTime=stamp,
        )
    ]
    return groups


def _item(**tags: object) -> Dataset:
    item = Dataset()
    change([item], **tags)
    return item


def legacy(plans: Sequence[Plan]) -> Dataset:
    """Return one Legacy Converted Enhanced MR object of all plans' slices."""
    datasets = [dataset for plan in plans for dataset in slices(plan)]
    return LegacyConvertedEnhancedMRImage(
        datasets,
        series_instance_uid=uid("legacy", plans[0].number),
        series_number=plans[0].number,
        sop_instance_uid=uid("legacy instance", plans[0].number),
        instance_number=1,
    )


def write(
    datasets: Iterable[Dataset],
    folder: Path,
    *,
    name: Callable[[int], str] = "{:04d}.dcm".format,
) -> list[Path]:
    """Write datasets to ``folder`` in their transfer syntax and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, dataset in enumerate(datasets):
        path = folder / name(index)
        path.write_bytes(encoded(dataset))
        paths.append(path)
    return paths


def encoded(dataset: Dataset) -> bytes:
    """Return the bytes of a DICOM file."""
    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID or uid("unnamed"))
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


_files: dict[str, list[bytes]] = {}


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the slices of a plan, encoded once however often they are asked for."""
    key = repr(plan)
    if key not in _files:
        _files[key] = [encoded(dataset) for dataset in slices(plan)]
    folder.mkdir(parents=True, exist_ok=True)
    for index, data in enumerate(_files[key]):
        (folder / f"{index:04d}.dcm").write_bytes(data)


def phases(count: int, plan: Plan | None = None) -> list[Plan]:
    """Return ``count`` time points of one series."""
    return [replace(plan or Plan(), phase=phase) for phase in range(count)]


def write_pair(folder: Path, pre: Plan | None = None, post: Plan | None = None) -> None:
    """Write a pre- and a post-contrast series, series 5 and 6."""
    write_plan(folder / "5", pre or pre_plan())
    write_plan(folder / "6", post or post_plan())


def pre_plan(**changes: Any) -> Plan:
    return replace(Plan(number=5, description="t1_fl3d_tra pre"), **changes)


def post_plan(**changes: Any) -> Plan:
    plan = Plan(number=6, description="t1_fl3d_tra post", phase=1)
    return replace(plan, **changes)


TIME_STYLES: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "temporal position": lambda phase, i: {"TemporalPositionIdentifier": phase + 1},
    "trigger time": lambda phase, i: {"TriggerTime": f"{phase * PHASE_S * 1000}"},
    "acquisition time": lambda phase, i: {
        "AcquisitionTime": clock(START_S + PHASE_S * phase)
    },
    "acquisition time per slice": lambda phase, i: {
        "AcquisitionTime": clock(START_S + PHASE_S * phase + 2 * i)
    },
    "acquisition date and time": lambda phase, i: {
        "AcquisitionTime": None,
        "AcquisitionDateTime": DAY + clock(START_S + PHASE_S * phase),
    },
    "content time": lambda phase, i: {
        "ContentTime": clock(START_S + PHASE_S * phase + 0.1 * i)
    },
    "acquisition number": lambda phase, i: {"AcquisitionNumber": phase + 1},
    "instance number": lambda phase, i: {},
}
"""How scanners tell the phases of one series apart: elements by phase and slice."""


def one_series(style: str, count: int = 4, plan: Plan | None = None) -> list[Dataset]:
    """Return one series of ``count`` phases that only ``style`` tells apart."""
    same_clock = {"AcquisitionTime": clock(START_S), "ContentTime": clock(START_S)}
    datasets = []
    for phase, each in enumerate(phases(count, plan)):
        for index, dataset in enumerate(slices(each)):
            change([dataset], **same_clock | TIME_STYLES[style](phase, index))
            datasets.append(dataset)
    return datasets
