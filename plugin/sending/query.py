"""C-FIND: what a peer says it has (PS3.4 C.4.1)."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)

from plugin.sending.answers import (
    SUCCESS,
    Meaning,
    meaning,
    no_context,
    refused_status,
)
from plugin.sending.association import accepts, lost
from plugin.sending.destination import Destination

PENDING = {0xFF00, 0xFF01}
CUT_SHORT = {0xFE00, 0xA700, 0xA701}
"""Final statuses of a peer that has more matches than it gives."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The matches, and whether the peer gave all that it has."""

    rows: tuple[Dataset, ...]
    is_whole: bool


def find_context() -> PresentationContext:
    """Return the context that queries need."""
    return build_context(StudyRootFind)


def find(
    association: Association, peer: Destination, level: str, keys: Mapping[str, str]
) -> Found:
    """Ask for what matches ``keys`` on a level; an empty key is only returned.

    Raises
    ------
    PassingError, LastingError
        If the peer has no C-FIND, refuses the query, or does not answer.
    """
    if not accepts(association, StudyRootFind):
        raise no_context(peer, "queries (C-FIND, study root)")
    final, rows = _asked(association, _query(level, keys))
    if final is None:
        raise lost(peer, association, "C-FIND")
    if final in CUT_SHORT and rows:
        return Found(tuple(rows), is_whole=False)
    if meaning(final) not in (Meaning.DONE, Meaning.NOTED):
        raise refused_status(peer, "C-FIND", final)
    return Found(tuple(rows), is_whole=final == SUCCESS)


def _asked(
    association: Association, query: Dataset
) -> tuple[int | None, list[Dataset]]:
    """Return the final status, None without one, and the matches."""
    rows: list[Dataset] = []
    final: int | None = None
    try:
        for status, row in association.send_c_find(query, StudyRootFind):
            final = status.get("Status")
            if final in PENDING and row is not None:
                rows.append(row)
    except RuntimeError:
        # The association ended between two requests.
        return None, rows
    return final, rows


def _query(level: str, keys: Mapping[str, str]) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query
