"""Measures the energy of what runs, device by device, while it runs."""

import csv
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from model.carbon import (
    J_PER_KWH,
    WORLD_KG_PER_KWH,
    Footprint,
    add,
    device_use,
    footprint,
    joined,
    number,
)
from model.trace import DeviceEnergy, DeviceTrace, PowerMeter

INTERVAL_S = 1.0
IDLE_S = 3.0
"""Before a training: three times the second over which recent cards average power."""


@dataclass(slots=True, eq=False)
class EnergyLog:
    """Measures the energy of what runs inside its ``with`` block.

    A background thread reads every meter each ``interval_s``. A device's energy counter
    is the truth where it has one; its sampled power is logged in any case, to
    ``power_csv`` with the columns t_s (since the start), device and power_w, which is
    ``unknown`` where it could not be read. A meter that fails leaves what it gave until
    then, and a coverage below 1; one that gave nothing makes the energy unknown. With
    ``idle_s`` the block waits so long first, to know what each device draws before the
    work, unless ``idle_w`` has all of them.
    """

    meters: Sequence[PowerMeter]
    _: KW_ONLY
    power_csv: Path | None = None
    factor_kg_per_kwh: float = WORLD_KG_PER_KWH
    before: Footprint | None = None
    """What earlier runs of a resumed fold used: counted in."""
    earlier_s: float = 0.0
    """How long earlier runs took, as ``before`` says where it is given: ``power_csv``
    goes on after that (what a killed run wrote beyond it stays)."""
    interval_s: float = INTERVAL_S
    clock: Callable[[], float] = time.monotonic
    idle_s: float = 0.0
    pause: Callable[[float], None] = time.sleep
    idle_w: dict[str, float | None] = field(default_factory=dict)
    """Device -> watts while idle, ``None`` unknown. What is measured is added to it, so
    logs that share it wait once."""
    _traces: list[DeviceTrace] = field(init=False)
    _stop: threading.Event = field(init=False, default_factory=threading.Event)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _thread: threading.Thread = field(init=False)
    _file: TextIO | None = field(init=False, default=None)
    _start_s: float = field(init=False, default=0.0)
    _last_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.before is not None:
            self.earlier_s = self.before.duration_s
        self._traces = [DeviceTrace(m.device, m.source) for m in self.meters]
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)

    def __enter__(self) -> Self:
        self._file = self._open_log()
        if self.idle_s and any(m.device not in self.idle_w for m in self.meters):
            self.idle_w.update(self._baseline())
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
        known_j = sum(known) if known else None
        complete = len(known) == len(devices)
        covered_s = sum(d.covered_s for d in devices)
        whole_s = duration_s * len(devices)
        now = footprint(
            known_j if complete else None,
            duration_s=duration_s,
            method=joined(d.method for d in devices),
            coverage=min(1.0, covered_s / whole_s) if whole_s > 0 else 0.0,
            devices=[d.device for d in devices],
            factor_kg_per_kwh=self.factor_kg_per_kwh,
        )
        uses = tuple(device_use(d, self.idle_w.get(d.device)) for d in devices)
        known_kwh = None if complete or known_j is None else known_j / J_PER_KWH
        now = replace(now, by_device=uses, known_kwh=known_kwh)
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
            _record(meter, trace, t_s)
        self._write_log()

    def _baseline(self) -> dict[str, float | None]:
        """Return what each device draws while nothing of ours runs, in watts."""
        traces = [DeviceTrace(m.device, m.source) for m in self.meters]
        begin_s = self.clock()
        for meter, trace in zip(self.meters, traces, strict=True):
            _record(meter, trace, begin_s)
        self.pause(self.idle_s)
        end_s = self.clock()
        for meter, trace in zip(self.meters, traces, strict=True):
            _record(meter, trace, end_s)
        return {t.device: t.measured().mean_w for t in traces}

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s):
            self.sample()

    def _open_log(self) -> TextIO | None:
        if self.power_csv is None:
            return None
        self.power_csv.parent.mkdir(parents=True, exist_ok=True)
        resumed = self.earlier_s > 0 and self.power_csv.exists()
        # Line-buffered: a kill loses no reading.
        file = self.power_csv.open("a" if resumed else "w", buffering=1)
        if not resumed:
            file.write("t_s,device,power_w\n")
        return file

    def _write_log(self) -> None:
        if self._file is None:
            return
        t_s = self._last_s - self._start_s + self.earlier_s
        lines = csv.writer(self._file, lineterminator="\n")
        for trace in self._traces:
            lines.writerow((f"{t_s:.3f}", trace.device, number(trace.power_w)))


def _record(meter: PowerMeter, trace: DeviceTrace, t_s: float) -> None:
    trace.record(
        t_s,
        power_w=meter.power_w(),
        energy_j=meter.energy_j(),
        processes=meter.processes(),
    )
