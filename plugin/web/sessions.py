"""Signed-in browsers: kept in memory, ended by signing out, by time, by a restart."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

LIFETIME_S: Final = 8 * 3600.0
MOST_SESSIONS: Final = 200
BYTES: Final = 24


class Sessions:
    """Open sessions, each with the token that its forms carry."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def open(self) -> str:
        """Return the name of a new session; beyond the limit the oldest ends."""
        name, csrf = secrets.token_urlsafe(BYTES), secrets.token_urlsafe(BYTES)
        with self._lock:
            self._open[name] = (csrf, self._clock() + LIFETIME_S)
            while len(self._open) > MOST_SESSIONS:
                self._open.popitem(last=False)
        return name

    def csrf(self, name: str) -> str | None:
        """Return the form token of a session; None where it is not open."""
        with self._lock:
            csrf, end_s = self._open.get(name, ("", 0.0))
            if self._clock() < end_s:
                return csrf
            self._open.pop(name, None)
        return None

    def close(self, name: str) -> None:
        """End a session."""
        with self._lock:
            self._open.pop(name, None)
