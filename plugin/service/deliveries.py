"""`deliveries.json`: what every destination has of a job's mask; written durably."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from plugin.queue.causes import Cause
from plugin.queue.disk import write
from plugin.queue.journal import one_line

NAME: Final = "deliveries.json"


class Sent(StrEnum):
    """How far a delivery is."""

    WAITING = "waiting"
    SENT = "sent"
    """Taken by a destination that cannot be asked."""
    CONFIRMED = "confirmed"
    """The destination said that it has it."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mask to one destination."""

    state: Sent
    attempts: int
    at: str
    """ISO 8601 with offset, of the last change."""
    sop_instance_uid: str
    cause: str = ""
    text: str = ""


class Deliveries:
    """The deliveries of a held job."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._known = _read(self._path)

    def of(self, destination: str, uid: str) -> Delivery | None:
        """Return a destination's delivery of this mask; None before the first."""
        known = self._known.get(destination)
        return known if known is not None and known.sop_instance_uid == uid else None

    def begin(self, destination: str, uid: str) -> None:
        """Record that an attempt begins."""
        known = self.of(destination, uid)
        attempts = known.attempts + 1 if known is not None else 1
        self._record(destination, Delivery(Sent.WAITING, attempts, "", uid))

    def end(self, destination: str, state: Sent, cause: Cause | None = None) -> None:
        """Record how the attempt that was begun has ended."""
        code, text = (cause.code, one_line(cause.text)) if cause else ("", "")
        begun = self._known[destination]
        self._record(destination, replace(begun, state=state, cause=code, text=text))

    def reopen(self, destination: str) -> None:
        """Record that a delivery is to be made, or looked at, again."""
        known = self._known[destination]
        self._record(destination, replace(known, state=Sent.WAITING))

    def _record(self, destination: str, delivery: Delivery) -> None:
        self._known[destination] = replace(delivery, at=datetime.now(UTC).isoformat())
        values = {name: asdict(known) for name, known in self._known.items()}
        write(self._path, json.dumps(values, indent=1, sort_keys=True).encode())


def _read(path: Path) -> dict[str, Delivery]:
    """Return what is recorded; a damaged file is nothing: destinations are asked."""
    try:
        values = json.loads(path.read_bytes())
        return {
            name: Delivery(**delivery | {"state": Sent(delivery["state"])})
            for name, delivery in values.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
