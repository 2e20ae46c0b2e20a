"""Measured minutes of annotation: a small table that a site keeps."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from plugin.archive import Archive
from plugin.errors import ConfigError

TIMINGS_FILE = "timings.csv"


def site_timings(archive: Archive, given: Path | None) -> Mapping[str, float]:
    """Return session -> minutes, from ``given``, which the project then keeps.

    Without it, from the project's own table; empty where there is none.

    Raises
    ------
    ConfigError
        If the table has other columns than case_id and minutes, or no such minutes.
    """
    stored = archive.read(None, TIMINGS_FILE) if given is None else given.read_bytes()
    if stored is None:
        return {}
    timings = _parsed(stored)
    if given is not None:
        archive.write(None, TIMINGS_FILE, stored)
    return timings


def _parsed(data: bytes) -> dict[str, float]:
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig")))
        timings = {row["case_id"]: float(row["minutes"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(f"{type(error).__name__}: {error}") from None
    wrong = [minutes for minutes in timings.values() if not 0 < minutes < math.inf]
    if wrong:
        raise _unreadable(f"{wrong[0]:g} minutes")
    return timings


def _unreadable(found: str) -> ConfigError:
    return ConfigError(
        TIMINGS_FILE,
        found=found,
        needed="columns case_id and minutes, minutes above 0",
        mend="correct the table and give it by --timings",
    )
