"""`progress.json`: the stage of a running job, for the status page."""

import json
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

NAME: Final = "progress.json"
PAUSE_S: Final = 0.5


class ProgressFile:
    """A ``Report`` that rewrites the file whole, at each stage and now and then.

    Nothing is flushed: after a power cut the job starts anew.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = folder / NAME
        self._clock = clock
        self._stage = ""
        self._since = ""
        self._written_s = 0.0

    def __call__(self, stage: str, share: float) -> None:
        """Write the stage and its share, 0 to 1; a full disk is said and no error."""
        now_s = self._clock()
        if stage == self._stage and share < 1 and now_s - self._written_s < PAUSE_S:
            return
        if stage != self._stage:
            self._stage, self._since = stage, datetime.now(UTC).isoformat()
        self._written_s = now_s
        values = {"stage": stage, "share": round(share, 3), "since": self._since}
        beside = self._path.with_name(f"{NAME}.{os.getpid()}.part")
        try:
            beside.write_text(json.dumps(values), encoding="ascii")
            beside.replace(self._path)
        except OSError as error:
            logger.warning("progress not written: %s", error.strerror)
