"""Growth as a figure: time against size, both by powers, one panel an axis."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.measure import Result


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the power of the size with which the time grows, by least squares."""
    slope, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return float(slope)


def sizes_of(result: Result) -> list[float]:
    """Return the sizes that the ways are named after."""
    return [float(timing.name.split()[0]) for timing in result.timings]


def write_figure(results: Mapping[str, Result], path: Path) -> None:
    """Draw medians with their spread, and a dashed line of proportional growth."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    panels = figure.subplots(1, len(results))
    for panel, (name, result) in zip(
        np.atleast_1d(panels), results.items(), strict=True
    ):
        sizes = np.array(sizes_of(result))
        seconds = np.array([timing.median_s for timing in result.timings])
        low = seconds - [min(timing.seconds) for timing in result.timings]
        high = np.array([max(timing.seconds) for timing in result.timings]) - seconds
        panel.errorbar(sizes, seconds, (low, high), marker="o", capsize=2)
        panel.plot(sizes, seconds[0] * sizes / sizes[0], "k--", linewidth=0.8)
        power = exponent(sizes.tolist(), seconds.tolist())
        panel.set(
            xscale="log",
            yscale="log",
            xlabel=name,
            title=f"power {power:.2f}",
        )
        panel.minorticks_off()
        panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    np.atleast_1d(panels)[0].set_ylabel("s (synthetic data)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
