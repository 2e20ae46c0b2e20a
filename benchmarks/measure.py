"""Compare ways to do one thing, in one run, on the same data.

The first way is what the others are compared with. Runs of all ways alternate, so that
a machine that slows down slows all of them. What is printed is a ratio; seconds are of
this machine in this hour.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.programs import peak_of

PACKAGES = ("numpy", "torch", "openvino", "pydicom", "highdicom", "scipy", "isal")
RESET_PEAK = "5"
"""Written to clear_refs it sets the peak to what is resident now (proc(5))."""
BANDWIDTH_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do the thing."""

    name: str
    run: Callable[[], object]
    peak: Callable[[], float | None] | None = None
    """Runs it once and returns its peak in MiB; by default this process's own."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All runs of one way."""

    name: str
    seconds: tuple[float, ...]
    peak_mib: float | None
    """Most that was resident in memory meanwhile; None where it is not told."""

    @property
    def median_s(self) -> float:
        """Half of the runs took longer."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Limit:
    """What the machine could do at best, measured in the same run."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one question."""

    question: str
    work: str
    """What one run does."""
    timings: tuple[Timing, ...]
    limit: Limit | None
    machine: Mapping[str, Any]
    notes: tuple[str, ...] = field(default_factory=tuple)
    are_parts: bool = False
    """The first timing is of a whole, the others are of its parts."""

    def ratio(self, timing: Timing) -> float:
        """Return how many times faster than the first way."""
        return self.timings[0].median_s / timing.median_s

    def compared(self, timing: Timing) -> str:
        """Return the ratio as text, of a part its share of the whole."""
        if self.are_parts:
            return f"{timing.median_s / self.timings[0].median_s:.0%}"
        return f"{self.ratio(timing):.2f}"

    def to_text(self) -> str:
        """Return the result as fixed-width text."""
        width = max(len(timing.name) for timing in self.timings)
        lines = [self.question, f"one run: {self.work}"]
        lines += [f"{key}: {value}" for key, value in self.machine.items()]
        sign = "" if self.are_parts else " x"
        for timing in self.timings:
            low, high = min(timing.seconds), max(timing.seconds)
            peak = "unknown" if timing.peak_mib is None else f"{timing.peak_mib:.0f}"
            lines.append(
                f"{timing.name:<{width}}  {self.compared(timing):>6}{sign}"
                f"  median {timing.median_s:.4g} s ({low:.4g}-{high:.4g},"
                f" n={len(timing.seconds)})  peak {peak} MiB"
            )
        if self.limit:
            share = self.limit.seconds / self.timings[-1].median_s
            lines.append(
                f"limit: {self.limit.name}, {self.limit.seconds:.4g} s;"
                f" {self.timings[-1].name} is at {share:.0%} of it"
            )
        return "\n".join([*lines, *self.notes])


def compare(
    question: str,
    ways: Sequence[Way],
    *,
    repeats: int,
    work: str,
    limit: Limit | None = None,
    notes: Sequence[str] = (),
) -> Result:
    """Run every way once to warm up and then ``repeats`` times, in turn."""
    before = os.getloadavg()[0]
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    peaks = {way.name: way.peak() if way.peak else peak_mib(way.run) for way in ways}
    for _ in range(repeats):
        for way in ways:
            seconds[way.name].append(timed(way.run))
    return Result(
        question=question,
        work=work,
        timings=tuple(
            Timing(name, tuple(found), peaks[name]) for name, found in seconds.items()
        ),
        limit=limit,
        machine=machine()
        | {"load": f"{before:.1f} before, {os.getloadavg()[0]:.1f} after"},
        notes=tuple(notes),
    )


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that a run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_mib(run: Callable[[], object]) -> float | None:
    """Return the most memory that was resident during a run, None off Linux."""
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    except OSError:
        run()
        return None
    run()
    return peak_of(os.getpid())


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    versions = {name: found for name in PACKAGES if (found := _version(name))}
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {found}" for name, found in versions.items()),
    }


def copy_limit(moved_bytes: float, *, repeats: int = 5) -> Limit:
    """Return the time in which memory copies so many bytes on this machine."""
    source = np.ones(BANDWIDTH_BYTES, np.uint8)
    target = np.empty_like(source)
    best_s = min(timed(lambda: np.copyto(target, source)) for _ in range(repeats))
    rate = BANDWIDTH_BYTES / best_s
    return Limit(f"copying at {rate / 1e9:.1f} GB/s", moved_bytes / rate)


def flop_limit(flop: float, *, repeats: int = 5, side: int = 1536) -> Limit:
    """Return the time for so many fp32 operations at the rate of a matrix product."""
    left = np.ones((side, side), np.float32)
    best_s = min(timed(lambda: left @ left) for _ in range(repeats))
    rate = 2 * side**3 / best_s
    return Limit(f"fp32 matrix product at {rate / 1e9:.0f} GFLOP/s", flop / rate)


def publish(result: Result, out: Path, name: str) -> None:
    """Print a result and keep it as JSON, for ``benchmarks.report``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    click.echo(result.to_text() + "\n")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    flags = set(named.get("flags", "").split())
    told = [
        flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags
    ]
    return f"{named.get('model name', 'unknown')} ({' '.join(told)})"
