"""Benchmarks whose parts nothing else calls: a small run of each leaves its tables."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import arrays, ranking, reading, report, transfers

RUNS = {
    "arrays": (arrays.main, ("--slices", "8", "--matrix", "128")),
    "ranking": (ranking.main, ("--slices", "24")),
    "reading": (reading.main, ("--slices", "12", "--matrix", "128")),
    "transfers": (transfers.main, ("--files", "5", "--kib", "4")),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_leaves_tables_of_what_it_compared(
    name: str, tmp_path: Path
) -> None:
    main, sizes = RUNS[name]
    options = [*sizes, "--repeats", "1", "--out", str(tmp_path)]
    run = CliRunner().invoke(main, options, catch_exceptions=False)
    assert run.exit_code == 0, run.output
    results = [report.read(path) for path in tmp_path.glob("*.json")]
    assert results
    for found in results:
        assert all(min(timing.seconds) > 0 for timing in found.timings)
        assert f"| {found.timings[-1].name} |" in report.section(found)
