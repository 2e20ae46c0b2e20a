"""DICOM files of a folder, sorted into the scans that XNAT would make of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from standin.records import MR_SESSION, Values

TAGS = [
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "InstanceNumber",
    "Modality",
    "StudyDate",
    "StudyTime",
]
SCAN_TYPES = {
    "MR": "xnat:mrScanData",
    "CT": "xnat:ctScanData",
    "PT": "xnat:petScanData",
    "US": "xnat:usScanData",
    "SEG": "xnat:segScanData",
    "SC": "xnat:scScanData",
}
SESSION_TYPES = {
    "MR": MR_SESSION,
    "CT": "xnat:ctSessionData",
    "PT": "xnat:petSessionData",
    "US": "xnat:usSessionData",
}


@dataclass(slots=True)
class Series:
    """One series: the values of its scan, and its files by the name they will have."""

    id: str
    xsi_type: str
    values: Values
    files: list[tuple[str, Path]] = field(default_factory=list)


@dataclass(slots=True)
class Study:
    """One study: the values of its session, and its series."""

    xsi_type: str
    values: Values
    series: Sequence[Series]


def read_study(folder: Path) -> Study:
    """Return the study in ``folder``; files that are no DICOM are left out."""
    headers = [
        (path, head) for path in sorted(folder.rglob("*")) if (head := _head(path))
    ]
    by_uid: dict[str, list[tuple[Path, Dataset]]] = {}
    for path, head in headers:
        by_uid.setdefault(str(head.SeriesInstanceUID), []).append((path, head))
    groups = sorted(by_uid.values(), key=lambda group: _number(group[0][1]))
    taken: set[str] = set()
    series = [_series(group, taken) for group in groups]
    first = headers[0][1] if headers else Dataset()
    modality = next((m for m in SESSION_TYPES if m in _modalities(groups)), "MR")
    return Study(SESSION_TYPES[modality], _session_values(first, modality), series)


def _head(path: Path) -> Dataset | None:
    if not path.is_file():
        return None
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
    except (InvalidDicomError, OSError):
        return None


def _modalities(groups: Sequence[Sequence[tuple[Path, Dataset]]]) -> set[str]:
    return {str(group[0][1].get("Modality", "")) for group in groups}


def _series(group: Sequence[tuple[Path, Dataset]], taken: set[str]) -> Series:
    head = group[0][1]
    modality = str(head.get("Modality", "OT"))
    identifier = _free_id(str(_number(head)), modality, taken)
    description = str(head.get("SeriesDescription", ""))
    values = {
        "UID": str(head.SeriesInstanceUID),
        "type": description or "unknown",
        "series_description": description,
        "quality": "usable",
        "modality": modality,
        "frames": str(len(group)),
    }
    files = [(_file_name(each), path) for path, each in group]
    xsi_type = SCAN_TYPES.get(modality, "xnat:otherDicomScanData")
    return Series(identifier, xsi_type, values, files)


def _free_id(number: str, modality: str, taken: set[str]) -> str:
    """Return the series number, with the suffix that XNAT adds on a clash."""
    identifier, count = number, 0
    while identifier in taken:
        count += 1
        identifier = f"{number}-{modality}{count}"
    taken.add(identifier)
    return identifier


def _file_name(head: Dataset) -> str:
    mark = crc32(str(head.SOPInstanceUID).encode())
    instance = head.get("InstanceNumber", 0)
    return f"{head.StudyInstanceUID}-{_number(head)}-{instance}-{mark:x}.dcm"


def _number(head: Dataset) -> int:
    return int(head.get("SeriesNumber") or 0)


def _session_values(head: Dataset, modality: str) -> Values:
    date, time = str(head.get("StudyDate", "")), str(head.get("StudyTime", ""))
    values = {
        "UID": str(head.get("StudyInstanceUID", "")),
        "modality": modality,
        "date": f"{date[:4]}-{date[4:6]}-{date[6:8]}" if date else "",
        "time": f"{time[:2]}:{time[2:4]}:{time[4:6]}" if time else "",
    }
    return {key: value for key, value in values.items() if value}
