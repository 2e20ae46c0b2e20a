"""The table of trainings that were measured: energy beside seconds, and Dice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from benchmarks.machine import machine
from benchmarks.measure import Limit, Result, Timing
from benchmarks.trainers import Task
from model.carbon import J_PER_KWH, Footprint
from model.power import Survey
from model.trace import UNKNOWN

TF32 = (
    "by PyTorch's default cuDNN convolves fp32 in TF32 on a GPU: in the first way and"
    " in that of .nii.gz, not in the second"
)
SAME = (
    "the same first weights, batches and order; loading what is preloaded, validation"
    " and writing files are outside the measurement, and all ways keep the weights of"
    " every epoch in memory"
)


@dataclass(frozen=True, slots=True)
class Trained:
    """What one way took and what it reached."""

    name: str
    seconds: tuple[float, ...]
    """Of every epoch."""
    used: Footprint
    """Of all its epochs."""
    dices: tuple[float, ...]
    """Of the validation cases, after every epoch."""
    peak_mib: float | None
    gpu_mib: float | None
    """Most that tensors held on a GPU; None without one."""

    @property
    def epoch_j(self) -> float | None:
        """Return the joules of an epoch, the mean of all; None where unknown."""
        if self.used.energy_kwh is None:
            return None
        return self.used.energy_kwh * J_PER_KWH / len(self.seconds)

    @property
    def mean_w(self) -> float | None:
        """Return the mean power over what was measured of the time."""
        covered_s = self.used.coverage * self.used.duration_s
        if self.used.energy_kwh is None or covered_s == 0:
            return None
        return self.used.energy_kwh * J_PER_KWH / covered_s


def table(
    found: Sequence[Trained],
    task: Task,
    meters: Survey,
    *,
    limit: Limit,
    load_before: float,
) -> Result:
    """Return the result of all ways; ``limit`` is of one epoch."""
    config, slices = task.config, len(task.order(0))
    px = config.grid_px
    timings = tuple(Timing(f.name, f.seconds, f.peak_mib) for f in found)
    result = Result(
        question="an epoch of training, and its energy",
        work=f"{slices} slices of {px} x {px} px in batches of {config.batch}",
        timings=timings,
        limit=limit,
        machine=machine(load_before),
        columns=columns(found, slices, limit),
    )
    told = (*gains(found), SAME, *measured_by(found, meters))
    on_gpu = found[0].gpu_mib is not None
    notes = (*told, TF32) if on_gpu else told
    return replace(result, notes=notes)


def columns(
    found: Sequence[Trained], slices: int, limit: Limit
) -> dict[str, tuple[str, ...]]:
    """Return what is told of every way besides its seconds."""
    speeds = [slices * len(one.seconds) / sum(one.seconds) for one in found]
    told = {
        "times less energy": [
            _told(less_energy(found[0], one), ".2f") for one in found
        ],
        "J per epoch": [_told(one.epoch_j, ".4g") for one in found],
        "mean W": [_told(one.mean_w, ".3g") for one in found],
        "slices/s": [f"{speed:.3g}" for speed in speeds],
        "of the peak": [f"{limit.seconds * s / slices:.1%}" for s in speeds],
        "Dice after each epoch": [
            ", ".join(f"{dice:.3f}" for dice in one.dices) for one in found
        ],
    }
    if found[0].gpu_mib is not None:
        told["GPU peak MiB"] = [_told(one.gpu_mib, ".0f") for one in found]
    return {head: tuple(texts) for head, texts in told.items()}


def less_energy(first: Trained, other: Trained) -> float | None:
    """Return how many times less energy an epoch takes the other way."""
    if first.epoch_j is None or other.epoch_j is None:
        return None
    return first.epoch_j / other.epoch_j


def gains(found: Sequence[Trained]) -> Iterator[str]:
    """Say what the last way gains on each other one, both of the mean epoch."""
    *others, last = found
    for one in others:
        less = less_energy(one, last)
        energy = f"{UNKNOWN} energy" if less is None else f"{less:.2f} x less energy"
        faster = mean(one.seconds) / mean(last.seconds)
        told = f"{energy}, {faster:.2f} x faster by the mean"
        yield f"{last.name} against {one.name}: {told}"


def measured_by(found: Sequence[Trained], meters: Survey) -> Iterator[str]:
    """Say whose energy was measured, and whose was not."""
    used = [one.used for one in found]
    methods = "+".join(sorted({part.method for part in used}))
    names = [meter.device.split(" GPU-")[0] for meter in meters.meters]
    if names:
        yield f"energy ({methods}) is that of {' and '.join(names)} as a whole"
    yield from (f"not measured: {reason}" for reason in meters.missing)
    lowest = min(part.coverage for part in used)
    if names and lowest < 0.99:
        yield f"only {lowest:.0%} of the time of a way was measured"


def _told(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)
