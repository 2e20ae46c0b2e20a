"""The plots of a study: learning curves, distributions, carbon, BAG coverage.

One small panel a strategy, all on one scale, the baseline's curve or cloud in grey
behind it: nine colours on one plot could not be told apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    name_axes,
    new_chart,
    say,
    style,
    write,
)
from model.comparison import BASELINES
from model.experiment import Pool
from model.figures import draw_box, name_rows, note
from model.picking import BREAST_SIZE, LENGTHS_MM, NEAREST_POINT, places_of
from model.study import SLICE_METRICS, Result, Study, Values, groups, tested_cases
from model.table import Row

PANELS_ACROSS = 3
PANEL_IN = (1.75, 1.75)
ROW_IN = 0.26
NOTHING = "no training is finished"
UNMEASURED = "unknown: no energy could be measured"


def learning_curves(rows: Sequence[Row]) -> Figure:
    """Return mean Dice over annotated patients, a panel a strategy, with 95 % bands.

    ``rows`` are of one test set. The grey line is the baseline: ``random``, or
    ``stratified-random`` where that was not run.
    """
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    if not strategies:
        return say(NOTHING)
    figure, panels = _panels(strategies)
    baseline = next((name for name in BASELINES if name in strategies), None)
    for name, axes in panels.items():
        if baseline not in (None, name):
            _draw_curve(axes, [r for r in rows if r.strategy == baseline], MUTED)
        _draw_curve(axes, [row for row in rows if row.strategy == name], BLUE)
        _name_panel(axes, name)
    figure.supxlabel("patients annotated", color=INK, fontsize=FONT_PT)
    figure.supylabel("Dice per slice", color=INK, fontsize=FONT_PT)
    return figure


def score_distributions(study: Study, metric: str, test: str) -> Figure:
    """Return a box a proportion and strategy of one metric over slices (Figure 7)."""
    column = SLICE_METRICS.index(metric)
    values = {
        name: np.concatenate(
            [
                result.slices[case][:, column]
                for result in group
                for case in tested_cases(result, test, study.pool)
            ]
            or [np.empty(0)]
        )
        for name, group in groups(study).items()
    }
    return _boxes(values, NOTHING)


def carbon_distributions(study: Study) -> Figure:
    """Return a box of g CO2 a training by proportion and strategy (Figure 8).

    Trainings that were not measured are told as ``unknown``.
    """
    grams = {
        name: np.array(_grams(group), float) for name, group in groups(study).items()
    }
    return _boxes(grams, UNMEASURED)


def dice_per_carbon(rows: Sequence[Row]) -> Figure:
    """Return mean Dice over the g CO2 of a training, a point a proportion.

    Rows of unknown footprint have no place on it: name them beside it.
    """
    known = [(row, 1000 * row.cfp_kg) for row in rows if row.cfp_kg is not None]
    if not known:
        return say(UNMEASURED)
    figure, axes = new_chart()
    strategies = list(dict.fromkeys(row.strategy for row, _ in known))
    for at, name in enumerate(strategies):
        points = [
            (g, row.metrics["dice"].mean) for row, g in known if row.strategy == name
        ]
        grams, dice = zip(*points, strict=True)
        colour = SERIES[at % len(SERIES)]
        axes.plot(grams, dice, "o-", color=colour, linewidth=LINE_PT, markersize=4)
        write(axes, points[-1], name, offset=(6, 0), colour=colour)
    axes.margins(x=0.25)
    name_axes(axes, x="g CO₂ a training", y="Dice per slice")
    return figure


def coverage_panels(pool: Pool, selected: Mapping[str, Sequence[str]]) -> Figure:
    """Return the BAG plane, a panel a strategy, what it selected drawn darker."""
    if not selected:
        return say(NOTHING)
    figure, panels = _panels(list(selected))
    where = np.array(
        [
            [LENGTHS_MM[name](c.features) for name in (NEAREST_POINT, BREAST_SIZE)]
            for c in pool.candidates
        ]
    )
    for name, axes in panels.items():
        chosen = where[places_of(pool.candidates, selected[name])]
        axes.plot(*where.T, "o", color=PALE_BLUE, markersize=3)
        axes.plot(*chosen.T, "o", color=BLUE, markersize=4)
        _name_panel(axes, name)
    figure.supxlabel("nearest point, mm", color=INK, fontsize=FONT_PT)
    figure.supylabel("breast size, mm", color=INK, fontsize=FONT_PT)
    return figure


def _panels(names: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure of small panels on one scale, by name."""
    across = min(PANELS_ACROSS, len(names))
    down = -(-len(names) // across)
    size = (max(WIDTH_IN, PANEL_IN[0] * across), 0.5 + PANEL_IN[1] * down)
    figure = Figure(size, facecolor=SURFACE, layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.ravel()[len(names) :]:
        axes.set_axis_off()
    panels = zip(names, grid.ravel(), strict=False)
    return figure, {name: style(axes) for name, axes in panels}


def _name_panel(axes: Axes, name: str) -> None:
    axes.set_title(name, loc="left", color=INK, fontsize=SMALL_PT)


def _draw_curve(axes: Axes, rows: Sequence[Row], colour: str) -> None:
    patients = [row.patients for row in rows]
    found = [row.metrics["dice"] for row in rows]
    axes.plot(
        patients,
        [one.mean for one in found],
        "o-",
        color=colour,
        linewidth=LINE_PT,
        markersize=3,
    )
    banded = [
        (n, one.low, one.high)
        for n, one in zip(patients, found, strict=True)
        if one.low is not None and one.high is not None
    ]
    if banded:
        axes.fill_between(*np.array(banded).T, color=colour, alpha=0.15, linewidth=0)


def _boxes(values: Mapping[tuple[float, str], Values], nothing: str) -> Figure:
    """Return one box a row, rows named by strategy, a gap before each proportion.

    NaN is a value that is unknown; ``nothing`` is said where no value is known.
    """
    drawn = {name: column for name, column in values.items() if column.size}
    if all(np.isnan(column).all() for column in drawn.values()):
        return say(nothing)
    proportions = sorted({proportion for proportion, _ in drawn})
    size = (WIDTH_IN, 0.6 + ROW_IN * (len(drawn) + len(proportions)))
    figure = Figure(size, facecolor=SURFACE, layout="constrained")
    axes = style(figure.add_subplot())
    names: list[str] = []
    for proportion in proportions:
        names.append(f"{proportion:.0%}")
        for (share, strategy), column in drawn.items():
            if share == proportion:
                unknown = _draw_row(axes, len(names), column)
                names.append(strategy + unknown)
    name_rows(axes, names)
    note(axes, -0.6, "median")
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    return figure


def _draw_row(axes: Axes, place: int, column: Values) -> str:
    """Draw the known values; return what the row's name has to say of the others."""
    known = column[~np.isnan(column)]
    if not known.size:
        note(axes, place, "unknown")
        return ""
    draw_box(axes, place, known)
    unknown = column.size - known.size
    return f", {unknown} of {column.size} unknown" if unknown else ""


def _grams(group: Sequence[Result]) -> list[float]:
    """Return the grams of each training, NaN where they are unknown."""
    cells = {result.record.key: result.record.footprint for result in group}
    known = [part.cfp_kg for part in cells.values()]
    return [np.nan if cfp_kg is None else 1000 * cfp_kg for cfp_kg in known]


def selected_first(study: Study, proportion: float) -> dict[str, tuple[str, ...]]:
    """Return what each strategy selected at a proportion with the first seed."""
    found: dict[str, tuple[str, ...]] = {}
    for (share, strategy), group in groups(study).items():
        if share == proportion:
            found[strategy] = group[0].run.selection.cases
    return found
