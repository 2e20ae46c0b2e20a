"""BAG histograms: how a pool's nearest points and breast sizes are distributed."""

from collections.abc import Sequence
from functools import partial
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from model.bag import BagFeatures
from model.chart import (
    BLUE,
    FONT_PT,
    HEIGHT_IN,
    INK,
    MUTED,
    PALE_BLUE,
    SMALL_PT,
    SURFACE,
    WIDTH_IN,
    legend,
    new_chart,
    say,
    style,
    write,
)

BIN_WIDTHS_PX = (1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 50)
MOST_BINS = 16
SAME_SCALE = 0.005
"""Scales that differ by less than this share are called one scale."""
MM_SCALE_AT = -0.2
"""Height of the mm scale below the plot, in heights of the plot."""


def bag_histograms(
    features: Sequence[BagFeatures], *, picked: Sequence[bool] = ()
) -> Figure:
    """Return both BAG histograms side by side, px with a mm scale (paper Figure 4).

    ``picked`` marks the sessions that are annotated first, one entry per feature row.
    """
    if not features:
        return say("no session was measured")
    figure = Figure((2 * WIDTH_IN, HEIGHT_IN), facecolor=SURFACE, layout="constrained")
    size, nearest = figure.subplots(1, 2)
    _draw_histogram(style(size), features, "breast size", picked)
    _draw_histogram(style(nearest), features, "nearest point", picked)
    return figure


def nearest_point_histogram(
    features: Sequence[BagFeatures], *, picked: Sequence[bool] = ()
) -> Figure:
    """Return the right panel of ``bag_histograms`` alone, for a narrow page."""
    return _one_histogram(features, "nearest point", picked)


def breast_size_histogram(
    features: Sequence[BagFeatures], *, picked: Sequence[bool] = ()
) -> Figure:
    """Return the left panel of ``bag_histograms`` alone, for a narrow page."""
    return _one_histogram(features, "breast size", picked)


def _one_histogram(
    features: Sequence[BagFeatures], feature: str, picked: Sequence[bool]
) -> Figure:
    if not features:
        return say("no session was measured")
    figure, axes = new_chart()
    _draw_histogram(axes, features, feature, picked)
    return figure


def _draw_histogram(
    axes: Axes, features: Sequence[BagFeatures], feature: str, picked: Sequence[bool]
) -> None:
    field = "breast_size_px" if feature == "breast size" else "nearest_point_px"
    values = np.array([getattr(row, field) for row in features])
    edges = _edges(values)
    chosen = np.array(picked, bool) if len(picked) else np.zeros(len(values), bool)
    bars = [values[chosen], values[~chosen]] if chosen.any() else [values]
    labels = [f"first {chosen.sum()}", "later"] if chosen.any() else ["sessions"]
    axes.hist(
        bars,
        edges.tolist(),
        stacked=True,
        color=[BLUE, PALE_BLUE][: len(bars)],
        edgecolor=SURFACE,
        linewidth=1.2,
        label=labels,
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    if chosen.any():
        legend(axes, columns=2)
    _mark_median(axes, float(median(values.tolist())))
    axes.set_title(f"sessions by {feature}", loc="left", color=INK, fontsize=FONT_PT)
    _scales(axes, [row.mm_per_px for row in features])


def _edges(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return bin edges at whole multiples of the narrowest width that fits."""
    low, high = int(values.min()), int(values.max())
    width = next(
        (w for w in BIN_WIDTHS_PX if (high - low) / w < MOST_BINS - 1),
        BIN_WIDTHS_PX[-1],
    )
    return np.arange(low // width * width, high + width + 1, width)


def _mark_median(axes: Axes, value: float) -> None:
    axes.axvline(value, color=INK, linewidth=1.0)
    axes.set_ylim(top=1.16 * axes.get_ylim()[1])
    write(axes, (value, axes.get_ylim()[1]), f"median {value:g}", offset=(4, -6))


def _scales(axes: Axes, mm_per_px: Sequence[float]) -> None:
    """Name the px scale and add one in mm below, by the median where they differ."""
    scale = median(mm_per_px)
    same = max(mm_per_px) - min(mm_per_px) < SAME_SCALE * scale
    below = axes.secondary_xaxis(
        MM_SCALE_AT,
        functions=(partial(np.multiply, scale), partial(np.multiply, 1 / scale)),
    )
    below.spines["bottom"].set_color(MUTED)
    below.tick_params(colors=MUTED, labelcolor=MUTED, labelsize=SMALL_PT, length=3)
    for name, height in (("px", 0.0), ("mm" if same else "≈ mm", MM_SCALE_AT)):
        axes.text(
            1.02,
            height,
            name,
            color=INK,
            fontsize=SMALL_PT,
            va="center",
            transform=axes.transAxes,
        )
