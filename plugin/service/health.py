"""`health.json`: workers, destinations and disk, for the status page and for people."""

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from plugin.receiving.landing import free_bytes
from plugin.sending.deliver import echo
from plugin.sending.destination import Destination
from plugin.version import VERSION

NAME: Final = "health.json"
ECHO_EVERY_S: Final = 60.0

Workers = Sequence[dict[str, str | int | None]]


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a destination answered its last C-ECHO, and what else it said."""

    reachable: bool
    at: str
    text: str


class Destinations:
    """Asks every destination now and then, in a thread: a silent one takes long."""

    def __init__(
        self,
        destinations: Sequence[Destination],
        calling_ae: str,
        *,
        ask: Callable[..., str] = echo,
        every_s: float = ECHO_EVERY_S,
    ) -> None:
        self._destinations = destinations
        self._calling_ae = calling_ae
        self._ask = ask
        self._every_s = every_s
        self._ended = threading.Event()
        self._reach: dict[str, Reach] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._go_round, name="echo", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def reach(self) -> dict[str, Reach]:
        """Return what is known; nothing of a destination not yet asked."""
        return dict(self._reach)

    def _go_round(self) -> None:
        while not self._ended.is_set():
            for destination in self._destinations:
                text = self._ask(destination, calling_ae=self._calling_ae)
                now = datetime.now(UTC).isoformat()
                self._reach[destination.name] = Reach(not text, now, text)
            self._ended.wait(self._every_s)


def write_health(
    work: Path, started: datetime, workers: Workers, reach: dict[str, Reach]
) -> None:
    """Rewrite the file whole; it is not flushed, a restart writes it anew."""
    values = {
        "destinations": {name: asdict(found) for name, found in reach.items()},
        "workers": list(workers),
        "disk_free_bytes": free_bytes(work),
        "started": started.isoformat(),
        "version": VERSION,
        "pid": os.getpid(),
        "at": datetime.now(UTC).isoformat(),
    }
    beside = work / f"{NAME}.{os.getpid()}.part"
    beside.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")
    beside.replace(work / NAME)
