"""A container's quota of processor time bounds the threads of every library."""

from pathlib import Path

import pytest

from model.processors import available, bound_threads

V1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(32)))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 32),
        ({"cpu.max": "max 100000\n"}, 32),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 32),
        (dict(zip(V1, ("400000\n", "100000\n"), strict=True)), 4),
        (dict(zip(V1, ("-1\n", "100000\n"), strict=True)), 32),
    ],
)
def test_a_quota_is_as_many_processors_as_it_grants(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert available(tmp_path) == expected


def test_a_system_without_affinities_has_all_its_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert available(tmp_path) == 8


def test_threads_are_bounded_by_a_quota_and_by_hand_alone(tmp_path: Path) -> None:
    free: dict[str, str] = {}
    bound_threads(free, tmp_path)
    assert free == {}
    (tmp_path / "cpu.max").write_text("400000 100000")
    bound_threads(free, tmp_path)
    assert free == {"OMP_NUM_THREADS": "4"}
    (tmp_path / "cpu.max").write_text("200000 100000")
    bound_threads(free, tmp_path)
    assert free == {"OMP_NUM_THREADS": "4"}, "what was set stays"


@pytest.mark.parametrize(
    ("processes", "quota", "expected"),
    [
        (1, "max", None),
        (2, "max", "16"),
        (3, "max", "10"),
        (64, "max", "1"),
        (2, "400000", "2"),
        (8, "400000", "1"),
    ],
)
def test_several_processes_share_what_is_granted(
    tmp_path: Path, processes: int, quota: str, expected: str | None
) -> None:
    environ: dict[str, str] = {}
    (tmp_path / "cpu.max").write_text(f"{quota} 100000")
    bound_threads(environ, tmp_path, processes=processes)
    assert environ.get("OMP_NUM_THREADS") == expected
