"""The stages of one session: told to whoever waits, and timed."""

import time
from collections.abc import Callable
from typing import Final

STAGES: Final = ("find", "read", "infer", "judge", "write", "send")

Report = Callable[[str, float], None]
"""Hears the stage that a session is in, and the share of it that is done, 0 to 1."""


def unheard(_stage: str, _share: float) -> None:
    """Report to nobody."""


class Stopwatch:
    """Stages one after the other, each reported, with their wall-clock seconds."""

    def __init__(self, report: Report) -> None:
        self.laps: dict[str, float] = {}
        self._report = report
        self._stage = ""
        self._start_s = 0.0

    def begin(self, stage: str) -> None:
        """End the stage before, and begin this one."""
        self.end()
        self._stage, self._start_s = stage, time.monotonic()
        self._report(stage, 0.0)

    def end(self) -> None:
        """End the stage, if one has begun."""
        if self._stage:
            self.laps[self._stage] = round(time.monotonic() - self._start_s, 3)
