"""The image planes that a SEG refers to, from headers alone.

What the scan of the folder has kept of them is used while the files are the same: to
parse them again takes as long as the scan did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from highdicom import VolumeGeometry
from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.uid import MRImageStorage

from plugin.errors import MaskError
from plugin.reading.frames import Plane, PlaneHeader, read_plane_header
from plugin.reading.grid import geometry
from plugin.reading.layout import is_unchanged
from plugin.reading.multiframe import flat_frames
from plugin.series import FrameRef, Phase

PLANE_TAGS = [
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
COPIED = (
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
LEFT_BLANK = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
PLACEHOLDER_PREFIX = "2.25."


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The planes of a phase in its order, their grid, and the first file's header."""

    phase: Phase
    header: Dataset
    planes: tuple[Plane, ...]
    grid: VolumeGeometry
    thickness_mm: float
    frame_numbers: tuple[int | None, ...]
    """As a reference gives them: None where the instance is that frame alone.

    The XNAT OHIF viewer numbers the frames of no such instance, and shows nothing on
    one that is referred to by number.
    """


def read_source(phase: Phase) -> Source:
    """Return the planes of a DICOM phase without touching its pixels.

    Raises
    ------
    MaskError
        If the phase has no DICOM frames, a file is another instance than it was, or a
        frame has no plane.
    InputError
        If the planes are no regular stack.
    """
    if not phase.frames:
        raise _error(phase, found="no DICOM frames", needed="a DICOM series")
    with disable_value_validation():
        told = list(_plane_headers(phase))
        header = _read(phase.frames[0])
    planes = tuple(one.plane for one in told)
    grid = geometry(
        planes,
        subject=f"series {phase.series_uid}",
        frame_of_reference_uid=phase.frame_of_reference_uid,
    )
    thickness_mm = told[0].thickness_mm or grid.spacing[0]
    numbers = tuple(map(_frame_number, phase.frames, told))
    return Source(phase, header, planes, grid, thickness_mm, numbers)


def single_frame_headers(source: Source) -> list[Dataset]:
    """Return one in-memory MR header per plane, as highdicom wants its sources.

    Every phase looks like a plain single-frame series this way: a multi-frame instance
    that holds all phases has each position several times, which highdicom refuses. The
    instance UIDs are placeholders, see `source_index`. Patient and study are blank:
    highdicom checks and logs their values, so they are copied afterwards instead.
    """
    return [_placeholder(source, index) for index in range(len(source.planes))]


def source_index(placeholder_uid: str) -> int:
    """Return the index of the plane that a placeholder instance UID stands for."""
    return int(placeholder_uid.removeprefix(PLACEHOLDER_PREFIX)) - 1


def _plane_headers(phase: Phase) -> Iterator[PlaneHeader]:
    """Yield what is said of each frame, a changed multi-frame file being read once."""
    stacks: dict[Path, Sequence[Dataset]] = {}
    for frame in phase.frames:
        kept = frame.header if is_unchanged(frame) else None
        yield kept or _parsed(frame, stacks)


def _parsed(frame: FrameRef, stacks: dict[Path, Sequence[Dataset]]) -> PlaneHeader:
    found = read_plane_header(_flat_header(frame, stacks))
    if found is None:
        raise MaskError(
            f"instance {frame.sop_instance_uid}",
            found=f"no image plane of frame {frame.frame_number or 1}",
            needed="position, orientation and pixel spacing of every frame",
            mend="choose a series with complete geometry",
        )
    return found


def _flat_header(frame: FrameRef, stacks: dict[Path, Sequence[Dataset]]) -> Dataset:
    if frame.frame_number is None:
        return _read(frame, PLANE_TAGS)
    if frame.path not in stacks:
        stacks[frame.path] = tuple(flat_frames(_read(frame, PLANE_TAGS)))
    stack = stacks[frame.path]
    if frame.frame_number > len(stack):
        raise _changed(frame, f"{len(stack)} frames")
    return stack[frame.frame_number - 1]


def _read(frame: FrameRef, tags: list[str] | None = None) -> Dataset:
    header = pydicom.dcmread(frame.path, stop_before_pixels=True, specific_tags=tags)
    if header.get("SOPInstanceUID") != frame.sop_instance_uid:
        raise _changed(frame, "another instance")
    return header


def _frame_number(frame: FrameRef, header: PlaneHeader) -> int | None:
    return None if header.is_alone else frame.frame_number


def _placeholder(source: Source, index: int) -> Dataset:
    plane, first = source.planes[index], source.planes[0]
    header = Dataset()
    for keyword in LEFT_BLANK:
        setattr(header, keyword, "")
    for keyword in COPIED:
        if keyword in source.header:
            header.add(source.header[keyword])
    header.SOPClassUID = MRImageStorage
    header.SOPInstanceUID = f"{PLACEHOLDER_PREFIX}{index + 1}"
    header.SeriesInstanceUID = source.phase.series_uid
    header.Modality = "MR"
    header.Rows, header.Columns = plane.shape
    header.ImagePositionPatient = list(plane.position_mm)
    header.ImageOrientationPatient = list(first.orientation)
    header.PixelSpacing = list(first.pixel_mm)
    header.SliceThickness = source.thickness_mm
    return header


def _changed(frame: FrameRef, found: str) -> MaskError:
    return MaskError(
        f"instance {frame.sop_instance_uid}",
        found=f"{found} in its file",
        needed="the file as it was when the series was read",
        mend="run again; leave the files alone meanwhile",
    )


def _error(phase: Phase, *, found: str, needed: str) -> MaskError:
    return MaskError(
        f"series {phase.series_uid}",
        found=found,
        needed=needed,
        mend="choose a complete series of one orientation",
    )
