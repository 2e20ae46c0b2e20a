"""What a study will take: hours and energy by hand, and the pace behind them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cases import GRID_PX
from studies import filled, lab_at

from model import cell
from model import estimate as estimate_module
from model.carbon import Footprint
from model.cell import Lab, Task
from model.dataset import Fold
from model.energy_log import EnergyLog
from model.estimate import Pace, estimate, measure_pace
from model.experiment import Cell
from model.power import Unmetered
from model.progress import TrainConfig
from model.trace import PowerMeter

CONFIG = TrainConfig(
    grid_px=GRID_PX, epochs=10, batch=8, coarse_epochs=4, calibration_slices=2
)
FOLD = Fold(0, ("s00", "s01", "s02"), ("s03",))
PACE = Pace(step_s=1.5, slice_s=0.5, power_w=300.0)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Six cases of four slices, and no cell yet."""
    return lab_at(tmp_path, filled(tmp_path, 6))


def task(config: TrainConfig, *, looks: tuple[str, ...] = ()) -> Task:
    return Task(Cell("cell", FOLD, config), ("s04", "s05"), looks)


@pytest.mark.parametrize(
    ("planned", "seconds"),
    [
        # 6 whole epochs and 4 of a quarter, of 2 steps (12 slices in eights); each
        # predicts 4 + 2 slices, and the cell 4 to calibrate and 8 to test.
        ([task(CONFIG)], 7 * 2 * 1.5 + (10 * (4 + 2) + 4 + 8) * 0.5),
        # 4 slices more to look at, each beside its mirror image.
        ([task(CONFIG, looks=("s04",))], 21 + (72 + 2 * 4) * 0.5),
        # 3 steps of 5 slices at most, no coarse epoch.
        ([task(replace(CONFIG, batch=5, coarse_epochs=0))], 10 * 3 * 1.5 + 36),
        ([task(CONFIG)] * 3, 3 * 57),
        ([], 0),
    ],
)
def test_hours_and_energy_are_what_a_hand_counts(
    planned: Sequence[Task], seconds: float, lab: Lab
) -> None:
    found = estimate(planned, PACE, lab)
    assert found.hours == pytest.approx(seconds / 3600)
    assert found.energy_kwh == pytest.approx(0.3 * seconds / 3600)
    assert (found.trainings, found.finished) == (len(planned), 0)


def test_an_unknown_power_leaves_the_energy_unknown(lab: Lab) -> None:
    found = estimate([task(CONFIG)], replace(PACE, power_w=None), lab)
    assert found.energy_kwh is None
    assert found.hours == pytest.approx(57 / 3600)


@dataclass
class Steady:
    """A device that always draws 250 W."""

    device: str = "gpu 0"
    source: str = "nvml"

    def power_w(self) -> float | None:
        return 250.0

    def energy_j(self) -> float | None:
        return None

    def processes(self) -> int | None:
        return None


@pytest.mark.parametrize(
    ("meters", "power_w"),
    [
        ((Steady(),), 250.0),
        ((Steady(), Steady("gpu 1")), 500.0),
        ((Steady(), Unmetered("gpu 1")), None),
        ((), None),
    ],
)
def test_the_power_of_a_training_is_that_of_its_devices(
    meters: tuple[PowerMeter, ...],
    power_w: float | None,
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cell, "find_meters", lambda **_: meters)
    monkeypatch.setattr(estimate_module, "METERED_S", 0.2)
    found = measure_pace(CONFIG, lab)
    assert found.power_w == (None if power_w is None else pytest.approx(power_w))
    assert found.step_s > 0
    assert found.slice_s > 0


def test_a_power_is_the_mean_over_longer_than_a_card_s_window(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans: list[float] = []

    class Log(EnergyLog):
        def footprint(self) -> Footprint:
            found = super().footprint()
            spans.append(found.duration_s)
            return found

    monkeypatch.setattr(estimate_module, "EnergyLog", Log)
    monkeypatch.setattr(estimate_module, "METERED_S", 0.5)
    for meters in ((Steady(),), ()):
        monkeypatch.setattr(cell, "find_meters", lambda m=meters, **_: m)
        measure_pace(CONFIG, lab)
    metered_s, unmetered_s = spans
    assert unmetered_s < 0.25 < metered_s
