"""From the energy of a run to its carbon footprint, equation (6) of arXiv 2601.02538.

Measured is what the meters' devices drew as a whole, other processes included; the rest
of the machine, its power supply and cooling are not. What could not be measured is
``None``, written ``unknown``, never 0. The emission factor is given, no network asked.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from model.atomic import write_atomically
from model.trace import UNKNOWN, DeviceEnergy

WORLD_KG_PER_KWH = 0.475
"""The paper's emission factor: kg CO2 per kWh, world mean."""
J_PER_KWH = 3.6e6
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
DEVICES_FILE = "devices.csv"


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """What one device drew: both ways where it has both, and what it draws anyway."""

    device: str
    method: str
    energy_kwh: float | None
    counter_kwh: float | None
    """By its energy counter."""
    sampled_kwh: float | None
    """By its sampled power."""
    covered_s: float
    idle_w: float | None
    """Before the work began; None where that was not measured."""
    processes: int | None
    """Most that computed on it at once, ours included; None where not told."""


DEVICE_COLUMNS = ("fold", *(f.name for f in fields(DeviceUse)))


@dataclass(frozen=True, slots=True)
class Footprint:
    """Energy and CO2 of one run, and how they were measured."""

    energy_kwh: float | None
    """What ``devices`` drew in the covered time, ``None`` if one was never measured."""
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
    by_device: tuple[DeviceUse, ...] = ()


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


def device_use(measured: DeviceEnergy, idle_w: float | None) -> DeviceUse:
    """Return what a device drew, in kWh."""
    energies = (measured.energy_j, measured.counted_j, measured.sampled_j)
    energy, counter, sampled = (
        None if joules is None else joules / J_PER_KWH for joules in energies
    )
    return DeviceUse(
        device=measured.device,
        method=measured.method,
        energy_kwh=energy,
        counter_kwh=counter,
        sampled_kwh=sampled,
        covered_s=measured.covered_s,
        idle_w=idle_w,
        processes=measured.processes,
    )


def as_footprint(record: Mapping[str, Any]) -> Footprint:
    """Return the footprint that ``asdict`` and JSON made a record of."""
    uses = tuple(DeviceUse(**use) for use in record.get("by_device", ()))
    known = {f.name: record[f.name] for f in fields(Footprint) if f.name in record}
    values = {**known, "devices": tuple(record["devices"]), "by_device": uses}
    return Footprint(**values)


def idle_kwh(part: Footprint) -> float | None:
    """Return what the devices would have drawn idle; None where one is not known."""
    watts = [(use.idle_w, use.covered_s) for use in part.by_device]
    known = [idle_w * covered_s for idle_w, covered_s in watts if idle_w is not None]
    complete = bool(watts) and len(known) == len(watts)
    return sum(known) / J_PER_KWH if complete else None


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
        method=joined(f.method for f in footprints),
        coverage=covered_s / duration_s if duration_s > 0 else 0.0,
        devices=tuple(dict.fromkeys(d for f in footprints for d in f.devices)),
        factor_kg_per_kwh=factor,
        known_kwh=None if complete else known_kwh,
        by_device=_device_totals(footprints),
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
    with_total = {**folds, "total": add(tuple(folds.values()))}
    for fold, part in with_total.items():
        lines.writerow(_carbon_row(fold, part))
    write_atomically(path, text.getvalue().encode())
    _write_devices(path.with_name(DEVICES_FILE), with_total)


def _write_devices(path: Path, folds: Mapping[str, Footprint]) -> None:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(DEVICE_COLUMNS)
    for fold, part in folds.items():
        for use in part.by_device:
            values = asdict(use).values()
            lines.writerow([fold, *(UNKNOWN if v is None else v for v in values)])
    write_atomically(path, text.getvalue().encode())


def number(value: float | None) -> str:
    """Return a number as tables write it, or ``unknown``."""
    return UNKNOWN if value is None else f"{value:.9g}"


def joined(methods: Iterable[str]) -> str:
    """Join the distinct methods of all parts, ``a+b``."""
    each = {one for method in methods for one in method.split("+")}
    return "+".join(sorted(each)) or UNKNOWN


def _device_totals(footprints: Sequence[Footprint]) -> tuple[DeviceUse, ...]:
    """Return each device's sum over all parts, in the order they were met."""
    met: dict[str, list[DeviceUse]] = {}
    for use in (use for part in footprints for use in part.by_device):
        met.setdefault(use.device, []).append(use)
    return tuple(_device_total(uses) for uses in met.values())


def _device_total(uses: Sequence[DeviceUse]) -> DeviceUse:
    if len(uses) == 1:
        return uses[0]
    idle = [(u.idle_w, u.covered_s) for u in uses if u.idle_w is not None]
    idle_s = sum(covered_s for _, covered_s in idle)
    counts = [use.processes for use in uses if use.processes is not None]
    return DeviceUse(
        device=uses[0].device,
        method=joined(use.method for use in uses),
        energy_kwh=_whole(use.energy_kwh for use in uses),
        counter_kwh=_whole(use.counter_kwh for use in uses),
        sampled_kwh=_whole(use.sampled_kwh for use in uses),
        covered_s=sum(use.covered_s for use in uses),
        idle_w=sum(w * s for w, s in idle) / idle_s if idle_s else None,
        processes=max(counts, default=None),
    )


def _whole(parts: Iterable[float | None]) -> float | None:
    """Return a sum that is unknown where a part is."""
    values = list(parts)
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


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
        number(part.energy_kwh),
        number(part.cfp_kg),
        part.method,
        f"{part.coverage:.4f}",
        ";".join(part.devices),
        number(part.factor_kg_per_kwh),
        "" if part.energy_kwh is not None else number(part.known_kwh),
    )
