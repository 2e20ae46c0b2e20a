"""Build and write a breast mask as DICOM-SEG, the same bytes for the same inputs.

One binary SEG per mask: segment 1 right breast, segment 2 left breast, one frame per
source slice and segment (PS3.3 A.51). It refers to the pre-contrast phase alone.
"""

import hashlib
import io
import re
import uuid
from pathlib import Path

import numpy as np
from highdicom.seg import Segmentation, SegmentationTypeValues
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.uid import ExplicitVRLittleEndian

from model.atomic import write_atomically
from plugin.errors import MaskError
from plugin.provenance import (
    LABEL_PREFIX,
    MANUFACTURER,
    SOFTWARE_PREFIX,
    MaskState,
)
from plugin.seg_read import SegMask, read, read_header
from plugin.seg_source import (
    Source,
    read_source,
    single_frame_headers,
    source_index,
)
from plugin.segments import NUMBERS, Algorithm, Side, describe
from plugin.series import Phase
from plugin.version import VERSION

__all__ = ["Algorithm", "SegMask", "build", "read", "read_header", "write"]

DESCRIPTION = "BRS breast"
MARKS = {"publish": "", "review": " [REVIEW]", "hold": " [HOLD]"}
"""Verdict -> what the series description, the name in viewers, ends with."""
CONTENT_LABEL = f"{LABEL_PREFIX}BREAST"
MODEL_NAME = "brs"
SERIES_OFFSET = 1000
"""Our series sorts after those of the scanner and keeps its source's number in it."""
LARGEST_SERIES = 2**31 - 1
UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, MANUFACTURER)
NO_DATE, NO_TIME = "19000101", "000000"
"""Content date and time are mandatory; a de-identified study may have none."""
DATES = (("StudyDate", "StudyTime"), ("SeriesDate", "SeriesTime"))
Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{6}(\.\d{1,6})?")


def build(
    phase: Phase,
    masks: Masks,
    *,
    algorithm: Algorithm | None,
    verdict: str,
    state: MaskState,
    source_key: str = "",
) -> Segmentation:
    """Return the SEG of two disjoint masks (slices, rows, columns), one per frame.

    ``masks`` are the right breast's and the left one's. ``algorithm`` None means drawn
    by hand; then ``state`` is human, else a draft: a review changes the record beside
    the file, never the file. ``source_key`` tells all images that a mask was computed
    from, of which ``phase`` is one part: another pair gives another object.

    Raises
    ------
    MaskError
        If masks and phase do not fit, the masks overlap, or state or verdict is wrong.
    """
    _check_origin(phase, algorithm, verdict, state)
    source = read_source(phase)
    labels = _labels(source, *masks)
    uids = _uids(phase, algorithm, labels, source_key)
    with disable_value_validation():
        segmentation = _segmentation(source, labels, algorithm, uids)
        segmentation.SeriesDescription = DESCRIPTION + MARKS[verdict]
        segmentation.ContentDescription = f"QC {verdict}, written as {state}"
        _copy_patient(segmentation, source.header)
        _refer_to_source(segmentation, source)
        _remove_clock_and_chance(segmentation, uids[2])
        # Anew, because highdicom has indexed the placeholders.
        return Segmentation.from_dataset(segmentation, copy=False)


def write(segmentation: Segmentation, path: Path) -> None:
    """Write the SEG so that ``path`` is whole or absent, also after a power cut."""
    write_atomically(path, to_bytes(segmentation))


def to_bytes(segmentation: Segmentation) -> bytes:
    """Return the SEG as the bytes of its DICOM file."""
    buffer = io.BytesIO()
    segmentation.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _check_origin(
    phase: Phase, algorithm: Algorithm | None, verdict: str, state: MaskState
) -> None:
    expected = MaskState.HUMAN if algorithm is None else MaskState.MODEL_DRAFT
    if state is not expected:
        raise _error(phase, f"state {state}", f"state {expected} for this origin")
    if verdict not in MARKS:
        raise _error(phase, f"verdict '{verdict}'", f"one of {', '.join(MARKS)}")


