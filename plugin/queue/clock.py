"""Moments that survive clock jumps: wall time to read, monotonic time to measure."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant: UTC, seconds since the boot, and which boot (None: unknown)."""

    at: datetime
    monotonic_s: float
    boot: str | None


Clock = Callable[[], Moment]


def machine_clock() -> Moment:
    """Return this machine's present moment."""
    return Moment(datetime.now(UTC), time.monotonic(), _boot())


def elapsed_s(start: Moment, end: Moment) -> float:
    """Return the seconds between two moments, never negative.

    Within one boot by the monotonic clock, which no correction of the time moves.
    """
    if start.boot is not None and start.boot == end.boot:
        return max(0.0, end.monotonic_s - start.monotonic_s)
    return max(0.0, (end.at - start.at).total_seconds())


def remaining_s(start: Moment, now: Moment, wait_s: float) -> float:
    """Return the seconds of a wait that are left, never more than the wait.

    A clock that now shows a time before the wait began ends the wait: too early a
    retry costs little, a stalled job costs a study.
    """
    same_boot = start.boot is not None and start.boot == now.boot
    if not same_boot and now.at < start.at:
        return 0.0
    return max(0.0, wait_s - elapsed_s(start, now))


@cache
def _boot() -> str | None:
    try:
        return BOOT_ID.read_text("ascii").strip()[:8] or None
    except (OSError, ValueError):
        return None
