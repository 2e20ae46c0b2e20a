"""How many processors this process may use: its affinity, and its container's quota.

A container with ``--cpus 4`` still sees every processor of its host, and libraries
start a thread for each.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
QUOTAS = ("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
"""Files of control groups, version 2 and 1: microseconds of processor time, per so many
microseconds."""
THREADS = "OMP_NUM_THREADS"
"""Which PyTorch and OpenBLAS obey, and OpenVINO through us."""


def available(cgroup: Path = CGROUP) -> int:
    """Return how many processors this process may use, at least 1."""
    count = _allowed()
    quota = _quota(cgroup)
    return count if quota is None else max(1, min(count, int(quota)))


def _allowed() -> int:
    """Return the processors that the scheduler may use; all, where it cannot say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroup: Path) -> float | None:
    """Return the processors' worth of time that is granted, None without a limit."""
    for names in QUOTAS:
        try:
            words = [w for name in names for w in (cgroup / name).read_text().split()]
            time_us, period_us = (int(word) for word in words)
        except (OSError, ValueError):  # another version's, or "max"
            continue
        if time_us > 0:
            return time_us / period_us
    return None


def bound_threads(
    environ: MutableMapping[str, str], cgroup: Path = CGROUP, *, processes: int = 1
) -> None:
    """Let libraries start no more threads than a quota grants, unless told by hand.

    Of several processes at once each is granted its share.
    """
    granted = max(1, available(cgroup) // processes)
    if granted < _allowed():
        environ.setdefault(THREADS, str(granted))
