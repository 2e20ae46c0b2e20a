"""What the header of one image plane says: where, when, how and with what contrast."""

import hashlib
import math
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from plugin.reading.elements import (
    instant_s,
    number,
    numbers,
    stamp_s,
    text,
    texts,
    whole,
)
from plugin.series import FrameRef

NO_AGENT = {"", "NO", "NONE", "N", "N/A", "NA", "WITHOUT", "0", "OHNE"}
LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
"""Transfer syntaxes that always lose detail: JPEG baseline, extended, near-lossless."""
MAYBE_LOSSY = {"1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"}
"""JPEG 2000 and HTJ2K without the lossless constraint; the header says which."""
COSINE_TOLERANCE = 0.01
INSTANCE_STEP = 100_000
"""Frames of one object count after those of the objects with a lower number."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Position of the first pixel, direction cosines, pixel size, matrix (LPS)."""

    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    """Direction cosines along a row, then along a column (PS3.3 C.7.6.2.1.1)."""
    pixel_mm: tuple[float, ...]
    """Spacing between rows, spacing between columns."""
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PlaneHeader:
    """What a DICOM-SEG has to know of a plane that it refers to."""

    plane: Plane
    thickness_mm: float | None
    """SliceThickness; None when absent."""
    is_alone: bool
    """The instance says that it has one frame."""


@dataclass(frozen=True, slots=True)
class Times:
    """Every clock and counter that can tell time points apart; None when absent."""

    temporal_position: float | None = None
    trigger_s: float | None = None
    acquisition_s: float | None = None
    content_s: float | None = None
    acquisition_number: float | None = None
    instance_number: float | None = None


@dataclass(frozen=True, slots=True)
class Technique:
    """How the image was acquired: terms in upper case, None when not said."""

    image_type: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    echo_ms: float | None = None
    repetition_ms: float | None = None
    inversion_ms: float | None = None
    flip_deg: float | None = None
    diffusion: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """What all images of a series share; the patient only as a digest."""

    study_uid: str
    series_uid: str
    number: int | None
    description: str
    frame_of_reference_uid: str
    patient_position: str
    laterality: str
    body_part: str
    patient: str = field(repr=False)

    @property
    def name(self) -> str:
        """Return how messages call the series: number and description."""
        number = "without a number" if self.number is None else str(self.number)
        return f'series {number} "{self.description}"'


@dataclass(frozen=True, slots=True)
class Frame:
    """One image plane as its header describes it."""

    ref: FrameRef
    series: Series
    plane: Plane | None
    times: Times
    technique: Technique
    contrast: bool
    """The header names a contrast agent, or says that one was administered."""
    bolus_s: float | None
    lossy: bool
    problem: str = ""
    """Why the pixels or the position cannot be used; empty when they can."""


def read_series(dataset: Dataset) -> Series:
    """Return the series of a dataset."""
    identity = text(dataset, "PatientID") or text(dataset, "PatientName")
    return Series(
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        number=whole(dataset, "SeriesNumber"),
        description=_description(dataset),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        patient_position=text(dataset, "PatientPosition").upper(),
        laterality=_laterality(dataset),
        body_part=text(dataset, "BodyPartExamined").upper(),
        patient=hashlib.sha256(identity.encode()).hexdigest() if identity else "",
    )


def read_frame(
    dataset: Dataset, ref: FrameRef, series: Series, transfer_syntax: str
) -> Frame:
    """Return one plane; ``dataset`` holds its attributes at its top level."""
    plane = ref.header.plane if ref.header else read_plane(dataset)
    return Frame(
        ref=ref,
        series=series,
        plane=plane,
        times=_times(dataset, ref),
        technique=_technique(dataset),
        contrast=_has_agent(dataset),
        bolus_s=instant_s(
            dataset, day="AcquisitionDate", clock="ContrastBolusStartTime"
        ),
        lossy=_is_lossy(dataset, transfer_syntax),
        problem=_problem(dataset, ref, plane),
    )


def read_plane_header(dataset: Dataset) -> PlaneHeader | None:
    """Return the plane and what else a reference to it needs, None without a plane."""
    plane = read_plane(dataset)
    if plane is None:
        return None
    is_alone = whole(dataset, "NumberOfFrames") == 1
    return PlaneHeader(plane, number(dataset, "SliceThickness"), is_alone)


