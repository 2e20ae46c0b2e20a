"""Which MR studies a PACS has: asked for by date ranges where it cuts answers short."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from fnmatch import fnmatchcase

from pydicom import Dataset
from pydicom.multival import MultiValue

from plugin.errors import ArchiveError
from plugin.pacs.target import Selection
from plugin.reading.words import BREAST
from plugin.receiving.identity import is_uid
from plugin.sending.query import Found

logger = logging.getLogger(__name__)

Ask = Callable[[str, Mapping[str, str]], Found]
"""From a level and keys to what the peer found."""

KEYS = ("StudyInstanceUID", "ModalitiesInStudy", "StudyDescription")
EARLIEST, LATEST = date(1900, 1, 1), date(2100, 1, 1)
"""Where halving begins and ends when no day is given."""
ROUND = 100
"""Archives cut answers at a round number, some without saying so."""
MOST_STUDIES = 20_000
DAY = timedelta(days=1)


def list_studies(ask: Ask, selection: Selection) -> list[str]:
    """Return the UIDs of the selected MR studies, sorted.

    Raises
    ------
    ArchiveError
        If there are too many, or the PACS cuts off even a single day.
    """
    found = {}
    for row in _rows(ask, selection.first, selection.last):
        found[str(row.get("StudyInstanceUID", ""))] = row
        if len(found) > MOST_STUDIES:
            raise _too_many(f"more than {MOST_STUDIES} studies")
    studies = {uid: row for uid, row in found.items() if is_uid(uid)}
    mr = {uid: row for uid, row in studies.items() if _is_mr(ask, uid, row)}
    chosen = sorted(uid for uid, row in mr.items() if _is_wanted(row, selection))
    if len(chosen) < len(mr) and not selection.description:
        logger.warning(
            "%d of %d MR studies are not of the breast by their description; "
            "?description=* takes all",
            len(mr) - len(chosen),
            len(mr),
        )
    return chosen


def _rows(ask: Ask, first: date | None, last: date | None) -> Iterator[Dataset]:
    """Yield the studies of a range, halved until the peer gives all of it.

    Studies without a date are in no range: the first answer has to hold them.
    """
    found = ask("STUDY", _keys(first, last))
    yield from found.rows
    if not _may_be_cut(found):
        return
    low, high = first or EARLIEST, last or LATEST
    if low < high:
        middle = low + (high - low) // 2
        yield from _rows(ask, low, middle)
        yield from _rows(ask, middle + DAY, high)
    elif not found.is_whole:
        raise _too_many(f"an answer that is cut short for the single day {low}")


def _may_be_cut(found: Found) -> bool:
    return not found.is_whole or (bool(found.rows) and len(found.rows) % ROUND == 0)


def _keys(first: date | None, last: date | None) -> dict[str, str]:
    """Return the keys of a query: no more than is needed, nothing of the patient."""
    limits = [day.strftime("%Y%m%d") if day else "" for day in (first, last)]
    return dict.fromkeys(KEYS, "") | {
        "ModalitiesInStudy": "MR",
        "StudyDate": "-".join(limits) if any(limits) else "",
    }


def _is_mr(ask: Ask, uid: str, row: Dataset) -> bool:
    """Tell whether a study has MR series; one query where the PACS does not say."""
    modalities = row.get("ModalitiesInStudy") or ""
    if isinstance(modalities, MultiValue):
        return "MR" in modalities
    if modalities:
        return "MR" in str(modalities).split("\\")
    keys = {"StudyInstanceUID": uid, "SeriesInstanceUID": "", "Modality": "MR"}
    return any(each.get("Modality") == "MR" for each in ask("SERIES", keys).rows)


def _is_wanted(row: Dataset, selection: Selection) -> bool:
    """Tell by its description whether a study is selected; silence is no reason."""
    description = str(row.get("StudyDescription") or "")
    if selection.description:
        return fnmatchcase(description.lower(), selection.description.lower())
    return not description or bool(BREAST.search(description))


def _too_many(found: str) -> ArchiveError:
    return ArchiveError(
        "the PACS",
        found=found,
        needed="a range that it can list",
        mend="narrow the archive's URI by ?from=YYYYMMDD&to=YYYYMMDD, or raise the "
        "PACS's limit of answers",
    )
