"""Equation 6, totals that keep the unknown apart, and the log around a run."""

import csv
import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nvml_stub import Gpu, NvmlStub

from model.carbon import (
    CARBON_COLUMNS,
    Footprint,
    add,
    as_footprint,
    footprint,
    idle_kwh,
    write_carbon_csv,
)
from model.energy_log import EnergyLog
from model.power import find_meters
from model.trace import PowerMeter, integrate


def measured(energy_j: float | None, **changes: float | str) -> Footprint:
    known = footprint(
        energy_j,
        duration_s=100.0,
        method="nvml-counter" if energy_j is not None else "unknown",
        coverage=1.0 if energy_j is not None else 0.0,
        devices=("gpu",),
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def test_equation_6_gives_kg_only_when_watts_become_kilowatts() -> None:
    """300 W for two hours: 0.6 kWh, 0.285 kg; as printed it would be 285 kg."""
    joules = integrate([(t_s, 300.0) for t_s in range(0, 7201, 60)])
    found = footprint(
        joules, duration_s=7200, method="nvml-sampled", coverage=1.0, devices=["gpu"]
    )
    as_printed = 0.475 * sum(300 * 60 / 3600 for _ in range(120))
    assert found.energy_kwh == pytest.approx(0.6)
    assert found.cfp_kg == pytest.approx(as_printed / 1000) == pytest.approx(0.285)


def test_an_own_factor_is_used_and_kept() -> None:
    found = footprint(
        3.6e6,
        duration_s=1,
        method="rapl",
        coverage=1.0,
        devices=["cpu"],
        factor_kg_per_kwh=0.1,
    )
    assert found.cfp_kg == pytest.approx(0.1)
    assert found.factor_kg_per_kwh == 0.1


def test_an_unknown_energy_has_an_unknown_footprint() -> None:
    assert (measured(None).energy_kwh, measured(None).cfp_kg) == (None, None)


@given(st.lists(st.floats(1, 1e8), min_size=1, max_size=6))
@settings(deadline=None)
def test_a_total_is_the_sum_of_its_folds(joules: list[float]) -> None:
    total = add([measured(j) for j in joules])
    assert total.energy_kwh == pytest.approx(sum(joules) / 3.6e6)
    assert total.cfp_kg == pytest.approx(0.475 * sum(joules) / 3.6e6)
    assert total.duration_s == pytest.approx(100 * len(joules))
    assert total.coverage == pytest.approx(1)
    assert total.known_kwh is None


def test_one_unknown_fold_makes_the_total_unknown_and_keeps_the_known() -> None:
    total = add([measured(3.6e6), measured(None), measured(7.2e6)])
    assert (total.energy_kwh, total.cfp_kg) == (None, None)
    assert total.known_kwh == pytest.approx(1 + 2)
    assert total.coverage == pytest.approx(2 / 3)
    assert total.method == "nvml-counter+unknown"


def test_a_total_of_totals_keeps_the_known_too() -> None:
    inner = add([measured(3.6e6), measured(None)])
    assert add([inner, measured(3.6e6)]).known_kwh == pytest.approx(1 + 1)


def test_unknown_folds_alone_have_no_known_part() -> None:
    assert add([measured(None), measured(None)]).known_kwh is None


def test_a_total_weighs_coverage_by_duration_and_joins_methods() -> None:
    long = measured(3.6e6, duration_s=300.0, coverage=0.5, method="nvml-sampled+rapl")
    total = add([long, measured(3.6e6)])
    assert total.coverage == pytest.approx((0.5 * 300 + 1.0 * 100) / 400)
    assert total.method == "nvml-counter+nvml-sampled+rapl"
    assert total.devices == ("gpu",)


def test_a_total_over_two_factors_has_their_effective_one() -> None:
    clean = measured(2 * 3.6e6, factor_kg_per_kwh=0.1, cfp_kg=0.2)
    total = add([clean, measured(3.6e6)])
    assert total.cfp_kg == pytest.approx(2 * 0.1 + 1 * 0.475)
    assert total.factor_kg_per_kwh == pytest.approx((2 * 0.1 + 0.475) / 3)


def test_there_is_no_total_of_nothing() -> None:
    with pytest.raises(ValueError, match="no footprints"):
        add([])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_carbon_csv_has_a_line_per_fold_and_the_total(tmp_path: Path) -> None:
    path = tmp_path / "carbon.csv"
    write_carbon_csv(path, {"0": measured(3.6e6), "1": measured(None)})
    first, second, total = rows(path)
    assert tuple(first) == CARBON_COLUMNS
    assert [row["fold"] for row in (first, second, total)] == ["0", "1", "total"]
    assert (float(first["energy_kwh"]), float(first["cfp_kg"])) == (1, 0.475)
    assert (first["coverage"], first["factor"]) == ("1.0000", "0.475")
    assert first["known_kwh"] == ""
    assert {second[key] for key in ("energy_kwh", "cfp_kg", "known_kwh")} == {"unknown"}
    assert (total["energy_kwh"], total["known_kwh"]) == ("unknown", "1")
    assert float(total["duration_s"]) == 200


@dataclass
class Clock:
    """Time that passes only when told to."""

    now_s: float = 500.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakeMeter:
    """A device of constant power that may have a counter, and may die."""

    clock: Clock
    watts: float = 200.0
    counter: bool = True
    dies_at_s: float = float("inf")
    device: str = "gpu-0"
    source: str = "nvml"
    others: int = 0

    def power_w(self) -> float | None:
        return self.watts if self.clock() < self.dies_at_s else None

    def energy_j(self) -> float | None:
        alive = self.counter and self.clock() < self.dies_at_s
        return self.watts * self.clock() if alive else None

    def processes(self) -> int | None:
        return self.others + 1 if self.source == "nvml" else None


NEVER_S = 3600.0
"""Sampling interval of a background thread that is to stay silent."""


def run_for(log: EnergyLog, clock: Clock, seconds: int) -> None:
    """Sample once a second of fake time, as the thread does in real time."""
    for _ in range(seconds):
        clock.now_s += 1
        log.sample()


def logged(meters: Sequence[PowerMeter], clock: Clock, *, seconds: int) -> Footprint:
    with EnergyLog(meters, interval_s=NEVER_S, clock=clock) as log:
        run_for(log, clock, seconds)
    return log.footprint()


@pytest.mark.parametrize("counter", [True, False])
def test_a_constant_load_is_measured_either_way(counter: bool) -> None:  # noqa: FBT001
    clock = Clock()
    found = logged([FakeMeter(clock, counter=counter)], clock, seconds=60)
    assert found.energy_kwh == pytest.approx(200 * 60 / 3.6e6)
    assert found.cfp_kg == pytest.approx(0.475 * 200 * 60 / 3.6e6)
    assert (found.duration_s, found.coverage) == (60, 1)
    assert found.method == ("nvml-counter" if counter else "nvml-sampled")


def test_several_devices_are_added_and_named() -> None:
    clock = Clock()
    cpu = FakeMeter(clock, watts=65, device="cpu", source="rapl")
    found = logged([FakeMeter(clock), cpu], clock, seconds=10)
    assert found.energy_kwh == pytest.approx((200 + 65) * 10 / 3.6e6)
    assert found.method == "nvml-counter+rapl"
    assert found.devices == ("gpu-0", "cpu")


@pytest.mark.parametrize("counter", [True, False])
def test_a_meter_that_fails_midway_keeps_what_it_gave(counter: bool) -> None:  # noqa: FBT001
    clock = Clock()
    meter = FakeMeter(clock, counter=counter, dies_at_s=clock.now_s + 30.5)
    found = logged([meter], clock, seconds=40)
    assert found.energy_kwh == pytest.approx(200 * 30 / 3.6e6)
    assert found.coverage == pytest.approx(30 / 40)
    assert found.duration_s == 40


def test_a_device_never_measured_makes_the_energy_unknown() -> None:
    clock = Clock()
    mute = FakeMeter(clock, dies_at_s=0, device="gpu-1")
    found = logged([FakeMeter(clock), mute], clock, seconds=10)
    assert (found.energy_kwh, found.cfp_kg) == (None, None)
    assert found.known_kwh == pytest.approx(200 * 10 / 3.6e6)
    assert found.coverage == pytest.approx(1 / 2)
    assert found.method == "nvml-counter+unknown"


@pytest.mark.parametrize("has_meter", [True, False])
def test_nothing_measured_is_unknown_not_zero(has_meter: bool) -> None:  # noqa: FBT001
    clock = Clock()
    meters = [FakeMeter(clock, dies_at_s=0)] if has_meter else []
    found = logged(meters, clock, seconds=10)
    assert (found.energy_kwh, found.cfp_kg) == (None, None)
    assert (found.coverage, found.method) == (0, "unknown")
    assert found.duration_s == 10


def test_grams_so_far_are_of_this_moment() -> None:
    clock = Clock()
    with EnergyLog([FakeMeter(clock)], interval_s=NEVER_S, clock=clock) as log:
        assert log.so_far_g() is None
        clock.now_s += 3600
        assert log.so_far_g() == pytest.approx(0.475 * 200)
    clock.now_s += 3600
    assert log.so_far_g() == pytest.approx(0.475 * 200)


def test_a_log_not_yet_started_knows_nothing() -> None:
    clock = Clock()
    log = EnergyLog([FakeMeter(clock)], clock=clock)
    assert log.footprint().energy_kwh is None
    assert log.footprint().duration_s == 0


def test_an_error_inside_leaves_the_energy_used_until_then() -> None:
    clock = Clock()
    log = EnergyLog([FakeMeter(clock)], interval_s=NEVER_S, clock=clock)
    with suppress(KeyboardInterrupt), log:
        run_for(log, clock, 5)
        raise KeyboardInterrupt
    assert log.footprint().energy_kwh == pytest.approx(200 * 5 / 3.6e6)


def test_power_csv_has_a_line_per_device_and_second(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "run" / "power.csv"
    gpu = FakeMeter(clock, dies_at_s=clock.now_s + 1.5)
    cpu = FakeMeter(clock, watts=65, device="cpu", source="rapl")
    with EnergyLog([gpu, cpu], power_csv=path, interval_s=NEVER_S, clock=clock) as log:
        run_for(log, clock, 2)
        during = rows(path)
    assert [row["t_s"] for row in during[::2]] == ["0.000", "1.000", "2.000"]
    assert [row["power_w"] for row in during[::2]] == ["200", "200", "unknown"]
    assert [row["power_w"] for row in during[1::2]] == ["65"] * 3
    assert [row["device"] for row in during[:2]] == ["gpu-0", "cpu"]
    assert len(rows(path)) == 2 * 4


def test_sampled_power_is_logged_beside_a_counter() -> None:
    clock = Clock()
    log = EnergyLog([FakeMeter(clock)], interval_s=NEVER_S, clock=clock)
    with log:
        run_for(log, clock, 10)
    (device,) = log.devices()
    assert (device.counted_j, device.sampled_j) == pytest.approx((2000, 2000))


def test_a_device_s_idle_power_is_known_from_before_the_work() -> None:
    clock = Clock()
    card = FakeMeter(clock, watts=50, counter=False)
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        clock.now_s += seconds

    log = EnergyLog([card], interval_s=NEVER_S, clock=clock, idle_s=3, pause=pause)
    with log:
        card.watts = 200
        run_for(log, clock, 10)
    found = log.footprint()
    assert waited == [3]
    assert found.duration_s == 10, "the wait is not of the run"
    assert found.by_device[0].idle_w == pytest.approx(50)
    assert idle_kwh(found) == pytest.approx(50 * 10 / 3.6e6)


def test_idle_power_is_measured_once_for_all_logs_that_share_it() -> None:
    clock = Clock()
    waited: list[float] = []
    known: dict[str, float | None] = {}

    def log(*devices: str) -> EnergyLog:
        cards = [FakeMeter(clock, watts=50, device=device) for device in devices]
        return EnergyLog(
            cards, clock=clock, idle_s=3, pause=waited.append, idle_w=known
        )

    with log("gpu 0"), log("gpu 0"):
        pass
    assert (waited, list(known)) == ([3], ["gpu 0"])
    with log("gpu 0", "gpu 1"):
        pass
    assert (waited, list(known)) == ([3, 3], ["gpu 0", "gpu 1"])


def test_without_a_meter_nobody_waits_and_nothing_is_idle() -> None:
    with EnergyLog([], idle_s=3, pause=lambda _: pytest.fail("waited")) as log:
        pass
    assert idle_kwh(log.footprint()) is None


def test_the_most_processes_seen_on_a_device_are_kept() -> None:
    clock = Clock()
    card = FakeMeter(clock)
    with EnergyLog([card], interval_s=NEVER_S, clock=clock) as log:
        card.others = 2
        run_for(log, clock, 1)
        card.others = 0
        run_for(log, clock, 1)
    (use,) = log.footprint().by_device
    assert use.processes == 3


def test_a_device_s_parts_are_added_over_folds_and_both_ways_stand_side_by_side(
    tmp_path: Path,
) -> None:
    clock = Clock()
    cards = [FakeMeter(clock), FakeMeter(clock, device="cpu-0", source="rapl")]
    fold = logged(cards, clock, seconds=18)
    write_carbon_csv(tmp_path / "carbon.csv", {"0": fold, "1": fold})
    with (tmp_path / "devices.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [(row["fold"], row["device"]) for row in found] == [
        (name, device) for name in ("0", "1", "total") for device in ("gpu-0", "cpu-0")
    ]
    total = found[-2]
    # 200 W for 36 s are 2 Wh.
    assert float(total["counter_kwh"]) == pytest.approx(0.002)
    assert float(total["sampled_kwh"]) == pytest.approx(0.002)
    assert (total["processes"], total["idle_w"]) == ("1", "unknown")
    assert found[-1]["processes"] == "unknown", "a CPU is shared by all"


def test_a_footprint_comes_back_from_json_with_its_devices() -> None:
    clock = Clock()
    found = logged([FakeMeter(clock)], clock, seconds=10)
    record = json.loads(json.dumps(asdict(found)))
    assert as_footprint(record) == found
    del record["by_device"]
    assert as_footprint(record).by_device == (), "as older versions wrote it"


def test_a_resumed_run_counts_what_was_used_before(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "power.csv"
    first = EnergyLog(
        [FakeMeter(clock)], power_csv=path, interval_s=NEVER_S, clock=clock
    )
    with first:
        run_for(first, clock, 20)
    second = EnergyLog(
        [FakeMeter(clock)],
        power_csv=path,
        before=first.footprint(),
        interval_s=NEVER_S,
        clock=clock,
    )
    with second:
        run_for(second, clock, 10)
        assert second.so_far_g() == pytest.approx(475 * 200 * 30 / 3.6e6)
    total = second.footprint()
    assert total.energy_kwh == pytest.approx(200 * 30 / 3.6e6)
    assert (total.duration_s, total.coverage) == pytest.approx((30, 1))
    seen_s = [float(row["t_s"]) for row in rows(path)]
    assert (seen_s[0], seen_s[-1]) == (0, 30)
    assert seen_s == sorted(seen_s)


def test_a_new_run_does_not_append_to_an_old_log(tmp_path: Path) -> None:
    path = tmp_path / "power.csv"
    path.write_text("t_s,device,power_w\n99,old,1\n")
    with EnergyLog([FakeMeter(Clock())], power_csv=path, interval_s=NEVER_S):
        pass
    assert "old" not in path.read_text()


@dataclass
class CountingMeter:
    """Says when it has been read ``enough`` times."""

    enough: int
    done: threading.Event = field(default_factory=threading.Event)
    reads: int = 0
    device: str = "gpu-0"
    source: str = "nvml"

    def power_w(self) -> float | None:
        self.reads += 1
        if self.reads >= self.enough:
            self.done.set()
        return 100.0

    def energy_j(self) -> float | None:
        return None

    def processes(self) -> int | None:
        return None


def test_a_background_thread_reads_on_its_own_and_ends_with_the_block() -> None:
    meter = CountingMeter(enough=5)
    with EnergyLog([meter], interval_s=0.001) as log:
        assert meter.done.wait(timeout=30)
    after = meter.reads
    assert not any(thread.name == "energy" for thread in threading.enumerate())
    found = log.footprint()
    assert meter.reads == after
    assert found.energy_kwh == pytest.approx(100 * found.duration_s / 3.6e6)


def test_readings_from_two_threads_do_not_mix() -> None:
    ticks = iter(range(1_000_000))
    with EnergyLog(
        [meter := CountingMeter(enough=200)],
        interval_s=0.0001,
        clock=lambda: next(ticks) / 1000,
    ) as log:
        while not meter.done.is_set():
            log.sample()
    found = log.footprint()
    assert found.energy_kwh == pytest.approx(100 * found.duration_s / 3.6e6)
    assert found.coverage == pytest.approx(1)


def test_an_old_card_is_measured_by_its_power_not_as_zero() -> None:
    """250 W falling to 150 W in 1 s, then steady for 2 s: 200 + 300 J."""
    clock, card = Clock(), Gpu(power_mw=250_000, energy_mj=None)
    meters = find_meters(powercap=None, nvml=NvmlStub([card]))
    with EnergyLog(meters, interval_s=NEVER_S, clock=clock) as log:
        card.power_mw = 150_000
        run_for(log, clock, 1)
        clock.now_s += 2
    found = log.footprint()
    assert found.energy_kwh == pytest.approx((200 + 300) / 3.6e6)
    assert found.method == "nvml-sampled"


def test_a_card_with_a_counter_is_measured_by_it() -> None:
    """The counter saw a burst of 900 J that no sample hit."""
    clock, card = Clock(), Gpu(power_mw=100_000, energy_mj=5_000_000)
    meters = find_meters(powercap=None, nvml=NvmlStub([card]))
    with EnergyLog(meters, interval_s=NEVER_S, clock=clock) as log:
        card.energy_mj = 5_900_000
        clock.now_s += 1
    assert log.footprint().energy_kwh == pytest.approx(900 / 3.6e6)
    assert log.footprint().method == "nvml-counter"
    assert log.devices()[0].sampled_j == pytest.approx(100)
