"""The journal of a job: what happened, when and why; never who the patient is."""

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from plugin.queue.causes import JournalError
from plugin.queue.clock import Moment

NAME: Final = "job.json"
SCHEMA: Final = 1
TEXT_LIMIT: Final = 300
BYTES_LIMIT: Final = 8 << 20
EVENTS_LIMIT: Final = 1000
KEPT_EVENTS: Final = 500


class Kind(StrEnum):
    """What an event is."""

    RECEIVED = "received"
    ENQUEUED = "enqueued"
    TAKEN = "taken"
    PROGRESS = "progress"
    DONE = "done"
    RETRY = "retry"
    RELEASED = "released"
    RECOVERED = "recovered"
    PARKED = "parked"
    GAVE_UP = "gave-up"
    RERUN = "rerun"
    REVIVED = "revived"
    LATE = "late"
    DUPLICATE = "duplicate"


OPENS: Final = {Kind.ENQUEUED, Kind.LATE, Kind.RERUN}
STARTS_CYCLE: Final = OPENS | {Kind.REVIVED}


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a journal; ``wait_s`` and ``priority`` only where they are set."""

    moment: Moment
    kind: Kind
    cause: str = ""
    text: str = ""
    wait_s: float | None = None
    priority: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON values, without what is unset."""
        values = {
            "at": self.moment.at.isoformat(),
            "monotonic_s": round(self.moment.monotonic_s, 3),
            "boot": self.moment.boot,
            "kind": self.kind.value,
            "cause": self.cause or None,
            "text": one_line(self.text) or None,
            "wait_s": self.wait_s,
            "priority": self.priority,
        }
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read one event; ValueError, KeyError or TypeError where it is none."""
        at = datetime.fromisoformat(values["at"])
        if at.tzinfo is None:
            raise ValueError("a time without its zone")
        boot = values.get("boot")
        return cls(
            moment=Moment(at, _seconds(values["monotonic_s"]), boot and str(boot)),
            kind=Kind(values["kind"]),
            cause=str(values.get("cause", "")),
            text=str(values.get("text", "")),
            wait_s=_unless_none(_seconds, values.get("wait_s")),
            priority=_unless_none(int, values.get("priority")),
        )


@dataclass(frozen=True, slots=True)
class Journal:
    """Every event of one job, oldest first."""

    job_id: str
    events: tuple[Event, ...] = ()

    def plus(self, *events: Event) -> "Journal":
        """Return the journal with more events; a very long one loses its middle."""
        joined = (*self.events, *events)
        if len(joined) > EVENTS_LIMIT:
            joined = (joined[0], *joined[-KEPT_EVENTS:])
        return Journal(self.job_id, joined)

    @property
    def last(self) -> Event | None:
        """The event that decides where the job belongs; None in an empty journal."""
        kept = (e for e in reversed(self.events) if e.kind is not Kind.DUPLICATE)
        return next(kept, None)

    @property
    def attempts(self) -> int:
        """Runs of this cycle; one that was handed back on purpose does not count."""
        cycle = self._since(STARTS_CYCLE)
        return _count(cycle, Kind.TAKEN) - _count(cycle, Kind.RELEASED)

    @property
    def crashes(self) -> int:
        """Workers that died with the job in this cycle."""
        return _count(self._since(STARTS_CYCLE), Kind.RECOVERED)

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages reached since the job's images last changed or a person re-ran it."""
        events = self._since(OPENS)
        return tuple(e.cause for e in events if e.kind is Kind.PROGRESS)

    @property
    def priority(self) -> int:
        """Higher is taken first."""
        given = (e.priority for e in reversed(self.events) if e.priority is not None)
        return next(given, 0)

    @property
    def opened(self) -> Event | None:
        """The event from which the job waits for its turn."""
        return next((e for e in reversed(self.events) if e.kind in OPENS), None)

    def _since(self, kinds: set[Kind]) -> tuple[Event, ...]:
        starts = [i for i, event in enumerate(self.events) if event.kind in kinds]
        return self.events[starts[-1] :] if starts else self.events


def load(folder: Path) -> Journal:
    """Read the journal of the job in ``folder``, whose name is the job's id.

    FileNotFoundError where the folder is gone, JournalError where the journal is
    missing in it or damaged.
    """
    try:
        with (folder / NAME).open("rb") as file:
            data = file.read(BYTES_LIMIT + 1)
    except FileNotFoundError:
        if not folder.is_dir():
            raise
        raise _damaged(folder.name, "no journal") from None
    except (IsADirectoryError, PermissionError) as error:
        raise _damaged(folder.name, error.strerror or "an I/O error") from error
    return parse(data, folder.name)


def parse(data: bytes, job_id: str) -> Journal:
    """Read a journal from its bytes; JournalError where they are none of this job."""
    if len(data) > BYTES_LIMIT:
        raise _damaged(job_id, f"more than {BYTES_LIMIT} bytes")
    try:
        values = json.loads(data)
        if values["schema"] != SCHEMA or values["job"] != job_id:
            raise _damaged(job_id, "another schema or another job's journal")
        events = tuple(Event.from_json(event) for event in values["events"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(job_id, f"a journal with a {type(error).__name__}") from error
    return Journal(job_id, events)


def dump(journal: Journal) -> bytes:
    """Return the journal as JSON, one event a line so that people can read it."""
    lines = (json.dumps(event.to_json()) for event in journal.events)
    head = json.dumps(journal.job_id)
    body = ",\n  ".join(lines)
    return f'{{"schema": {SCHEMA}, "job": {head}, "events": [\n  {body}\n]}}\n'.encode()


def one_line(text: str) -> str:
    """Return a text as one short printable line."""
    plain = re.sub(r"\s+", " ", text).strip()
    plain = "".join(c for c in plain if c.isprintable())
    return plain if len(plain) <= TEXT_LIMIT else plain[: TEXT_LIMIT - 1] + "…"


def _count(events: tuple[Event, ...], kind: Kind) -> int:
    return sum(event.kind is kind for event in events)


def _seconds(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError("seconds below zero or without end")
    return number


def _unless_none(read: Any, value: Any) -> Any:
    return None if value is None else read(value)


def _damaged(job_id: str, found: str) -> JournalError:
    return JournalError(
        f"journal of job {job_id}",
        found=found,
        needed="the journal that this queue wrote",
        mend="look at the job's kept files, then re-run the job",
    )
