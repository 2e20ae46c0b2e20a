"""The annotation queue: the ranking with its reasons, and the review of a draft."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from model.bag import BagFeatures
from model.errors import BrsError
from model.ranking import Pick, Ranking
from plugin.archive import Archive
from plugin.errors import MaskError
from plugin.masks import read_record, review_draft
from plugin.provenance import MaskRecord
from plugin.reports.ranking import (
    detail,
    distribution_section,
    first_picks,
    places,
    verdict,
)
from plugin.web.drawn import Drawn, draw
from plugin.web.records import mapping, texts

RANKING, RESULT, PREVIEW = "ranking.json", "result.json", "preview.png"
PAGE_SIZE: Final = 25
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class Place:
    """One session in the order, with its features and where they lie in the pool."""

    pick: Pick
    features: BagFeatures
    nearest_at: float
    size_at: float


@dataclass(frozen=True, slots=True)
class Order:
    """A ranking as the page shows it."""

    headline: str
    detail: str
    strategy: str
    places: tuple[Place, ...]
    first: int
    charts: tuple[Drawn, ...]

    @property
    def pages(self) -> int:
        """Number of pages."""
        return max(1, -(-len(self.places) // PAGE_SIZE))

    def on_page(self, number: int) -> tuple[Place, ...]:
        """Return the places on a page, counted from 1."""
        return self.places[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]

    def place_of(self, session_id: str) -> Place | None:
        """Return a session's place; None for a session that is not ranked."""
        return next((p for p in self.places if p.pick.case_id == session_id), None)


@dataclass(frozen=True, slots=True)
class Draft:
    """A session's mask as the archive has it; None for what it has not."""

    record: MaskRecord | None
    verdict: str | None
    reasons: tuple[str, ...]
    preview: bytes | None


def read_order(archive: Archive) -> Order | None:
    """Return the archive's ranking; None where none was made."""
    text = archive.read(None, RANKING)
    if text is None:
        return None
    ranking = Ranking.from_json(text.decode())
    first = first_picks(ranking)
    charts = distribution_section(ranking, first).charts if ranking.picks else ()
    return Order(
        headline=verdict(ranking),
        detail=detail(ranking, {}),
        strategy=ranking.strategy,
        places=tuple(_places(ranking)),
        first=first,
        charts=draw(charts, "bag-"),
    )


def read_states(archive: Archive, sessions: Sequence[str]) -> Mapping[str, str]:
    """Return session -> state of its recorded mask, empty where none is recorded."""
    return {session: _state(archive, session) for session in sessions}


def read_draft(archive: Archive, session_id: str) -> Draft:
    """Return a session's recorded mask with its preview."""
    result = _json(archive.read(session_id, RESULT))
    said = result.get("verdict")
    return Draft(
        record=read_record(archive, session_id),
        verdict=said if isinstance(said, str) else None,
        reasons=texts(result.get("reasons")),
        preview=archive.read(session_id, PREVIEW),
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person in a role decided on the mask that the page showed."""

    session_id: str
    mask_uid: str
    accept: bool
    role: str
    at: datetime


def decide(archive: Archive, decision: Decision) -> MaskRecord:
    """Record the decision, as ``brs review`` does; return the new record.

    Raises
    ------
    MaskError
        If the session's draft is another than the one that was looked at.
    """
    record = read_record(archive, decision.session_id)
    if record is not None and record.sop_instance_uid != decision.mask_uid:
        raise MaskError(
            f"session {decision.session_id}",
            found="another draft than the one that was shown",
            needed="a decision on the present draft",
            mend="go back, reload the page, and look again",
        )
    return review_draft(
        archive,
        decision.session_id,
        accept=decision.accept,
        role=decision.role,
        now=decision.at,
    )


def _places(ranking: Ranking) -> list[Place]:
    by_id = {c.case_id: c.features for c in ranking.candidates}
    at = places([c.features for c in ranking.candidates])
    return [
        Place(pick, features, *at(features))
        for pick in ranking.picks
        for features in [by_id[pick.case_id]]
    ]


def _state(archive: Archive, session_id: str) -> str:
    try:
        record = read_record(archive, session_id)
    except BrsError:
        return UNREADABLE
    return "" if record is None else record.state.value


def _json(data: bytes | None) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(data or b"{}"))
    except ValueError:
        return {}
