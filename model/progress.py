"""A fold's plan and its history: settings, epochs so far, and when it ends.

Defaults are the paper's Table 1 (Dice loss, RAdam 1e-3, ReduceLROnPlateau, batch 8,
shuffling only in training) with what the authors' public code adds (weight decay
3e-5, factor 0.1, patience 2, at most 100 epochs, early stopping after 10).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from model.errors import TrainingError


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides the weights, besides the cases and the engine."""

    grid_px: int = 256
    epochs: int = 100
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 3e-5
    schedule: str = "plateau"
    """``plateau`` (the paper's) or ``cosine`` (decays to zero over ``epochs``)."""
    plateau_factor: float = 0.1
    plateau_patience: int = 2
    stop_patience: int = 10
    folds: int = 5
    seed: int = 0
    mirror: bool = False
    """Beyond the paper: half of the training slices, drawn anew every epoch, are
    mirrored left to right together with their masks."""
    coarse_epochs: int = 0
    """Beyond the paper: the first epochs train on half the rows and columns, at a
    quarter of the cost."""
    calibration_slices: int = 0
    """Beyond the paper: before each validation BatchNorm's statistics are measured
    anew over so many training slices; 0 keeps the running average, which small
    batches leave noisy."""
    accumulate: int = 1
    """Parts in which a batch is computed, for cards that do not hold it at once; the
    loss stays that of the whole batch, BatchNorm sees the parts."""
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that stop a fold at its best checkpoint so far; None = no limit."""

    carbon_g: float | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One row of ``history.csv``; losses are Dice losses, 0 to 1."""

    epoch: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    duration_s: float
    emitted_g: float | None
    """Of the fold so far."""
    energy_kwh: float | None = None
    """Of this epoch."""

    def told(self, config: TrainConfig) -> str:
        """Return the epoch as a line of a log."""
        energy = (
            "unknown" if self.energy_kwh is None else f"{1e3 * self.energy_kwh:.3g}"
        )
        return (
            f"{self.epoch + 1} of at most {config.epochs}: validation loss "
            f"{self.validation_loss:.3f}, {self.duration_s:.0f} s, energy {energy} Wh"
        )


def since(history: Sequence[EpochRecord], energy_kwh: float | None) -> float | None:
    """Return what was used after ``history``, of what the fold used as a whole."""
    before = [record.energy_kwh for record in history]
    known = [used for used in before if used is not None]
    if energy_kwh is None or len(known) < len(before):
        return None
    return energy_kwh - sum(known)


def history_csv(history: Sequence[EpochRecord]) -> bytes:
    """Return ``history.csv``; what was not measured is ``unknown``."""
    text = io.StringIO()
    rows = [asdict(record) for record in history]
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        told = {k: "unknown" if value is None else value for k, value in row.items()}
        writer.writerow(told)
    return text.getvalue().encode()


def best(history: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch of the lowest validation loss, the first of equals."""
    return min(history, key=lambda record: record.validation_loss)


def finished(history: Sequence[EpochRecord], config: TrainConfig) -> str:
    """Say why a fold needs no further epoch, empty when it needs one."""
    if len(history) >= config.epochs:
        return "epochs"
    if history and len(history) - 1 - best(history).epoch >= config.stop_patience:
        return "patience"
    return ""


def over_budget(record: EpochRecord, budget: Budget, *, minutes: float) -> str:
    """Say which budget ends the fold after this epoch, empty when none does.

    Raises
    ------
    TrainingError
        If a carbon budget is given where no energy can be measured.
    """
    if budget.minutes is not None and minutes >= budget.minutes:
        return "minutes"
    if budget.carbon_g is None:
        return ""
    if record.emitted_g is None:
        raise TrainingError(
            "carbon budget",
            found="a device in use whose energy cannot be measured",
            needed="NVML for each GPU in use, readable RAPL for a CPU",
            mend="limit the training by minutes instead",
        )
    return "carbon" if record.emitted_g >= budget.carbon_g else ""
