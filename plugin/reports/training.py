"""What a training looks like: its curves, its energy and its carbon footprint."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.carbon import Footprint, add, idle_kwh
from model.figures import Samples, footprint_bars, learning_curve, power_over_time
from model.progress import EpochRecord, best
from plugin.reports.page import Cell, Chart, Column, Fact, Section, Table
from plugin.reports.quantities import UNKNOWN, carbon, duration, energy, three

FOLD_COLUMNS = (
    Column("fold", "name"),
    Column("epochs", "number"),
    Column("best epoch (from 0)", "number"),
    Column("validation Dice", "number"),
    Column("duration", "number"),
    Column("energy", "number"),
    Column("CO₂", "number"),
)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedFold:
    """One fold's epochs, its footprint, and the power samples of each device."""

    name: str
    history: Sequence[EpochRecord]
    footprint: Footprint
    power: Mapping[str, Samples] = field(default_factory=dict)
    validation_seen: int = 0
    """Validation cases that the checkpoint it began with had learned from."""

    @property
    def best(self) -> EpochRecord | None:
        """The epoch of the lowest validation loss, the first of equals."""
        return best(self.history) if self.history else None


def read_fold(
    name: str, footprint: Footprint, *, history_csv: Path, power_csv: Path
) -> TrainedFold:
    """Return a fold from the files of its training; a missing file holds nothing."""
    history = read_history(_lines(history_csv))
    return TrainedFold(name, history, footprint, _power(power_csv))


def best_fold(folds: Sequence[TrainedFold]) -> TrainedFold | None:
    """Return the fold of the best epoch, None when no epoch was completed."""
    done = [(fold.best.validation_loss, fold) for fold in folds if fold.best]
    return min(done, key=lambda entry: entry[0])[1] if done else None


def training_verdict(folds: Sequence[TrainedFold]) -> str:
    """Return the training in one sentence: how good, at what cost."""
    best = best_fold(folds)
    if best is None or best.best is None:
        return "No epoch was completed."
    dice = 1 - best.best.validation_loss
    total = add([fold.footprint for fold in folds])
    cost = (
        f"for {carbon(total.cfp_kg)}"
        if total.cfp_kg is not None
        else "at an unknown cost"
    )
    return f"Validation Dice {dice:.3f}, {cost}."


def training_sections(folds: Sequence[TrainedFold]) -> list[Section]:
    """Return the learning curves with one row per fold, then energy and carbon."""
    return [learning_section(folds), _carbon(folds)]


def learning_section(folds: Sequence[TrainedFold]) -> Section:
    """Return the learning curves with one row per fold."""
    best = best_fold(folds)
    table = None
    if folds:
        caption = f"{len(folds)} fold{'s' * (len(folds) > 1)}, split by patient"
        table = Table(caption, FOLD_COLUMNS, [_row(fold) for fold in folds])
    chart = Chart(
        learning_curve(*(fold.history for fold in folds)),
        "Learning curve",
        _curve_alt(folds),
        "Dice loss by epoch; a dot marks the best epoch, whose weights are kept",
    )
    text = f"The weights of fold {best.name} are kept." if best else ""
    text += _seen(folds)
    return Section("learning", "Learning", text=text, table=table, charts=[chart])


def _seen(folds: Sequence[TrainedFold]) -> str:
    """Say where validation is on cases that were learned from, empty when nowhere."""
    names = ", ".join(fold.name for fold in folds if fold.validation_seen)
    if not names:
        return ""
    return (
        f" In fold {names} the checkpoint to begin with had learned from validation "
        "cases: validation Dice is too high there."
    )


def _row(fold: TrainedFold) -> list[Cell]:
    best = fold.best
    return [
        Cell(f"fold {fold.name}"),
        Cell(str(len(fold.history))),
        Cell(str(best.epoch) if best else "none"),
        Cell(f"{1 - best.validation_loss:.3f}" if best else "none"),
        Cell(duration(fold.footprint.duration_s)),
        Cell(energy(fold.footprint.energy_kwh)),
        Cell(carbon(fold.footprint.cfp_kg)),
    ]


def _curve_alt(folds: Sequence[TrainedFold]) -> str:
    ends = [
        f"fold {fold.name} falls from {fold.history[0].validation_loss:.3f} to "
        f"{fold.best.validation_loss:.3f} at epoch {fold.best.epoch}"
        for fold in folds
        if fold.best
    ]
    return f"Validation Dice loss by epoch: {'; '.join(ends) or 'no epoch'}."


