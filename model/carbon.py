"""From the energy of a run to its carbon footprint, equation (6) of arXiv 2601.02538.

Measured is what the meters' devices drew as a whole, other processes included; the rest
of the machine, its power supply and cooling are not. What could not be measured is
``None``, written ``unknown``, never 0. The emission factor is given, no network asked.
"""

import csv
import io
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from model.atomic import write_atomically
from model.trace import UNKNOWN, DeviceEnergy, DeviceTrace
from model.trace import PowerMeter as PowerMeter
from model.trace import integrate as integrate

WORLD_KG_PER_KWH = 0.475
"""The paper's emission factor: kg CO2 per kWh, world mean."""
J_PER_KWH = 3.6e6
INTERVAL_S = 1.0
CARBON_COLUMNS = (
    "fold",
    "duration_s",
    "energy_kwh",
    "cfp_kg",
    "method",
    "coverage",
    "devices",
    "factor",
    "known_kwh",
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Energy and CO2 of one run, and how they were measured."""

    energy_kwh: float | None
    """What ``devices`` drew in the covered time, ``None`` if nothing was measured."""
    cfp_kg: float | None
    duration_s: float
    method: str
    """``nvml-counter``, ``nvml-sampled``, ``rapl``, ``unknown``; joined by +."""
    coverage: float
    """Share of the duration that was measured, the mean over ``devices``, 0 to 1."""
    devices: tuple[str, ...]
    factor_kg_per_kwh: float
    known_kwh: float | None = None
    """The measured part of a total that is unknown as a whole."""


def footprint(
    energy_j: float | None,
    *,
    duration_s: float,
    method: str,
    coverage: float,
    devices: Sequence[str],
    factor_kg_per_kwh: float = WORLD_KG_PER_KWH,
) -> Footprint:
    """Return the footprint of an energy, kg CO2 by equation (6) over 1000.

    As printed, (6) multiplies watts and hours by kg per kWh and forgets the 1000 W of
    a kW: its sum is grams. Here kg = factor * sum(P_i dt / 3600) / 1000.
    """
    energy_kwh = None if energy_j is None else energy_j / J_PER_KWH
    return Footprint(
        energy_kwh=energy_kwh,
        cfp_kg=None if energy_kwh is None else factor_kg_per_kwh * energy_kwh,
        duration_s=duration_s,
        method=method,
        coverage=coverage,
        devices=tuple(devices),
        factor_kg_per_kwh=factor_kg_per_kwh,
    )


def add(footprints: Sequence[Footprint]) -> Footprint:
    """Return the total of several runs, as of the folds of one training.

    One unknown part makes the total unknown and leaves the others in ``known_kwh``. The
    coverage is weighted by duration; factors that differ give their effective one.
    """
    if not footprints:
        raise ValueError("the total of no footprints has no factor")
    parts = [f.known_kwh if f.energy_kwh is None else f.energy_kwh for f in footprints]
    measured = [part for part in parts if part is not None]
    complete = all(f.energy_kwh is not None for f in footprints)
    known_kwh = sum(measured) if measured else None
    factor = _effective_factor(footprints, parts)
    duration_s = sum(f.duration_s for f in footprints)
    covered_s = sum(f.coverage * f.duration_s for f in footprints)
    return Footprint(
        energy_kwh=known_kwh if complete else None,
        cfp_kg=factor * known_kwh if complete and known_kwh is not None else None,
        duration_s=duration_s,
        method=_joined(f.method for f in footprints),
        coverage=covered_s / duration_s if duration_s > 0 else 0.0,
        devices=tuple(dict.fromkeys(d for f in footprints for d in f.devices)),
        factor_kg_per_kwh=factor,
        known_kwh=None if complete else known_kwh,
    )


def at_factor(part: Footprint, factor_kg_per_kwh: float) -> Footprint:
    """Return the same energy as CO2 of another electricity."""
    cfp_kg = None if part.energy_kwh is None else factor_kg_per_kwh * part.energy_kwh
    return replace(part, cfp_kg=cfp_kg, factor_kg_per_kwh=factor_kg_per_kwh)


def together(footprints: Sequence[Footprint]) -> Footprint:
    """Return the total of runs at the same time, each of devices of its own.

    The duration is the longest; else as ``add``.
    """
    if len(footprints) == 1:
        return footprints[0]
    total = add(footprints)
    counted = [(len(f.devices), f.coverage) for f in footprints]
    devices = sum(count for count, _ in counted)
    covered = sum(count * coverage for count, coverage in counted)
    return replace(
        total,
        duration_s=max(f.duration_s for f in footprints),
        coverage=covered / devices if devices else 0.0,
    )


def write_carbon_csv(path: Path, folds: Mapping[str, Footprint]) -> None:
    """Write one line per fold, by its name, and their ``total``.

    Columns: ``CARBON_COLUMNS``. Energies are kWh, ``cfp_kg`` kg CO2, ``factor`` kg CO2
    per kWh, ``coverage`` the share of the duration that was measured, ``devices``
    joined by ; and ``known_kwh`` the measured part of an unknown energy. What was not
    measured is ``unknown``; ``known_kwh`` is empty where ``energy_kwh`` is known.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(CARBON_COLUMNS)
    for fold, part in {**folds, "total": add(tuple(folds.values()))}.items():
        lines.writerow(_carbon_row(fold, part))
    write_atomically(path, text.getvalue().encode())


@dataclass(slots=True, eq=False)
class EnergyLog:
    """Measures the energy of what runs inside its ``with`` block.

    A background thread reads every meter each ``interval_s``. A device's energy counter
    is the truth where it has one; its sampled power is logged in any case, to
    ``power_csv`` with the columns t_s (since the start), device and power_w, which is
    ``unknown`` where it could not be read. A meter that fails leaves what it gave until
    then, and a coverage below 1.
    """

    meters: Sequence[PowerMeter]
    _: KW_ONLY
    power_csv: Path | None = None
    factor_kg_per_kwh: float = WORLD_KG_PER_KWH
    before: Footprint | None = None
    """What earlier runs of a resumed fold used: counted in, and ``power_csv`` goes on
    after its duration (what a killed run wrote beyond it stays)."""
    interval_s: float = INTERVAL_S
    clock: Callable[[], float] = time.monotonic
    _traces: list[DeviceTrace] = field(init=False)
    _stop: threading.Event = field(init=False, default_factory=threading.Event)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _thread: threading.Thread = field(init=False)
    _file: TextIO | None = field(init=False, default=None)
    _start_s: float = field(init=False, default=0.0)
    _last_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._traces = [DeviceTrace(m.device, m.source) for m in self.meters]
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)

    def __enter__(self) -> Self:
        self._file = self._open_log()
        self._start_s = self.clock()
        self._read(self._start_s)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.sample()
        if self._file is not None:
            self._file.close()

    def sample(self) -> None:
        """Read every meter once, now."""
        with self._lock:
            self._read(self.clock())

    def devices(self) -> tuple[DeviceEnergy, ...]:
        """Return what each device used in this run, by counter and by samples."""
        return self._state()[1]

    def footprint(self) -> Footprint:
        """Return the footprint up to now, or to the end, ``before`` included."""
        if self._thread.is_alive():
            self.sample()
        duration_s, devices = self._state()
        known = [d.energy_j for d in devices if d.energy_j is not None]
        covered_s = sum(d.covered_s for d in devices)
        whole_s = duration_s * len(devices)
        now = footprint(
            sum(known) if known else None,
            duration_s=duration_s,
            method=_joined(d.method for d in devices),
            coverage=min(1.0, covered_s / whole_s) if whole_s > 0 else 0.0,
            devices=[d.device for d in devices],
            factor_kg_per_kwh=self.factor_kg_per_kwh,
        )
        return now if self.before is None else add((self.before, now))

    def so_far_g(self) -> float | None:
        """Return the grams of CO2 up to now, for a carbon budget.

        A lower bound while a meter fails, ``None`` while a part is unknown.
        """
        cfp_kg = self.footprint().cfp_kg
        return None if cfp_kg is None else 1000 * cfp_kg

    def _state(self) -> tuple[float, tuple[DeviceEnergy, ...]]:
        with self._lock:
            measured = tuple(trace.measured() for trace in self._traces)
            return self._last_s - self._start_s, measured

    def _read(self, t_s: float) -> None:
        self._last_s = t_s
        for meter, trace in zip(self.meters, self._traces, strict=True):
            trace.record(t_s, power_w=meter.power_w(), energy_j=meter.energy_j())
        self._write_log()

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s):
            self.sample()

    def _open_log(self) -> TextIO | None:
        if self.power_csv is None:
            return None
        self.power_csv.parent.mkdir(parents=True, exist_ok=True)
        resumed = self.before is not None and self.power_csv.exists()
        # Line-buffered: a kill loses no reading.
        file = self.power_csv.open("a" if resumed else "w", buffering=1)
        if not resumed:
            file.write("t_s,device,power_w\n")
        return file

    def _write_log(self) -> None:
        if self._file is None:
            return
        earlier_s = 0.0 if self.before is None else self.before.duration_s
        t_s = self._last_s - self._start_s + earlier_s
        lines = csv.writer(self._file, lineterminator="\n")
        for trace in self._traces:
            lines.writerow((f"{t_s:.3f}", trace.device, _number(trace.power_w)))


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.9g}"


def _joined(methods: Iterable[str]) -> str:
    """Join the distinct methods of all parts, ``a+b``."""
    each = {one for method in methods for one in method.split("+")}
    return "+".join(sorted(each)) or UNKNOWN


def _effective_factor(
    footprints: Sequence[Footprint], parts: Sequence[float | None]
) -> float:
    """Return the factor that gives the parts' CO2 from their energy."""
    factors = [f.factor_kg_per_kwh for f in footprints]
    weights = [part or 0.0 for part in parts]
    if len(set(factors)) == 1 or not any(weights):
        return factors[-1]
    return sum(f * w for f, w in zip(factors, weights, strict=True)) / sum(weights)


def _carbon_row(fold: str, part: Footprint) -> tuple[str, ...]:
    return (
        fold,
        f"{part.duration_s:.3f}",
        _number(part.energy_kwh),
        _number(part.cfp_kg),
        part.method,
        f"{part.coverage:.4f}",
        ";".join(part.devices),
        _number(part.factor_kg_per_kwh),
        "" if part.energy_kwh is not None else _number(part.known_kwh),
    )
