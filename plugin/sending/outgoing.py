"""A DICOM file that is to be sent, as its header tells of it."""

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext, build_context

from plugin.queue.causes import LastingError

UIDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One instance on disk; its bytes are never changed on the way."""

    path: Path
    size: int
    sop_class: UID
    sop_uid: str
    study_uid: str
    series_uid: str
    syntax: UID

    @property
    def context(self) -> tuple[UID, UID]:
        """Return class and transfer syntax: one context for each such pair."""
        return self.sop_class, self.syntax


def read_outgoing(path: Path) -> Outgoing:
    """Return what has to be known of a file before it can be sent.

    Raises
    ------
    LastingError
        If it is no whole DICOM file.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=UIDS)
        uids = [UID(header[keyword].value) for keyword in UIDS]
        syntax = UID(header.file_meta.TransferSyntaxUID)
        size = path.stat().st_size
    except (InvalidDicomError, OSError, KeyError, AttributeError, EOFError) as error:
        raise LastingError(
            f"file {path.name}",
            cause="no-dicom-file",
            found=f"a file that cannot be sent ({type(error).__name__})",
            needed="a DICOM file with its UIDs",
            mend="make the file again",
        ) from error
    sop_class, sop_uid, study_uid, series_uid = uids
    return Outgoing(path, size, sop_class, sop_uid, study_uid, series_uid, syntax)


def store_contexts(outgoing: list[Outgoing]) -> list[PresentationContext]:
    """Return the contexts that these files need, each with its one syntax."""
    pairs = dict.fromkeys(each.context for each in outgoing)
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs]
