"""A value that is made anew at most every few seconds, however many ask for it."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Fresh(Generic[Value]):
    """Keeps what ``make`` returned for ``keep_s``; one thread makes, others wait."""

    def __init__(
        self,
        make: Callable[[], Value],
        *,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[Value, float] | None = None

    def __call__(self) -> Value:
        """Return the value, at most ``keep_s`` old."""
        with self._lock:
            if self._kept is None or self._clock() - self._kept[1] >= self._keep_s:
                self._kept = (self._make(), self._clock())
            return self._kept[0]

    def drop(self) -> None:
        """Forget the value: what it was made from was changed here."""
        with self._lock:
            self._kept = None
