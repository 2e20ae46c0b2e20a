"""A benchmark's numbers: ratios to the first way, limits, and the page of them."""

from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import inference, machine, measure, report
from benchmarks.machine import ROW
from benchmarks.measure import (
    FP32,
    Limit,
    Result,
    Timing,
    Way,
    compare,
    copy_limit,
    flop_limit,
    named,
    peak_mib,
    publish,
    rates,
)
from benchmarks.options import RESULTS
from benchmarks.programs import brs
from benchmarks.ranking import rate
from benchmarks.scaling_figure import exponent, sizes_of, write_figure
from model.engine import Engine

ROOT = Path(__file__).parents[1]
RESULT = Result(
    question="one thing",
    work="a run of it",
    timings=(
        Timing("theirs", (3.0, 2.0, 4.0), 100.0),
        Timing("ours", (1.0, 0.5, 0.6), None),
    ),
    limit=Limit("the wall", 0.3),
    machine={"cpu": "a CPU"},
    notes=("a note",),
)


def test_a_ratio_is_of_medians_to_the_first_way() -> None:
    theirs, ours = RESULT.timings
    assert RESULT.ratio(theirs) == 1.0
    assert RESULT.ratio(ours) == pytest.approx(3.0 / 0.6)
    assert "5.00 x" in RESULT.to_text()
    assert "ours is at 50% of it" in RESULT.to_text()  # 0.3 of 0.6 s


def test_ways_alternate_after_each_ran_once_unmeasured() -> None:
    ran: list[str] = []
    ways = [Way(name, partial(ran.append, name)) for name in "ab"]
    found = compare("q", ways, repeats=2, work="w")
    assert "".join(ran) == "ab" + "abab"
    assert [len(timing.seconds) for timing in found.timings] == [2, 2]
    assert tuple(found.machine) == ROW


def test_the_peak_is_that_of_the_run_alone() -> None:
    small, large = (peak_mib(partial(np.ones, n << 20, np.uint8)) for n in (1, 200))
    if small is None or large is None:
        pytest.skip("this system does not tell a process its peak")
    assert 150 < large - small < 250


def test_limits_grow_with_the_work() -> None:
    one, two = (copy_limit(moved, repeats=1).seconds for moved in (1e6, 1e12))
    assert two > 1000 * one
    for precision in ("fp32", "bf16"):
        limit = flop_limit(1e9, Engine("cpu", precision), repeats=1, side=64)
        assert limit.name.startswith(precision)
        assert limit.seconds > 0


def test_a_limit_is_the_best_that_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each of both ways takes 2 s at first and then 1 s.
    seconds = iter((2.0, 1.0) * 2)
    monkeypatch.setattr(measure, "timed", lambda _: next(seconds))
    product, convolution = 2 * 60**3, 2 * 9 * 10**2 * 64**2
    assert convolution > product
    limit = flop_limit(3 * convolution, repeats=1, side=60)
    assert limit.seconds == pytest.approx(3)
    assert "convolution" in limit.name


def test_peers_are_named_with_their_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "storescp"
    program.write_text("#!/bin/sh\necho '$dcmtk: storescp v3.6.7 2022-04-22 $'\n")
    program.chmod(0o755)
    monkeypatch.setattr(machine, "DEBIAN", str(tmp_path))
    machine.peers.cache_clear()
    pynetdicom = version("pynetdicom")
    said = f"DCMTK 3.6.7, Orthanc not installed, pynetdicom {pynetdicom}"
    assert machine.peers() == said
    machine.peers.cache_clear()


def test_a_result_is_read_back_and_shown(tmp_path: Path) -> None:
    publish(RESULT, tmp_path, "one")
    assert report.read(tmp_path / "one.json") == RESULT
    text = report.page([RESULT])
    assert "| ours | 5.00 | 0.6 | 0.5 - 1 | 3 | unknown |" in text
    assert "Machine: cpu a CPU; cores unknown;" in text
    assert "No run on a quiet machine" in report.page([])


def test_further_columns_and_the_gpu_are_shown_where_there_are_any(
    tmp_path: Path,
) -> None:
    told = {"J": ("unknown", "12")}
    gpu = replace(RESULT, columns=told, machine={"cpu": "a CPU", "gpu": "a GPU"})
    publish(gpu, tmp_path, "one")
    assert report.read(tmp_path / "one.json") == gpu
    text = report.page([gpu])
    assert "| n | peak MiB | J |\n|---|---|---|---|---|---|---|\n" in text
    assert "| theirs | 1.00 | 3 | 2 - 4 | 3 | 100 | unknown |" in text
    assert "load unknown; gpu a GPU." in text
    assert "peak unknown MiB; J: 12" in gpu.to_text()
    assert "; gpu" not in report.page([RESULT])


def test_a_gpu_is_named_once_it_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.gpu() == {}
    facts = SimpleNamespace(name="NVIDIA Test", total_memory=80 << 30)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: facts)
    assert machine.gpu()["gpu"].startswith("NVIDIA Test (80 GiB), CUDA ")


def test_a_kind_of_processor_has_results_and_engines_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best = Engine("cuda", "bf16")
    assert named("inference-256", best) == "inference-256-cuda-bf16"
    assert named("inference-256", FP32) == "inference-256-cpu-fp32"
    assert inference.engines(best) == [Engine("cuda", "fp32"), best]
    monkeypatch.setattr(inference, "has_openvino", lambda: False)
    assert inference.engines(FP32) == [FP32]
    assert inference.notes(FP32) == (inference.NO_OPENVINO,)
    assert inference.notes(best) == ("fp32 here is TF32 in cuDNN's convolutions",)
    timings = [Timing("a", (0.5, 1.0, 2.0), None), Timing("b", (0.1,), None)]
    assert rates(timings, 8) == ("8", "80")


def test_a_program_s_peak_is_not_its_parent_s() -> None:
    held = np.ones(300 << 20, np.uint8)
    peak = brs("--version")
    if peak is None:
        pytest.skip("this system does not tell a process its peak")
    assert 5 < peak < held.nbytes / 2**20


def test_the_page_is_what_the_kept_results_say() -> None:
    results = [report.read(path) for path in sorted(RESULTS.glob("*.json"))]
    assert (ROOT / "docs" / "performance.md").read_text() == report.page(results)


def test_growth_is_a_power_and_a_figure(tmp_path: Path) -> None:
    sizes = (10.0, 100.0, 1000.0)
    assert exponent(sizes, [size**1.5 for size in sizes]) == pytest.approx(1.5)
    timings = tuple(Timing(f"{size:g} sessions", (size,), None) for size in sizes)
    result = replace(RESULT, timings=timings)
    assert sizes_of(result) == list(sizes)
    write_figure({"pool": result}, tmp_path / "images" / "scaling.png")
    assert (tmp_path / "images" / "scaling.png").read_bytes().startswith(b"\x89PNG")
    grows = replace(result, question="how cost grows with the sessions of a pool")
    assert "(images/scaling.png)" in report.page([grows])
    assert "scaling.png" not in report.page([RESULT])


def test_ranking_tells_its_rate_and_what_reading_takes_of_it() -> None:
    timing = Timing("brs", (0.4, 0.5, 0.6), None)
    (first, _) = rate(replace(RESULT, timings=(timing,)), read_s=0.01)
    assert first.startswith("2 sessions a second, 500 s for 1,000")
    assert "2.0% of that is reading, so computing is" in first
    (first, _) = rate(replace(RESULT, timings=(timing,)), read_s=0.4)
    assert "80.0% of that is reading, so reading is" in first
