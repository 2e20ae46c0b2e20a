"""Compare ways to do one thing, in one run, on the same data.

The first way is what the others are compared with. Runs of all ways alternate, so that
a machine that slows down slows all of them. What is printed is a ratio; seconds are of
this machine in this hour.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.machine import load, machine
from benchmarks.programs import peak_of
from model.engine import Engine

FP32 = Engine("cpu", "fp32")
PIXELS = 64
"""Rows and columns of the image that is convolved."""
RESET_PEAK = "5"
"""Written to clear_refs it sets the peak to what is resident now (proc(5))."""
BANDWIDTH_BYTES = 1 << 28
CPU_SIDE, CPU_REPEATS = 1536, 5
GPU_SIDE, GPU_REPEATS = 8448, 30
"""A GPU needs a while to raise its clock, and channels (a sixth) in multiples of 8."""


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
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What else is told of every timing, by the heading of its column."""

    def ratio(self, timing: Timing) -> float:
        """Return how many times faster than the first way."""
        return self.timings[0].median_s / timing.median_s

    @property
    def limit_share(self) -> str:
        """How near the last way is to the limit, ``unknown`` without one."""
        if self.limit is None:
            return "unknown"
        return f"{self.limit.seconds / self.timings[-1].median_s:.0%}"

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
        for index, timing in enumerate(self.timings):
            low, high = min(timing.seconds), max(timing.seconds)
            peak = "unknown" if timing.peak_mib is None else f"{timing.peak_mib:.0f}"
            lines.append(
                f"{timing.name:<{width}}  {self.compared(timing):>6}{sign}"
                f"  median {timing.median_s:.4g} s ({low:.4g}-{high:.4g},"
                f" n={len(timing.seconds)})  peak {peak} MiB"
                + "".join(f"; {k}: {v[index]}" for k, v in self.columns.items())
            )
        if self.limit:
            lines.append(
                f"limit: {self.limit.name}, {self.limit.seconds:.4g} s;"
                f" {self.timings[-1].name} is at {self.limit_share} of it"
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
    before = load()
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
        machine=machine(before),
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


def copy_limit(moved_bytes: float, *, repeats: int = 5) -> Limit:
    """Return the time in which memory copies so many bytes on this machine."""
    source = np.ones(BANDWIDTH_BYTES, np.uint8)
    target = np.empty_like(source)
    best_s = min(timed(lambda: np.copyto(target, source)) for _ in range(repeats))
    rate = BANDWIDTH_BYTES / best_s
    return Limit(f"copying at {rate / 1e9:.1f} GB/s", moved_bytes / rate)


def flop_limit(
    flop: float, engine: Engine = FP32, *, repeats: int = 0, side: int = 0
) -> Limit:
    """Return the time for so many operations at the best rate seen in this precision.

    Tried are a matrix product, and the convolution that most of the network is. 0
    takes as many ``repeats`` and as large a ``side`` as keep the device busy.
    """
    repeats = repeats or (GPU_REPEATS if engine.on_gpu else CPU_REPEATS)
    side = side or (GPU_SIDE if engine.on_gpu else CPU_SIDE)
    rates = {
        name: work / min(timed(run) for _ in range(repeats + 1))
        for name, work, run in _products(engine, side)
    }
    name = max(rates, key=lambda name: rates[name])
    rate = rates[name]
    return Limit(f"{engine.precision} {name} at {rate / 1e9:.0f} GFLOP/s", flop / rate)


def _products(
    engine: Engine, side: int
) -> Iterator[tuple[str, int, Callable[[], object]]]:
    """Yield what keeps a processor busiest: name, operations, and a run of it."""
    import torch

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[engine.precision]
    wait = torch.cuda.synchronize if engine.on_gpu else _no_wait
    ones = partial(torch.ones, dtype=kind, device=engine.device)
    square, channels = ones(side, side), side // 6
    yield "matrix product", 2 * side**3, lambda: (square @ square, wait())
    image = ones(1, channels, PIXELS, PIXELS).to(memory_format=torch.channels_last)
    kernel = ones(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    convolve = partial(torch.nn.functional.conv2d, image, kernel, padding=1)
    work = 2 * 9 * channels**2 * PIXELS**2
    yield "convolution of 3 x 3", work, lambda: (convolve(), wait())


def _no_wait() -> None:
    """Do nothing: a CPU has ended when it returns."""


def named(name: str, engine: Engine) -> str:
    """Return the name of a result: a kind of processor replaces only its own.

    Its kind is the device, and the precision that is fastest there.
    """
    return f"{name}-{engine.device}-{engine.precision}"


def tf32_notes(engine: Engine) -> tuple[str, ...]:
    """Return what fp32 means on a GPU, unless it means fp32."""
    import torch

    loose = engine.on_gpu and torch.backends.cudnn.allow_tf32
    return ("fp32 here is TF32 in cuDNN's convolutions",) if loose else ()


def rates(timings: Sequence[Timing], slices: int) -> tuple[str, ...]:
    """Return the slices a second of every way, of which one run does ``slices``."""
    return tuple(f"{slices / timing.median_s:.3g}" for timing in timings)


def publish(result: Result, out: Path, name: str) -> None:
    """Print a result and keep it as JSON, for ``benchmarks.report``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    click.echo(result.to_text() + "\n")