def _carbon(folds: Sequence[TrainedFold]) -> Section:
    title = "Energy and carbon footprint"
    if not folds:
        return Section("carbon", title, text="Nothing was trained.")
    total = add([fold.footprint for fold in folds])
    bars = {fold.name: fold.footprint for fold in folds}
    charts = [footprint_chart(bars)] if len(folds) > 1 else []
    charts += [_power_chart(fold) for fold in folds if fold.power]
    return Section(
        "carbon", title, _unread(folds), facts=cost_facts(total), charts=charts
    )


def _unread(folds: Sequence[TrainedFold]) -> str:
    """Say of which folds no power could be read, empty when of none."""
    names = [fold.name for fold in folds if not fold.power]
    if len(names) == len(folds):
        return "Power over time is unknown: no readable meter."
    of = f"fold{'s' * (len(names) > 1)} {', '.join(names)}"
    return f"Power over time is unknown for {of}: no readable meter." if names else ""


def cost_facts(total: Footprint) -> list[Fact]:
    """Return what a training drew and emitted, and how that was measured."""
    part = ""
    if total.energy_kwh is None and total.known_kwh is not None:
        part = f"at least {three(1000 * total.known_kwh)} Wh"
    devices = ", ".join(total.devices) or "no device with a readable meter"
    factor = f"{total.factor_kg_per_kwh:.3f} kg CO₂ per kWh"
    return [
        Fact("Energy", energy(total.energy_kwh), part),
        Fact("Carbon footprint", carbon(total.cfp_kg), f"at {factor}"),
        Fact("Duration", duration(total.duration_s)),
        Fact(
            "Method",
            total.method.replace("+", " + "),
            f"{total.coverage:.0%} of the time measured",
        ),
        Fact("Devices", devices, "as a whole; the rest of the machine is not in it"),
        *_idle_facts(total),
    ]


def _idle_facts(total: Footprint) -> list[Fact]:
    """Return what of the energy was no work of ours, as far as that is known."""
    facts = []
    idle = idle_kwh(total)
    if idle is not None:
        facts.append(
            Fact("Of it idle", energy(idle), "at the power before the work began")
        )
    counts = [d.processes for d in total.by_device if d.processes is not None]
    if counts:
        note = "most at once on one GPU, ours included; all are in the energy"
        facts.append(Fact("Processes seen", str(max(counts)), note))
    return facts


def footprint_chart(folds: Mapping[str, Footprint]) -> Chart:
    """Return the carbon footprint of every fold as bars."""
    named = ", ".join(
        f"fold {name} {carbon(part.cfp_kg)}" for name, part in folds.items()
    )
    return Chart(
        footprint_bars({f"fold {name}": part for name, part in folds.items()}),
        "Footprint by fold",
        f"Carbon footprint by fold: {named}.",
        "g CO₂, with the energy",
    )


def _power_chart(fold: TrainedFold) -> Chart:
    return Chart(
        power_over_time(fold.power),
        f"Power, fold {fold.name}",
        f"Power over the time of fold {fold.name}: {', '.join(fold.power)}.",
        "W, as sampled",
    )


def read_history(lines: Iterable[str]) -> list[EpochRecord]:
    """Return the epochs in the lines of a fold's ``history.csv``."""
    return [
        EpochRecord(
            epoch=int(row["epoch"]),
            train_loss=float(row["train_loss"]),
            validation_loss=float(row["validation_loss"]),
            learning_rate=float(row["learning_rate"]),
            duration_s=float(row["duration_s"]),
            emitted_g=_number(row["emitted_g"]),
            energy_kwh=_number(row.get("energy_kwh", UNKNOWN)),
        )
        for row in csv.DictReader(lines)
    ]


def _power(path: Path) -> dict[str, Samples]:
    traces: dict[str, list[tuple[float, float | None]]] = {}
    for row in csv.DictReader(_lines(path)):
        reading = (float(row["t_s"]), _number(row["power_w"]))
        traces.setdefault(row["device"], []).append(reading)
    return dict(traces)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _number(text: str) -> float | None:
    return None if text == UNKNOWN else float(text)
