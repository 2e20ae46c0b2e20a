"""One device's energy, summed while its readings arrive.

Nothing is extrapolated: an interval that was not measured adds no energy and is missing
from the covered time, so a sum is a lower bound where the coverage is below 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

MAX_GAP_S = 5.0
"""Two power samples further apart say nothing about the time between them."""
UNKNOWN = "unknown"
METHODS = {
    ("nvml", "counter"): "nvml-counter",
    ("nvml", "samples"): "nvml-sampled",
    ("rapl", "counter"): "rapl",
}


class PowerMeter(Protocol):
    """What can be read from one device; a reading that fails is ``None``, never 0."""

    @property
    def device(self) -> str:
        """Name of the device, unique on this machine."""
        ...

    @property
    def source(self) -> str:
        """``nvml`` or ``rapl``."""
        ...

    def power_w(self) -> float | None:
        """Return the power drawn now."""
        ...

    def energy_j(self) -> float | None:
        """Return a counter of the energy used since some fixed moment."""
        ...

    def processes(self) -> int | None:
        """Return how many processes compute on the device now."""
        ...


def measures(meters: Sequence[PowerMeter]) -> bool:
    """Say whether there are meters, and each gives its energy or its power now."""
    readings = [(meter.energy_j(), meter.power_w()) for meter in meters]
    return bool(readings) and all(one != (None, None) for one in readings)


@dataclass(frozen=True, slots=True)
class DeviceEnergy:
    """What one device used, as far as measured; both ways where it has both."""

    device: str
    method: str
    energy_j: float | None
    covered_s: float
    counted_j: float | None
    sampled_j: float | None
    processes: int | None = None
    """Most that computed on it at once."""

    @property
    def mean_w(self) -> float | None:
        """Return the mean power over the covered time."""
        return None if self.energy_j is None else self.energy_j / self.covered_s


def integrate(samples: Sequence[tuple[float, float]]) -> float:
    """Return the joules under (time in s, power in W) samples, by the trapezoid rule.

    Times ascend, at any intervals; fewer than two samples span no time and give 0.
    """
    return sum((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairwise(samples))


@dataclass(slots=True)
class DeviceTrace:
    """The running sums of one device: constant memory however long the run."""

    device: str
    source: str
    power_w: float | None = None
    """Latest power: read, else the mean since the counter's previous reading."""
    _sample: tuple[float, float] | None = None
    _count: tuple[float, float] | None = None
    _sampled: tuple[float, float] = (0.0, 0.0)
    _counted: tuple[float, float] = (0.0, 0.0)
    _processes: int | None = None

    def record(
        self,
        t_s: float,
        *,
        power_w: float | None,
        energy_j: float | None,
        processes: int | None = None,
    ) -> None:
        """Take the readings of time ``t_s``, not before the last ones."""
        if processes is not None:
            self._processes = max(processes, self._processes or 0)
        mean_w = self._take_count(t_s, energy_j)
        self._take_sample(t_s, power_w)
        self.power_w = mean_w if power_w is None else power_w

    def measured(self) -> DeviceEnergy:
        """Return the sum of the way that covers more time, the counter if equal.

        Equal is to a millisecond, since the sums round differently.
        A total of 0 is no measurement, since no device draws no power: a counter that
        stands still falls back to the samples, and then to unknown.
        """
        counted_j, counted_s = self._counted
        sampled_j, sampled_s = self._sampled
        ways = [
            (counted_s, 1, "counter", counted_j),
            (sampled_s, 0, "samples", sampled_j),
        ]
        covered_s, _, way, energy_j = max(
            (way for way in ways if way[3] > 0),
            key=lambda way: (round(way[0], 3), way[1]),
            default=(0.0, 0, "", None),
        )
        return DeviceEnergy(
            device=self.device,
            method=METHODS.get((self.source, way), UNKNOWN),
            energy_j=energy_j,
            covered_s=covered_s,
            counted_j=counted_j if counted_j > 0 else None,
            sampled_j=sampled_j if sampled_j > 0 else None,
            processes=self._processes,
        )

    def _take_sample(self, t_s: float, power_w: float | None) -> None:
        last = self._sample
        self._sample = None if power_w is None else (t_s, power_w)
        if last is None or self._sample is None or t_s - last[0] > MAX_GAP_S:
            return
        joules, covered_s = self._sampled
        gained_j = integrate((last, self._sample))
        self._sampled = (joules + gained_j, covered_s + t_s - last[0])

    def _take_count(self, t_s: float, energy_j: float | None) -> float | None:
        """Add what the counter gained; return the mean power since its last reading.

        A counter bridges readings that failed. One that fell was reset, and what it
        held is lost.
        """
        last = self._count
        if energy_j is None or (last is not None and t_s <= last[0]):
            return None
        self._count = (t_s, energy_j)
        if last is None or energy_j < last[1]:
            return None
        gained_j, passed_s = energy_j - last[1], t_s - last[0]
        joules, covered_s = self._counted
        self._counted = (joules + gained_j, covered_s + passed_s)
        return gained_j / passed_s
