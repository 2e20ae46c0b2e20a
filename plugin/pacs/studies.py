"""Which MR studies a PACS has: asked for by date ranges where it cuts answers short."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
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
EARLIEST = date(1980, 1, 1)
"""Where halving begins when no first day is given; earlier ones are asked for too."""
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
    """Yield the studies of a range, halved until the peer gives all of it."""
    found = ask("STUDY", _keys(first, last))
    halves = _halves(first, last)
    if not _may_be_cut(found) or (halves is None and found.is_whole):
        yield from found.rows
    elif halves is None:
        raise _too_many(f"an answer that is cut short for the single day {last}")
    else:
        if found.is_whole and first is None and last is None:
            # Studies without a date are in no range.
            yield from found.rows
        for part in halves:
            yield from _rows(ask, *part)


def _may_be_cut(found: Found) -> bool:
    return not found.is_whole or (bool(found.rows) and len(found.rows) % ROUND == 0)


def _keys(first: date | None, last: date | None) -> dict[str, str]:
    """Return the keys of a query: no more than is needed, nothing of the patient."""
    limits = [day.strftime("%Y%m%d") if day else "" for day in (first, last)]
    return dict.fromkeys(KEYS, "") | {
        "ModalitiesInStudy": "MR",
        "StudyDate": "-".join(limits) if any(limits) else "",
    }


def _halves(
    first: date | None, last: date | None
) -> tuple[tuple[date | None, date], tuple[date, date | None]] | None:
    """Return two ranges that make up one, None when it is a single day."""
    low = first or EARLIEST
    high = last or max(datetime.now(UTC).date() + DAY, low + DAY)
    if low >= high:
        return None
    middle = low + (high - low) // 2
    return (first, middle), (middle + DAY, last)


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
