"""The plots of a ranking, a training and an evaluation, each a matplotlib ``Figure``.

``png`` and ``svg`` turn a figure into a file. What was not measured is said in words,
never drawn as zero.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from model.carbon import Footprint
from model.chart import (
    BLUE,
    FONT_PT,
    INK,
    LINE_PT,
    MUTED,
    PALE_BLUE,
    RULE,
    SERIES,
    SMALL_PT,
    SURFACE,
    WIDTH_IN,
    legend,
    name_axes,
    new_chart,
    png,
    printable,
    say,
    style,
    svg,
    write,
)
from model.histograms import (
    bag_histograms,
    breast_size_histogram,
    nearest_point_histogram,
)
from model.overlays import overlay_maps

if TYPE_CHECKING:  # importing torch takes seconds, and a plot needs none of it
    from model.evaluate import CaseScore, SliceScore
    from model.progress import EpochRecord

__all__ = [
    "bag_histograms",
    "breast_size_histogram",
    "footprint_bars",
    "learning_curve",
    "metric_distributions",
    "nearest_point_histogram",
    "overlay_maps",
    "png",
    "power_over_time",
    "svg",
]

Samples = Sequence[tuple[float, float | None]]
"""Seconds since the start and watts, None where a reading failed."""

BOX = (5.0, 25.0, 50.0, 75.0, 95.0)
"""Percentiles: whisker, quartile, median, quartile, whisker."""
FEW = 8
"""Fewer values than this make no box: each is a dot."""
CURVE_POINTS = 300
"""More points than this are averaged: a chart has no room for them."""
NAME_LIMIT = 28
SHARES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
}
LENGTHS = {"hd95_mm": "HD95"}
ROW_IN = 0.36
"""Height of one row of boxes."""


def learning_curve(*folds: "Sequence[EpochRecord]") -> Figure:
    """Return training and validation loss over the epochs of one or more folds.

    Epochs count from 0, as in ``history.csv``; a dot marks each fold's best epoch.
    """
    drawn = [history for history in folds if history]
    if not drawn:
        return say("no epoch was completed")
    figure, axes = new_chart()
    for history in drawn:
        _draw_history(axes, history)
    if len(drawn) == 1 and len(drawn[0]) > 1:
        _label_best(axes, drawn[0])
    _label_ends(axes, drawn)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    if max(map(len, drawn)) == 1:
        axes.margins(x=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    name_axes(axes, x="epoch", y="Dice loss")
    return figure


def metric_distributions(
    scores: "Sequence[SliceScore] | Sequence[CaseScore]", *, unit: str = "slice"
) -> Figure:
    """Return a box per metric over slices or cases (paper Figure 7).

    Box: quartiles and median; whiskers: 5th and 95th percentile; dots: every value
    beyond, or all of fewer than ``FEW``. HD95 has a scale of its own, in mm; where it
    does not exist it is left out.
    """
    shares = {name: _column(scores, field) for field, name in SHARES.items()}
    lengths = {name: _column(scores, field) for field, name in LENGTHS.items()}
    panels = [(shares, "score"), (lengths, "mm")]
    drawn = [(p, what) for p, what in panels if any(c.size for c in p.values())]
    if not drawn:
        return say(f"no {unit} was scored")
    rows = [len(panel) + 1.2 for panel, _ in drawn]
    size = (WIDTH_IN, ROW_IN * sum(rows))
    figure = Figure(size, facecolor=SURFACE, layout="constrained")
    grid = figure.add_gridspec(len(drawn), 1, height_ratios=rows)
    for place, (panel, what) in enumerate(drawn):
        axes = style(figure.add_subplot(grid[place]))
        _draw_boxes(axes, panel)
        axes.set_xlabel(f"{what} per {unit}", color=INK, fontsize=FONT_PT)
        axes.set_xlim(*_ends(panel))
    return figure


def power_over_time(samples: Mapping[str, Samples]) -> Figure:
    """Return the power of each device over time, from (time in s, power in W)."""
    known = {
        device: points
        for device, readings in samples.items()
        if (points := [(t, w) for t, w in readings if w is not None])
    }
    if not known:
        return say("unknown: no readable meter")
    figure, axes = new_chart()
    for colour, (device, points) in zip(_colours(known), known.items(), strict=True):
        t_s, power_w = _thinned(np.array(points))
        label = f"{printable(device, limit=NAME_LIMIT)}, mean {power_w.mean():.0f} W"
        axes.plot(t_s, power_w, color=colour, linewidth=LINE_PT, label=label)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    legend(axes)
    name_axes(axes, x="time, s", y="power, W")
    return figure


def footprint_bars(folds: Mapping[str, Footprint]) -> Figure:
    """Return a bar per fold: g CO2, with its energy; ``unknown`` where not measured."""
    if not folds:
        return say("no training was measured")
    if all(part.cfp_kg is None for part in folds.values()):
        return say("unknown: no energy could be measured")
    figure, axes = new_chart(height_in=0.5 + 0.34 * len(folds))
    grams = [1000 * (part.cfp_kg or 0.0) for part in folds.values()]
    axes.barh(range(len(folds)), grams, height=0.6, color=BLUE)
    for place, gram, part in zip(range(len(folds)), grams, folds.values(), strict=True):
        write(axes, (gram, place), _footprint_label(part), offset=(4, 0))
    names = [printable(name, limit=NAME_LIMIT) for name in folds]
    name_rows(axes, names)
    axes.set_xlim(0, 1.6 * max(*grams, 1e-9))
    axes.set_xlabel("g CO₂", color=INK, fontsize=FONT_PT)
    return figure


def _draw_history(axes: Axes, history: "Sequence[EpochRecord]") -> None:
    epochs = [record.epoch for record in history]
    marker = "o" if len(epochs) == 1 else ""
    for loss, colour in (("train_loss", MUTED), ("validation_loss", BLUE)):
        losses = [getattr(record, loss) for record in history]
        axes.plot(
            epochs, losses, color=colour, linewidth=LINE_PT, marker=marker, markersize=4
        )
    best = min(history, key=lambda record: record.validation_loss)
    axes.plot(best.epoch, best.validation_loss, "o", color=BLUE, markersize=6)


def _label_best(axes: Axes, history: "Sequence[EpochRecord]") -> None:
    best = min(history, key=lambda record: record.validation_loss)
    at = (best.epoch, best.validation_loss)
    text = f"best {best.validation_loss:.3f}"
    write(axes, at, text, offset=(0, 16), mid=True)


def _label_ends(axes: Axes, folds: "Sequence[Sequence[EpochRecord]]") -> None:
    """Name the two curves beside the last points of the longest fold."""
    last = max(folds, key=len)[-1]
    gap = last.validation_loss - last.train_loss
    up = 5 if gap >= 0 else -5
    for text, loss, colour, shift in (
        ("validation", last.validation_loss, BLUE, up),
        ("training", last.train_loss, MUTED, -up),
    ):
        write(axes, (last.epoch, loss), text, offset=(6, shift), colour=colour)


def _column(
    scores: "Sequence[SliceScore] | Sequence[CaseScore]", field: str
) -> NDArray[np.float64]:
    """Return the values of one score that exist."""
    values = [getattr(score, field) for score in scores]
    return np.array([value for value in values if value is not None], float)


def _ends(values: Mapping[str, NDArray[np.float64]]) -> tuple[float, float]:
    """Return the ends of the scale: a tenth below all scores to 1, or 0 to all mm."""
    every = np.concatenate(list(values.values()))
    if values.keys() & set(LENGTHS.values()):
        return 0.0, 1.04 * max(1.0, float(every.max()))
    return min(0.9, float(np.floor(10 * every.min()) / 10)) - 0.005, 1.005


def _draw_boxes(axes: Axes, values: Mapping[str, NDArray[np.float64]]) -> None:
    for place, column in enumerate(values.values()):
        if column.size:
            draw_box(axes, place, column)
    note(axes, -0.75, "median")
    name_rows(axes, list(values))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def draw_box(axes: Axes, place: int, column: NDArray[np.float64]) -> None:
    """Draw quartiles, median, whiskers and what lies beyond in one row."""
    low, first, middle, third, high = np.percentile(column, BOX)
    if column.size < FEW:
        low, high = np.inf, -np.inf
    else:
        axes.plot((low, high), (place, place), color=BLUE, linewidth=1.2)
        axes.barh(place, third - first, 0.5, left=first, color=PALE_BLUE)
    axes.plot((middle, middle), (place - 0.3, place + 0.3), color=INK, linewidth=2)
    beyond = np.unique(column[(column < low) | (column > high)].round(3))
    places = np.full(beyond.shape, place)
    size = 4.5 if column.size < FEW else 2.2
    axes.plot(beyond, places, "o", color=BLUE, markersize=size, alpha=0.6)
    note(axes, place, f"{middle:.3f}" if middle <= 1 else f"{middle:.1f}")


def note(axes: Axes, place: float, text: str) -> None:
    """Write at the right end of a row."""
    axes.text(
        1.02,
        place,
        text,
        color=INK,
        fontsize=SMALL_PT,
        va="center",
        transform=axes.get_yaxis_transform(),
    )


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write the name of each row, the first on top, and drop the rules between."""
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=FONT_PT)
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=RULE, linewidth=0.8)


def _footprint_label(part: Footprint) -> str:
    if part.cfp_kg is None or part.energy_kwh is None:
        return "unknown"
    return f"{_three(1000 * part.cfp_kg)} g, {_three(1000 * part.energy_kwh)} Wh"


def _three(value: float) -> str:
    """Return a number of three significant digits, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _thinned(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and powers, averaged over equal counts when there are many."""
    parts = np.array_split(points, min(len(points), CURVE_POINTS))
    means = np.array([part.mean(axis=0) for part in parts])
    return means[:, 0], means[:, 1]


def _colours(names: Mapping[str, object]) -> list[str]:
    return [SERIES[place % len(SERIES)] for place in range(len(names))]
