"""What a worker process is told, by signals and over its line to the supervisor."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Final

LOOK: Final = "look"
FAREWELL_S: Final = 20.0
"""After its supervisor's death a worker ends within this time, whatever it does."""


class Stopped(BaseException):
    """The running job is to be handed back now."""


class Orders:
    """SIGTERM once: finish the running job, then end; twice: hand it back.

    The supervisor's death counts as both.
    """

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._news = threading.Event()
        self._is_interruptible = False
        self.is_stopping = False
        self.is_hurried = False

    def listen(self) -> None:
        """Heed signals, and the line in a thread of its own."""
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._told_to_stop())
        # A terminal sends it to all processes; the supervisor decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._heed_line, daemon=True).start()

    def wait(self, limit_s: float) -> None:
        """Return when there is news, or after so long."""
        self._news.wait(limit_s)
        self._news.clear()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let ``Stopped`` be raised inside, in the main thread."""
        if self.is_hurried:
            raise Stopped
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = False

    def _told_to_stop(self) -> None:
        self.is_hurried = self.is_stopping
        self.is_stopping = True
        self._news.set()
        if self.is_hurried and self._is_interruptible:
            self._is_interruptible = False
            raise Stopped

    def _heed_line(self) -> None:
        try:
            while self._line.recv() == LOOK:
                self._news.set()
        except (EOFError, OSError):
            self._orphaned()

    def _orphaned(self) -> None:
        """End soon: without a supervisor nobody restarts or stops this process."""
        self.is_stopping = True
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(FAREWELL_S)
        os._exit(1)
