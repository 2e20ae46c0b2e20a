"""A study's plots show its numbers: bands, medians, grams, and what was selected."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from report_inputs import used
from studies import POOL, noise, study

from model.chart import BLUE, MUTED
from model.prediction_figures import prediction_rows
from model.study import COMMON, Study, Values
from model.study_figures import (
    carbon_distributions,
    coverage_panels,
    dice_per_carbon,
    learning_curves,
    score_distributions,
    selected_first,
)
from model.table import rows
from plugin.reports.study_charts import carbon, coverage

J_PER_G = 3.6e6 / 475
"""At the paper's 0.475 kg per kWh."""


def rising(strategy: str, share: float, seed: int, at: int) -> float:
    return 0.7 + share / 5 + noise(at, seed) + (0.02 if strategy == "bag" else 0.0)


def emitting(grams: Mapping[tuple[str, float], Sequence[float | None]]) -> Study:
    """Return a study whose cells emitted so much, by strategy and proportion."""
    made = study(rising)
    changed = []
    for one in made.results:
        of = one.run.selection
        emitted = grams[of.strategy, of.proportion][of.seed]
        joules = None if emitted is None else emitted * J_PER_G
        record = replace(one.record, footprint=used(joules))
        changed.append(replace(one, record=record))
    return replace(made, results=tuple(changed))


GRAMS = {
    ("random", 0.25): (10.0, 14.0),
    ("bag", 0.25): (20.0, None),
    ("random", 0.5): (30.0, 50.0),
    ("bag", 0.5): (None, None),
}
"""Of the cells of the seeds 0 and 1."""


def texts(figure: Figure) -> list[str]:
    return [text for a in figure.findobj(Text) if (text := a.get_text())]


def medians(figure: Figure) -> list[float]:
    """Return where the rows' medians are drawn, from the top."""
    lines = [points(line) for line in figure.axes[0].lines]
    marks = [line for line in lines if len(line) == 2 and line[0, 0] == line[1, 0]]
    return [float(mark[0, 0]) for mark in sorted(marks, key=lambda mark: mark[0, 1])]


def points(line: Line2D) -> Values:
    """Return the points of a line, (points, 2)."""
    both = (line.get_xdata(), line.get_ydata())
    return np.column_stack([np.asarray(one, float) for one in both])


def row_names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_a_band_ends_where_the_interval_of_its_row_does() -> None:
    shown = [row for row in rows(study(rising)) if row.test == COMMON]
    panels = {a.get_title(loc="left"): a for a in learning_curves(shown).axes}
    assert list(panels) == ["random", "bag"]
    assert [line.get_color() for line in panels["bag"].lines] == [MUTED, BLUE]
    for name, axes in panels.items():
        corners = np.asarray(axes.collections[-1].get_paths()[0].vertices)
        own = [row for row in shown if row.strategy == name]
        means = [row.metrics["dice"].mean for row in own]
        assert points(axes.lines[-1])[:, 1] == pytest.approx(means)
        for row in own:
            ends = corners[corners[:, 0] == row.patients, 1]
            dice = row.metrics["dice"]
            assert (ends.min(), ends.max()) == pytest.approx((dice.low, dice.high))


def test_a_box_s_median_is_that_of_all_slices_of_all_seeds() -> None:
    """Two seeds of equal slices: the median lies halfway between their two values."""
    made = study(lambda strategy, share, seed, _: 0.5 + share / 2 + seed / 10)
    figure = score_distributions(made, "dice", COMMON)
    assert row_names(figure.axes[0]) == ["25%", "random", "bag", "50%", "random", "bag"]
    assert medians(figure) == pytest.approx([0.675, 0.675, 0.8, 0.8])


def test_trainings_that_were_not_measured_are_told_as_unknown() -> None:
    figure = carbon_distributions(emitting(GRAMS))
    names = ["25%", "random", "bag, 1 of 2 unknown", "50%", "random", "bag"]
    assert row_names(figure.axes[0]) == names
    assert medians(figure) == pytest.approx([12, 20, 40])
    (said,) = [a for a in figure.findobj(Text) if a.get_text() == "unknown"]
    assert said.get_position()[1] == names.index("bag", 3)


def test_a_study_without_any_energy_says_so() -> None:
    made = emitting(dict.fromkeys(GRAMS, (None, None)))
    for figure in (carbon_distributions(made), dice_per_carbon(rows(made))):
        assert texts(figure) == ["unknown: no energy could be measured"]


def test_dice_lies_over_the_mean_grams_of_a_training() -> None:
    made = emitting(GRAMS)
    shown = [row for row in rows(made) if row.test == COMMON]
    (axes,) = dice_per_carbon(shown).axes
    (line,) = axes.lines
    dice = [r.metrics["dice"].mean for r in shown if r.strategy == "random"]
    assert points(line)[:, 0] == pytest.approx([(10 + 14) / 2, (30 + 50) / 2])
    assert points(line)[:, 1] == pytest.approx(dice)
    note = carbon(made, shown).charts[1].note
    assert note.endswith("unknown, so not drawn: bag at 25%, bag at 50%")


def test_the_dark_dots_are_the_selected_patients() -> None:
    made = study(rising)
    selected = selected_first(made, 0.25)
    runs = [r.run.selection for r in made.results]
    first = {s.strategy: s.cases for s in runs if (s.proportion, s.seed) == (0.25, 0)}
    assert selected == first
    panels = {a.get_title(loc="left"): a for a in coverage_panels(POOL, selected).axes}
    where = {c.case_id: c.features for c in POOL.candidates}
    for name, cases in first.items():
        everyone, dark = map(points, panels[name].lines)
        chosen = [(where[c].nearest_point_mm, where[c].breast_size_mm) for c in cases]
        assert set(map(tuple, dark.tolist())) == set(chosen)
        assert len(everyone) == len(POOL.candidates)


def test_a_prediction_is_drawn_beside_the_annotation_over_its_slices() -> None:
    image = np.ones((7, 16, 16)) * np.arange(7)[:, None, None]
    truth, found = np.zeros((2, 7, 16, 16), bool)
    truth[1:6, 4:12, 4:12] = True
    found[1:6, 4:12, 6:14] = True
    figure = prediction_rows(image, truth, {"random": truth, "bag": found})
    planes = [np.asarray(axes.images[0].get_array(), float) for axes in figure.axes]
    assert [plane.max() for plane in planes] == [1, 2, 3, 4, 5] * 2, "feet to head"
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["random", "bag"]
    for axes, left in zip(figure.axes, [4] * 5 + [6] * 5, strict=True):
        edges = [one.get_paths()[0].get_extents() for one in axes.collections]
        assert [e.x0 for e in edges] == [4 - 0.5, left - 0.5]
        assert [e.x1 for e in edges] == [12 - 0.5, left + 8 - 0.5]


def test_coverage_is_shown_where_all_strategies_were_trained() -> None:
    whole = study(rising)
    part = replace(
        whole,
        results=tuple(
            one
            for one in whole.results
            if (one.run.selection.strategy, one.run.selection.proportion)
            != ("bag", 0.5)
        ),
    )
    for made, share in ((whole, "50%"), (part, "25%")):
        text = coverage(made, made.pool.candidates, rows(made)).text
        assert f"at {share}" in text
        assert "random" in text
        assert "bag" in text
