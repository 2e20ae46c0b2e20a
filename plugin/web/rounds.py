"""Rounds of active learning as a page shows them: what each rests on and gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from model.active_learning import Opening, RoundRecord
from model.errors import StoreError
from plugin.archive import Archive
from plugin.reports.quantities import carbon, energy
from plugin.rounds.store import opening_name, record_name

MOST_ROUNDS: Final = 500
UNREADABLE: Final = "cannot be read"


@dataclass(frozen=True, slots=True)
class Round:
    """One round of active learning, as it was recorded, or as it is open."""

    number: int
    facts: Mapping[str, str]


def recorded_rounds(archive: Archive) -> tuple[Round, ...]:
    """Return the recorded rounds and the open one, the latest first."""
    rounds: list[Round] = []
    while len(rounds) < MOST_ROUNDS:
        number = len(rounds) + 1
        data = archive.read(None, record_name(number))
        if data is None:
            break
        rounds.append(Round(number, _recorded(data)))
    opened = archive.read(None, opening_name(len(rounds) + 1))
    if opened is not None:
        rounds.append(Round(len(rounds) + 1, _opened(opened)))
    return tuple(reversed(rounds))


def _opened(data: bytes) -> dict[str, str]:
    try:
        opening = Opening.from_json(data)
    except StoreError:
        return {"opening": UNREADABLE}
    return {
        "state": "open until its masks are drawn",
        "asked for": f"{len(opening.asked)} sessions",
        "tested on": f"{len(opening.test)} sessions",
        "strategy": opening.ranking.strategy,
    }


def _recorded(data: bytes) -> dict[str, str]:
    try:
        record = RoundRecord.from_json(data)
    except StoreError:
        return {"record": UNREADABLE}
    total, delivered = record.footprints["total"], record.delivered
    return {
        "asked for": f"{len(record.asked)} sessions by {record.ranking.strategy}",
        "learned from": f"{len(record.masks)} masks of {record.patients} patients",
        "Dice": _dice(record),
        "drawn": f"{len(delivered.published)} published, {len(delivered.review)} to "
        f"review, {len(delivered.held)} held, {len(delivered.failures)} failed",
        "minutes saved": f"{record.minutes.saved:.0f} of "
        f"{record.minutes.from_scratch:.0f} ({record.minutes.pace.source} pace)",
        "energy": energy(total.energy_kwh),
        "carbon footprint": carbon(total.cfp_kg),
        "weights": record.checkpoint_sha256[:12],
        "advice": record.advice.verdict,
        "reason": record.advice.reason,
        "closed": record.closed_at,
    }


def _dice(record: RoundRecord) -> str:
    if record.tested is None:
        return f"{record.validation_dice:.3f} in validation, nothing tested"
    return f"{record.tested.dice:.3f} on {len(record.tested.sessions)} tested sessions"
