"""DICOM headers of a synthetic examination: who, when, which scanner, which grid.

Module names are those of PS3.3; every UID is a hash of the session, so that writing a
case twice gives the same bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from model.phantom import PhantomCase
from model.synthetic.site import FatSuppression

EPOCH = date(2008, 1, 7)
START_S = 9 * 3600
PHASE_LENGTH_S = 58.0
PATIENT_PREFIX = "PHANTOM"
T2_MS = [4200.0, 92.0]
"""Repetition and echo time of the T2 series."""


@dataclass(frozen=True, slots=True)
class Make:
    """How one vendor names itself and its breast protocol."""

    manufacturer: str
    scanner: str
    pre: str
    post: str
    """Description of a post-contrast series; ``{}`` is its number, from 1."""
    dynamic: str
    """Description of one series that holds all phases."""
    localiser: str
    t2: str


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """One examination to be written."""

    case: PhantomCase
    session_id: str
    style: str
    make: Make

    def uid(self, *parts: str | int) -> str:
        """Return the UID of the object that ``parts`` name within this session."""
        words = [
            "brs phantom",
            self.session_id,
            self.style,
            str(self.case.seed),
            *map(str, parts),
        ]
        return str(generate_uid(entropy_srcs=["/".join(words)]))

    @property
    def day(self) -> str:
        """Return the study date, DICOM DA; a date long past, spread over years."""
        return (EPOCH + timedelta(days=self.case.seed % 4000)).strftime("%Y%m%d")

    def uses_contrast(self, phases: range) -> bool:
        """Tell whether any of ``phases`` follows the contrast agent."""
        return max(phases) > 0

    def phase_s(self, phase: int) -> float:
        """Return when a phase began, seconds of the day."""
        protocol = self.case.site.protocol
        wait = protocol.first_post_s + (phase - 1) * protocol.phase_interval_s
        return START_S + 600 + (wait if phase else 0.0)


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """What all instances of one series share."""

    number: int
    description: str
    start_s: float
    contrast: bool = False
    kind: Literal["t1", "t2", "localiser"] = "t1"


def clock(seconds: float) -> str:
    """Return seconds of the day as DICOM TM with milliseconds."""
    whole, milli = divmod(round(seconds * 1000), 1000)
    hours, rest = divmod(whole, 3600)
    return f"{hours:02d}{rest // 60:02d}{rest % 60:02d}.{milli:03d}"


def decimal(values: Iterable[float]) -> list[str]:
    """Return numbers as DICOM DS, at most 16 characters each."""
    return [format_number_as_ds(float(np.round(v, 6)) + 0.0) for v in values]


def study_header(visit: Visit) -> Dataset:
    """Return patient, study, frame of reference and equipment modules."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName = f"{PATIENT_PREFIX}^{visit.session_id}"
    header.PatientID = f"{PATIENT_PREFIX}-{visit.session_id}"
    header.PatientBirthDate = ""
    header.PatientSex = "F"
    header.PatientComments = "Synthetic image, no person"
    header.StudyInstanceUID = visit.uid("study")
    header.StudyDate, header.StudyTime = visit.day, clock(START_S)
    header.StudyID = "1"
    header.StudyDescription = "MR breast synthetic"
    header.ReferringPhysicianName = ""
    header.AccessionNumber = ""
    header.FrameOfReferenceUID = visit.uid("frame of reference")
    header.PositionReferenceIndicator = ""
    header.Manufacturer = visit.make.manufacturer
    header.ManufacturerModelName = visit.make.scanner
    header.InstitutionName = visit.case.site.name
    header.DeviceSerialNumber = visit.case.site.name
    header.SoftwareVersions = "brs phantom"
    return header


def series_header(visit: Visit, plan: SeriesPlan) -> Dataset:
    """Return the study header with the series module."""
    header = study_header(visit)
    header.Modality = "MR"
    header.SeriesInstanceUID = visit.uid("series", plan.number)
    header.SeriesNumber = plan.number
    header.SeriesDescription = plan.description
    header.ProtocolName = plan.description
    header.SeriesDate, header.SeriesTime = visit.day, clock(plan.start_s)
    header.PatientPosition = "HFP"
    header.BodyPartExamined = "BREAST"
    header.ContentDate = visit.day
    header.BurnedInAnnotation = "NO"
    return header


def image_header(visit: Visit, plan: SeriesPlan) -> Dataset:
    """Return the series header with contrast and MR modules of a single frame."""
    header = series_header(visit, plan)
    header.SOPClassUID = MRImageStorage
    header.ImageLaterality = "B"
    header.AcquisitionDate = visit.day
    if plan.contrast:
        header.ContrastBolusAgent = "Gadolinium, synthetic"
        header.ContrastBolusRoute = "IV"
    _add_sequence(header, visit, plan)
    return header


def set_pixels(header: Dataset, pixels: NDArray[np.uint16]) -> None:
    """Fill the image pixel module; the last two axes are rows and columns."""
    header.Rows, header.Columns = pixels.shape[-2:]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.PixelRepresentation = 0
    header.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()


def orientation(volume: Volume) -> list[str]:
    """Return ImageOrientationPatient: cosines along a row, then down a column."""
    return decimal([*volume.direction[:, 2], *volume.direction[:, 1]])


def save_slice(header: Dataset, plane: Volume, path: Path) -> None:
    """Write ``header`` with the plane and pixels of a volume of one slice."""
    set_pixels(header, plane.array[0])
    header.ImagePositionPatient = decimal(plane.position)
    header.ImageOrientationPatient = orientation(plane)
    header.PixelSpacing = decimal(plane.pixel_spacing)
    header.SliceThickness = decimal([plane.spacing_between_slices])[0]
    header.SpacingBetweenSlices = header.SliceThickness
    normal = np.cross(plane.direction[:, 2], plane.direction[:, 1])
    header.SliceLocation = decimal([float(normal @ plane.position)])[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


def window(values: NDArray[np.uint16]) -> tuple[float, float]:
    """Return a window centre and width that show almost all of ``values``."""
    top = max(float(np.percentile(values, 99.5)), 2.0)
    return round(top / 2, 1), round(top, 1)


def scan_options(visit: Visit) -> str:
    """Return DICOM's word for fat suppression, empty without."""
    bare = visit.case.site.protocol.fat_suppression is FatSuppression.NONE
    return "" if bare else "FS"


def _add_sequence(header: Dataset, visit: Visit, plan: SeriesPlan) -> None:
    """Fill the MR image module (PS3.3 C.8.3.1): T1 gradient or T2 spin echo."""
    protocol = visit.case.site.protocol
    spin_echo = plan.kind == "t2"
    times = [protocol.repetition_time_ms, protocol.echo_time_ms]
    header.ScanningSequence = "SE" if spin_echo else "GR"
    header.SequenceVariant = "SK" if spin_echo else "SP"
    header.ScanOptions = scan_options(visit) if plan.kind == "t1" else ""
    header.MRAcquisitionType = "3D" if plan.kind == "t1" else "2D"
    header.RepetitionTime, header.EchoTime = decimal(T2_MS if spin_echo else times)
    header.FlipAngle = "150" if spin_echo else decimal([protocol.flip_angle_deg])[0]
    header.EchoTrainLength = 15 if spin_echo else 1
    header.NumberOfAverages = "1"
    header.MagneticFieldStrength = decimal([protocol.field_strength_t])[0]
    header.InPlanePhaseEncodingDirection = str(protocol.phase_encoding)
    header.ReceiveCoilName = "BREAST"