def _labels(
    source: Source, right: NDArray[np.bool_], left: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return one label map of both masks, values as in ``NUMBERS``."""
    for name, mask in (("right", right), ("left", left)):
        if mask.shape != source.grid.spatial_shape:
            found = f"a {name} mask of {mask.shape}"
            raise _error(source.phase, found, f"one of {source.grid.spatial_shape}")
    right, left = right.astype(bool, copy=False), left.astype(bool, copy=False)
    overlap = int(np.count_nonzero(right & left))
    if overlap:
        raise _error(source.phase, f"{overlap} voxels on both sides", "disjoint masks")
    labels = right.astype(np.uint8) * np.uint8(NUMBERS[Side.RIGHT])
    labels[left] = NUMBERS[Side.LEFT]
    return labels


def _uids(
    phase: Phase,
    algorithm: Algorithm | None,
    labels: NDArray[np.uint8],
    source_key: str,
) -> tuple[str, str, str]:
    """Return instance, series and dimension UIDs: hashes of all that decides the mask.

    A person's mask is decided by nothing but itself, so its voxels are hashed.
    """
    parts = [f"{f.sop_instance_uid}#{f.frame_number or ''}" for f in phase.frames]
    if algorithm is None:
        parts += [VERSION, hashlib.sha256(labels.tobytes()).hexdigest()]
    else:
        weights = algorithm.weights_sha256 or algorithm.name
        parts += [source_key, VERSION, weights, algorithm.configuration]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return _uid("instance", digest), _uid("series", digest), _uid("dimension", digest)


def _uid(kind: str, digest: str) -> str:
    """Return a UUID-derived UID, PS3.5 B.2."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, f'{kind}:{digest}').int}"


def _segmentation(
    source: Source,
    labels: NDArray[np.uint8],
    algorithm: Algorithm | None,
    uids: tuple[str, str, str],
) -> Segmentation:
    date, time = _content_time(source.header)
    sha256 = None if algorithm is None else algorithm.weights_sha256
    return Segmentation(
        source_images=single_frame_headers(source),
        pixel_array=labels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[describe(side, algorithm) for side in NUMBERS],
        sop_instance_uid=uids[0],
        series_instance_uid=uids[1],
        series_number=_series_number(source.header),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=f"{SOFTWARE_PREFIX}{VERSION}",
        device_serial_number=sha256[:16] if sha256 else "none",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=False,
        content_label=CONTENT_LABEL,
        content_date=date,
        content_time=time,
    )


def _series_number(header: Dataset) -> int:
    number = int(header.get("SeriesNumber") or 0)
    return max(1, min(number + SERIES_OFFSET, LARGEST_SERIES))


def _content_time(header: Dataset) -> tuple[str, str]:
    """Return the source's first usable date and time, so that no clock is needed."""
    for date_keyword, time_keyword in DATES:
        date = str(header.get(date_keyword) or "")
        if _DATE.fullmatch(date):
            time = str(header.get(time_keyword) or "")
            return date, time if _TIME.fullmatch(time) else NO_TIME
    return NO_DATE, NO_TIME


def _copy_patient(segmentation: Segmentation, header: Dataset) -> None:
    """Copy patient and study as they are: unchecked, so that no error quotes them."""
    segmentation.copy_patient_and_study_information(header)
    if "SpecificCharacterSet" in header:
        segmentation.add(header["SpecificCharacterSet"])


def _refer_to_source(segmentation: Segmentation, source: Source) -> None:
    """Put the real instances and frame numbers in place of the placeholders.

    Without a root SourceImageSequence the XNAT OHIF viewer takes each frame's own
    reference; with one it takes the n-th item for the n-th frame, a wrong slice.
    """
    del segmentation.SourceImageSequence
    frames = source.phase.frames
    for item in _source_items(segmentation):
        index = source_index(item.ReferencedSOPInstanceUID)
        frame, number = frames[index], source.frame_numbers[index]
        item.ReferencedSOPClassUID = frame.sop_class_uid
        item.ReferencedSOPInstanceUID = frame.sop_instance_uid
        if number is not None:
            item.ReferencedFrameNumber = number
    unique = {f.sop_instance_uid: f.sop_class_uid for f in frames}
    series = segmentation.ReferencedSeriesSequence[0]
    series.ReferencedInstanceSequence = [_instance(*pair) for pair in unique.items()]


def _source_items(segmentation: Segmentation) -> list[Dataset]:
    """Return each frame's reference once: the two segments share them."""
    references = [
        item
        for groups in segmentation.PerFrameFunctionalGroupsSequence
        for item in groups.DerivationImageSequence[0].SourceImageSequence
    ]
    return list({id(item): item for item in references}.values())


def _instance(sop_instance_uid: str, sop_class_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _remove_clock_and_chance(segmentation: Segmentation, dimension_uid: str) -> None:
    """Take out what highdicom reads from the clock and draws at random."""
    del segmentation.InstanceCreationDate
    del segmentation.InstanceCreationTime
    for equipment in segmentation.ContributingEquipmentSequence:
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    for item in (
        *segmentation.DimensionOrganizationSequence,
        *segmentation.DimensionIndexSequence,
    ):
        item.DimensionOrganizationUID = dimension_uid


def _error(phase: Phase, found: str, needed: str) -> MaskError:
    return MaskError(
        f"mask of series {phase.series_uid}",
        found=found,
        needed=needed,
        mend="this is a fault in the program that made the mask; report it",
    )
