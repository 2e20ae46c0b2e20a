"""What a study holds: its series, and the instances of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset

from plugin.errors import ArchiveError
from plugin.pacs.studies import Ask
from plugin.receiving.admission import KEPT_CLASSES
from plugin.receiving.identity import is_uid


@dataclass(frozen=True, slots=True)
class RemoteSeries:
    """A series by its instances, in the order of their numbers."""

    uid: str
    modality: str
    sop_uids: tuple[str, ...]

    def beginning(self) -> "RemoteSeries":
        """Return the series as if it had its first instance only."""
        return replace(self, sop_uids=self.sop_uids[:1])

    def only(self, sop_uids: set[str]) -> "RemoteSeries":
        """Return the series as if it had these instances only."""
        kept = tuple(uid for uid in self.sop_uids if uid in sop_uids)
        return replace(self, sop_uids=kept)


def list_series(ask: Ask, study_uid: str, modality: str) -> tuple[RemoteSeries, ...]:
    """Return the study's series of a modality that hold what we read, by UID.

    Raises
    ------
    ArchiveError
        If the PACS has no such study, or does not list all of it.
    """
    keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": "", "Modality": ""}
    found = ask("SERIES", keys)
    if not found.rows:
        raise _no_study(study_uid)
    uids = sorted(
        str(row.SeriesInstanceUID)
        for row in found.rows
        if row.get("Modality") == modality and is_uid(str(row.SeriesInstanceUID))
    )
    series = [
        RemoteSeries(uid, modality, _instances(ask, study_uid, uid)) for uid in uids
    ]
    return tuple(each for each in series if each.sop_uids)


def _instances(ask: Ask, study_uid: str, series_uid: str) -> tuple[str, ...]:
    keys = {
        "StudyInstanceUID": study_uid,
        "SeriesInstanceUID": series_uid,
        "SOPInstanceUID": "",
        "SOPClassUID": "",
        "InstanceNumber": "",
    }
    found = ask("IMAGE", keys)
    if not found.is_whole:
        raise _cut_short(series_uid)
    rows = sorted(filter(_is_ours_to_read, found.rows), key=_number)
    uids = [str(row.get("SOPInstanceUID", "")) for row in rows]
    return tuple(dict.fromkeys(uid for uid in uids if is_uid(uid)))


def _is_ours_to_read(row: Dataset) -> bool:
    """Tell whether an instance is of a class that is kept; silence counts as yes."""
    sop_class = row.get("SOPClassUID")
    return not sop_class or sop_class in KEPT_CLASSES


def _number(row: Dataset) -> tuple[int, str]:
    try:
        number = int(row.get("InstanceNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return number, str(row.get("SOPInstanceUID", ""))


def count(series: Sequence[RemoteSeries]) -> int:
    """Return the number of instances in all series."""
    return sum(len(each.sop_uids) for each in series)


def _no_study(study_uid: str) -> ArchiveError:
    return ArchiveError(
        f"session {study_uid}",
        found="no such study in the PACS",
        needed="the StudyInstanceUID of a study that our AE title may see",
        mend="check the UID, and what the PACS shows to our AE title",
    )


def _cut_short(series_uid: str) -> ArchiveError:
    return ArchiveError(
        f"series {series_uid}",
        found="a list of instances that the PACS cut short",
        needed="all instances, to know when they are all here",
        mend="raise the PACS's limit of answers to a query",
    )
