"""One job in one line, as lists and the API show it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from plugin.jobs import Event, Kind, Listed, State
from plugin.queue.clock import elapsed_s
from plugin.web.words import without_uids

VERDICTS: Final = ("publish", "review", "hold")
TELLING: Final = {
    Kind.RETRY,
    Kind.RELEASED,
    Kind.RECOVERED,
    Kind.PARKED,
    Kind.GAVE_UP,
}
"""Events whose text is a reason."""
RUN_ENDS: Final = {Kind.DONE, Kind.PARKED, Kind.GAVE_UP}


@dataclass(frozen=True, slots=True)
class Row:
    """One job.

    Attributes
    ----------
    outcome
        The verdict of a done job, the cause of one that stopped, else empty.
    text
        Why it stopped, in a line for a person.
    duration_s
        Of a job that ended, from its opening to its end; None where unknown.
    """

    job_id: str
    state: State
    outcome: str = ""
    text: str = ""
    changed: datetime | None = None
    opened: datetime | None = None
    duration_s: float | None = None
    attempts: int = 0
    priority: int = 0
    wait_s: float = 0.0

    @property
    def verdict(self) -> str | None:
        """The verdict on the mask; None where there is none."""
        is_done = self.state is State.DONE and self.outcome in VERDICTS
        return self.outcome if is_done else None

    @property
    def may_rerun(self) -> bool:
        """Whether the job rests, so that it can be queued for a new run."""
        return self.state in (State.QUEUED, State.DONE, State.FAILED)

    @property
    def may_park(self) -> bool:
        """Whether the job waits, so that it can be parked."""
        return self.state in (State.INCOMING, State.QUEUED)

    def to_json(self) -> Mapping[str, Any]:
        """Return the job as the API shows it."""
        return {
            "id": self.job_id,
            "state": self.state.value,
            "verdict": self.verdict,
            "cause": self.outcome if self.verdict is None else "",
            "text": self.text,
            "changed": self.changed and self.changed.isoformat(),
            "opened": self.opened and self.opened.isoformat(),
            "duration_s": self.duration_s,
            "attempts": self.attempts,
            "priority": self.priority,
            "wait_s": self.wait_s,
        }


def row_of(listed: Listed, *, with_uids: bool) -> Row:
    """Return a listed job as a row; without leave, UIDs in its text are hidden."""
    row = _row(listed)
    return row if with_uids else replace(row, text=without_uids(row.text))


def _row(listed: Listed) -> Row:
    journal = listed.journal
    if journal is None:
        damage = listed.damage or "no journal"
        return Row(listed.job_id, listed.state, "journal-damaged", damage)
    last, opened = journal.last, journal.opened
    return Row(
        job_id=listed.job_id,
        state=listed.state,
        outcome=_outcome(listed.state, last),
        text=last.text if last is not None and last.kind in TELLING else "",
        changed=journal.events[-1].moment.at if journal.events else None,
        opened=opened.moment.at if opened is not None else None,
        duration_s=_duration_s(opened, last),
        attempts=journal.attempts,
        priority=journal.priority,
        wait_s=listed.wait_s,
    )


def said_by(event: Event) -> str:
    """Return an event's text; of a taken job the worker, without its folder's rest."""
    return event.text.partition(".")[0] if event.kind is Kind.TAKEN else event.text


def _outcome(state: State, last: Event | None) -> str:
    if last is None:
        return ""
    if last.kind is Kind.DONE:
        return last.text
    return last.cause if state in (State.FAILED, State.QUEUED) else ""


def _duration_s(opened: Event | None, last: Event | None) -> float | None:
    if opened is None or last is None or last.kind not in RUN_ENDS:
        return None
    return round(elapsed_s(opened.moment, last.moment), 3)