def read_plane(dataset: Dataset) -> Plane | None:
    """Return the plane, None when a part of it is missing or makes no sense."""
    position = numbers(dataset, "ImagePositionPatient")
    orientation = numbers(dataset, "ImageOrientationPatient")
    spacing = numbers(dataset, "PixelSpacing")
    shape = (whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0)
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2):
        return None
    if min(*spacing, *shape) <= 0 or not _is_orthonormal(orientation):
        return None
    return Plane(position, orientation, spacing, shape)


def _times(dataset: Dataset, ref: FrameRef) -> Times:
    trigger = number(dataset, "NominalCardiacTriggerDelayTime", "TriggerTime")
    offset_s = number(dataset, "TemporalPositionTimeOffset")
    instance = number(dataset, "InstanceNumber")
    if instance is not None and ref.frame_number is not None:
        instance = instance * INSTANCE_STEP + ref.frame_number
    return Times(
        temporal_position=number(
            dataset, "TemporalPositionIndex", "TemporalPositionIdentifier"
        ),
        trigger_s=offset_s if trigger is None else trigger / 1000,
        acquisition_s=_acquisition_s(dataset),
        content_s=instant_s(dataset, day="ContentDate", clock="ContentTime"),
        acquisition_number=number(
            dataset, "FrameAcquisitionNumber", "AcquisitionNumber"
        ),
        instance_number=instance,
    )


def _acquisition_s(dataset: Dataset) -> float | None:
    stamp = stamp_s(dataset, "FrameAcquisitionDateTime", "AcquisitionDateTime")
    if stamp is not None:
        return stamp
    return instant_s(dataset, day="AcquisitionDate", clock="AcquisitionTime")


def _technique(dataset: Dataset) -> Technique:
    return Technique(
        image_type=texts(dataset, "FrameType") or texts(dataset, "ImageType"),
        sequences=texts(dataset, "ScanningSequence")
        + texts(dataset, "EchoPulseSequence")
        + texts(dataset, "AcquisitionContrast"),
        options=texts(dataset, "ScanOptions"),
        echo_ms=number(dataset, "EffectiveEchoTime", "EchoTime"),
        repetition_ms=number(dataset, "RepetitionTime"),
        inversion_ms=number(dataset, "InversionTimes", "InversionTime"),
        flip_deg=number(dataset, "FlipAngle"),
        diffusion=bool(number(dataset, "DiffusionBValue")),
    )


def _has_agent(dataset: Dataset) -> bool:
    administered = text(dataset, "ContrastBolusAgentAdministered").upper()
    if administered:
        return administered == "YES"
    if "ContrastBolusAgentSequence" in dataset:
        return True
    return text(dataset, "ContrastBolusAgent").upper() not in NO_AGENT


def _is_lossy(dataset: Dataset, transfer_syntax: str) -> bool:
    declared = text(dataset, "LossyImageCompression")
    if transfer_syntax in LOSSY or declared == "01":
        return True
    return transfer_syntax in MAYBE_LOSSY and declared != "00"


def _problem(dataset: Dataset, ref: FrameRef, plane: Plane | None) -> str:
    if not (ref.sop_instance_uid and text(dataset, "SeriesInstanceUID")):
        return "no SOP or Series Instance UID"
    if plane is None:
        parts = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        absent = [part for part in parts if not numbers(dataset, part)]
        return f"no {', '.join(absent)}" if absent else "an impossible image plane"
    if (samples := whole(dataset, "SamplesPerPixel") or 1) != 1:
        return f"{samples} samples per pixel"
    return ""


def _description(dataset: Dataset) -> str:
    for keyword in ("SeriesDescription", "ProtocolName"):
        if value := dataset.get(keyword):
            return " ".join(str(value).split())
    return ""


def _laterality(dataset: Dataset) -> str:
    keywords = ("FrameLaterality", "ImageLaterality", "Laterality")
    found = (text(dataset, keyword).upper() for keyword in keywords)
    return next((value for value in found if value), "")


def _is_orthonormal(orientation: tuple[float, ...]) -> bool:
    row, column = orientation[:3], orientation[3:]
    lengths = (math.hypot(*row), math.hypot(*column))
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    return all(abs(n - 1) < COSINE_TOLERANCE for n in lengths) and (
        abs(dot) < COSINE_TOLERANCE
    )
