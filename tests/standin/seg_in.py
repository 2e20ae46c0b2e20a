"""What the ROI API reads from a DICOM SEG, and from the scans that it refers to."""

import io
from dataclasses import dataclass

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from standin.records import Scan, Values
from standin.refused import Refused

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The identity of a SEG, and what it refers to."""

    study_uid: str
    instance_uid: str
    name: str
    """The SeriesDescription: what the viewer's import list shows."""
    date: str
    time: str
    series_uids: tuple[str, ...]
    instance_uids: tuple[str, ...]
    segments: tuple[Values, ...]


def parse(body: bytes) -> Segmentation:
    """Return what a SEG says; other bytes are refused."""
    try:
        seg = pydicom.dcmread(io.BytesIO(body), stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError):
        raise Refused(UNPROCESSABLE, "Error parsing the DICOM SEG") from None
    if seg.get("SOPClassUID") != SEGMENTATION or "SegmentSequence" not in seg:
        raise Refused(UNPROCESSABLE, "The object is no DICOM SEG")
    series = list(seg.get("ReferencedSeriesSequence", []))
    return Segmentation(
        study_uid=str(seg.StudyInstanceUID),
        instance_uid=str(seg.SOPInstanceUID),
        name=str(seg.get("SeriesDescription", "")),
        date=_date(str(seg.get("StudyDate", ""))),
        time=_time(str(seg.get("StudyTime", ""))),
        series_uids=tuple(str(each.SeriesInstanceUID) for each in series),
        instance_uids=tuple(uid for each in series for uid in _instances(each)),
        segments=tuple(_segment(each, seg) for each in seg.SegmentSequence),
    )


def _instances(series: Dataset) -> list[str]:
    found = series.get("ReferencedInstanceSequence", [])
    return [str(each.ReferencedSOPInstanceUID) for each in found]


def _segment(segment: Dataset, seg: Dataset) -> Values:
    number = segment.SegmentNumber
    return {
        "uid": str(segment.get("TrackingUID", f"{seg.SOPInstanceUID}.{number}")),
        "name": str(segment.get("SegmentLabel", "")),
        "geometricType": "SEGMENTATION",
    }


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if text else ""


def _time(text: str) -> str:
    return f"{text[:2]}:{text[2:4]}:{text[4:6]}" if text else ""


def sop_instance_uids(scan: Scan) -> set[str]:
    """Return the SOP instance UIDs of a scan's DICOM files."""
    found = set()
    for resource in list(scan.resources.values()):
        for stored in list(resource.files.values()):
            try:
                head = pydicom.dcmread(stored.path, specific_tags=["SOPInstanceUID"])
            except (InvalidDicomError, OSError):
                continue
            found.add(str(head.SOPInstanceUID))
    return found
