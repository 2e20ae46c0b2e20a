"""`study.json`: which study a job is, and who sent it; derived from its images."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pydicom
from pydicom.filereader import read_file_meta_info

from plugin.queue.disk import write
from plugin.queue.journal import Journal
from plugin.receiving.landing import IMAGES

NAME: Final = "study.json"


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """UIDs and AE titles, nothing of the patient."""

    study_instance_uid: str = ""
    source_aes: tuple[str, ...] = ()
    """Calling AE titles of the first sender of every instance."""
    called_ae: str = ""
    first_received: str = ""
    """ISO 8601 with offset."""
    instances: int = 0
    """Image files in the job when the record was written."""


def read_study(folder: Path) -> StudyRecord:
    """Return the record of a job; an empty one where there is none to read."""
    try:
        values = json.loads((folder / NAME).read_bytes())
        return StudyRecord(**values | {"source_aes": tuple(values["source_aes"])})
    except (OSError, ValueError, TypeError, KeyError):
        return StudyRecord()


def write_study(folder: Path, journal: Journal | None, called_ae: str) -> StudyRecord:
    """Write the record of a job from its images and the one before; return it."""
    before = read_study(folder)
    images = sorted((folder / IMAGES).glob("*.dcm"))
    events = journal.events if journal is not None else ()
    first = events[0].moment.at.isoformat() if events else ""
    record = StudyRecord(
        study_instance_uid=before.study_instance_uid or _study_uid(images),
        source_aes=tuple(sorted({*before.source_aes, *_senders(images)})),
        called_ae=called_ae,
        first_received=before.first_received or first,
        instances=len(images),
    )
    if record != before:
        text = json.dumps(asdict(record), indent=1, sort_keys=True)
        write(folder / NAME, text.encode())
    return record


def _study_uid(images: list[Path]) -> str:
    for path in images[:1]:
        header = pydicom.dcmread(path, specific_tags=["StudyInstanceUID"])
        return str(header.get("StudyInstanceUID", ""))
    return ""


def _senders(images: Iterable[Path]) -> set[str]:
    """Return who sent the images, as our listener wrote it into them."""
    found = {
        str(read_file_meta_info(path).get("SourceApplicationEntityTitle", "")).strip()
        for path in images
    }
    return found - {""}
