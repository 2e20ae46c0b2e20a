"""The energy of one device: known integrals, gaps, resets, and two ways to measure."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.trace import MAX_GAP_S, DeviceTrace, integrate

Reading = tuple[float, float | None, float | None]
"""Time in s, power in W, counter in J."""

powers_w = st.floats(0.5, 1000)
intervals_s = st.lists(st.floats(0.01, 0.99 * MAX_GAP_S), min_size=1, max_size=40)


def times(intervals: Sequence[float], *, start_s: float = 1000.0) -> list[float]:
    return [start_s + sum(intervals[:count]) for count in range(len(intervals) + 1)]


def traced(readings: Sequence[Reading], *, source: str = "nvml") -> DeviceTrace:
    trace = DeviceTrace("device", source)
    for t_s, power_w, energy_j in readings:
        trace.record(t_s, power_w=power_w, energy_j=energy_j)
    return trace


@given(intervals_s, powers_w)
@settings(deadline=None)
def test_constant_power_is_power_times_time(
    intervals: list[float], power_w: float
) -> None:
    samples = [(t_s, power_w) for t_s in times(intervals)]
    assert integrate(samples) == pytest.approx(power_w * sum(intervals))


@given(intervals_s, powers_w, st.floats(0, 10))
@settings(deadline=None)
def test_a_ramp_is_exact_at_any_intervals(
    intervals: list[float], start_w: float, w_per_s: float
) -> None:
    samples = [(t, start_w + w_per_s * t) for t in times(intervals, start_s=0)]
    whole_s = samples[-1][0]
    expected = start_w * whole_s + w_per_s * whole_s**2 / 2
    assert integrate(samples) == pytest.approx(expected)


@given(
    st.lists(st.tuples(st.floats(0.01, 5), powers_w), min_size=3, max_size=30),
    st.data(),
)
@settings(deadline=None)
def test_integral_of_the_parts_is_that_of_the_whole(
    steps: list[tuple[float, float]], data: st.DataObject
) -> None:
    samples = list(
        zip(times([s for s, _ in steps][:-1]), [w for _, w in steps], strict=True)
    )
    cut = data.draw(st.integers(0, len(samples) - 1))
    parts = integrate(samples[: cut + 1]) + integrate(samples[cut:])
    assert parts == pytest.approx(integrate(samples))


def test_no_sample_and_one_sample_span_no_time() -> None:
    assert integrate([]) == 0
    assert integrate([(3.0, 100.0)]) == 0


@given(intervals_s, powers_w)
@settings(deadline=None)
def test_a_trace_sums_what_integrate_sums(
    intervals: list[float], power_w: float
) -> None:
    samples = [(t, power_w * (1 + i % 3)) for i, t in enumerate(times(intervals))]
    found = traced([(t, w, None) for t, w in samples]).measured()
    assert found.energy_j == pytest.approx(integrate(samples))
    assert found.covered_s == pytest.approx(sum(intervals))
    assert found.method == "nvml-sampled"


def test_the_counter_is_the_truth_where_there_is_one() -> None:
    found = traced([(0, 100.0, 50.0), (1, 100.0, 170.0), (2, 100.0, 290.0)]).measured()
    assert found.energy_j == 240
    assert (found.counted_j, found.sampled_j) == (240, 200)
    assert found.method == "nvml-counter"


@given(intervals_s)
def test_the_counter_stays_the_truth_at_uneven_times(intervals: list[float]) -> None:
    trace = traced([(t, 200.0, 150.0 * t) for t in times(intervals)])
    assert trace.measured().method == "nvml-counter"


def test_time_between_samples_too_far_apart_is_not_measured() -> None:
    gap_s = MAX_GAP_S + 1
    found = traced([(t, 100.0, None) for t in (0, 1, 1 + gap_s, 2 + gap_s)]).measured()
    assert found.energy_j == pytest.approx(100 * (1 + 1))
    assert found.covered_s == pytest.approx(2)


def test_a_failed_sample_takes_both_its_sides_with_it() -> None:
    powers = [100.0, 100.0, None, 100.0, 100.0]
    found = traced([(t, power_w, None) for t, power_w in enumerate(powers)]).measured()
    assert found.energy_j == pytest.approx(100 * (1 + 1))
    assert found.covered_s == pytest.approx(2)


def test_a_counter_bridges_its_failed_readings() -> None:
    found = traced([(0, None, 10.0), (1, None, None), (60, None, 70.0)]).measured()
    assert (found.energy_j, found.covered_s) == (60, 60)


def test_a_counter_that_was_reset_loses_one_interval_only() -> None:
    counts = [1000.0, 1100.0, 30.0, 130.0]
    found = traced([(t, None, joules) for t, joules in enumerate(counts)]).measured()
    assert (found.energy_j, found.covered_s) == (100 + 100, 2)


def test_a_counter_that_stands_still_gives_way_to_the_samples() -> None:
    found = traced([(t, 80.0, 500.0) for t in range(4)]).measured()
    assert (found.energy_j, found.method) == (80 * 3, "nvml-sampled")
    assert found.counted_j is None


def test_a_counter_that_ends_early_gives_way_to_the_samples() -> None:
    counts = [0.0, 100.0, None, None]
    found = traced([(t, 100.0, joules) for t, joules in enumerate(counts)]).measured()
    assert (found.energy_j, found.covered_s) == (100 * 3, 3)
    assert found.method == "nvml-sampled"


@pytest.mark.parametrize(
    "readings",
    [
        [],
        [(0, 100.0, 5.0)],
        [(0, None, None), (1, None, None)],
        [(0, 0.0, 7.0), (1, 0.0, 7.0)],
    ],
    ids=["no reading", "one reading", "failed readings", "zeros"],
)
def test_nothing_measured_is_unknown_never_zero(readings: list[Reading]) -> None:
    found = traced(readings).measured()
    assert (found.energy_j, found.method, found.covered_s) == (None, "unknown", 0)


def test_a_source_without_power_shows_the_mean_of_its_counter() -> None:
    trace = traced([(0, None, 10.0)], source="rapl")
    assert trace.power_w is None
    trace.record(2, power_w=None, energy_j=70.0)
    assert trace.power_w == pytest.approx((70 - 10) / 2)
    assert trace.measured().method == "rapl"


def test_two_readings_at_one_time_lose_no_energy() -> None:
    found = traced([(0, 50.0, 0.0), (1, 50.0, 50.0), (1, 50.0, 51.0), (2, 50.0, 100.0)])
    assert found.measured().energy_j == 100
    assert found.measured().covered_s == 2
