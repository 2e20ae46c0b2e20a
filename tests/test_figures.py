from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from contrast import LEGIBLE, contrast
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from report_inputs import GRID_PX, history, measured, scored, used

from model import chart
from model.bag import BagFeatures
from model.figures import (
    bag_histograms,
    breast_size_histogram,
    footprint_bars,
    learning_curve,
    metric_distributions,
    nearest_point_histogram,
    overlay_maps,
    png,
    power_over_time,
    svg,
)
from model.overlays import overlay_marks, overlay_png, rows_shown

PX = 5.0


def texts(figure: Figure) -> list[str]:
    found = [artist.get_text() for artist in figure.findobj(Text)]
    return [text for text in found if text]


def bars(axes: Axes) -> list[tuple[float, float, float]]:
    """Left edge, width and height of each bar."""
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(b.get_x(), b.get_width(), b.get_height()) for b in boxes]


def features(rows: list[int]) -> list[BagFeatures]:
    return [measured(row, 10)[0] for row in rows]


def test_equal_figures_give_equal_files() -> None:
    one, two = (learning_curve(history([0.5, 0.3, 0.4])) for _ in range(2))
    assert png(one) == png(two)
    assert svg(one) == svg(two)


def test_a_file_names_no_date_and_no_program_and_keeps_its_letters() -> None:
    figure = footprint_bars({"a": used(3.6e5)})
    assert b"Matplotlib" not in png(figure)
    text = svg(figure)
    assert "metadata" not in text
    assert ">g CO₂<" in text


@pytest.mark.parametrize("colour", [chart.INK, *chart.SERIES])
def test_letters_and_lines_contrast_with_the_page(colour: str) -> None:
    assert contrast(chart.SURFACE, colour) >= LEGIBLE


@settings(max_examples=8, deadline=None)
@given(rows=st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_a_histogram_counts_every_session_once(rows: list[int]) -> None:
    figure = nearest_point_histogram(features(rows))
    found = bars(figure.axes[0])
    assert sum(height for _, _, height in found) == len(rows)
    assert all(left % width == 0 for left, width, _ in found)
    assert all(one[0] + one[1] == two[0] for one, two in pairwise(found))


def test_picked_sessions_are_drawn_apart() -> None:
    rows, picked = [2, 2, 9, 30], [True, False, False, True]
    figure = nearest_point_histogram(features(rows), picked=picked)
    heights = [height for _, _, height in bars(figure.axes[0])]
    half = len(heights) // 2
    assert (sum(heights[:half]), sum(heights)) == (2, 2 + 2)
    assert {"first 2", "later", "median 5.5"} <= set(texts(figure))


def test_the_mm_scale_is_the_px_scale_times_the_pixel() -> None:
    figure = nearest_point_histogram(features([4, 10]))
    png(figure)  # the second scale takes its ends when it is drawn
    (axes,) = figure.axes
    (below,) = axes.child_axes
    assert below.get_xlim() == pytest.approx([PX * end for end in axes.get_xlim()])
    assert "mm" in texts(figure)


def test_a_pool_of_several_scales_has_an_approximate_mm_scale() -> None:
    rows = features([4, 10, 20])
    figure = nearest_point_histogram([*rows, replace(rows[0], mm_per_px=4.0)])
    assert "≈ mm" in texts(figure)


def test_both_histograms_share_one_figure() -> None:
    figure = bag_histograms(features([4, 10, 20]))
    assert [axes.get_title("left") for axes in figure.axes] == [
        "sessions by breast size",
        "sessions by nearest point",
    ]


@pytest.mark.parametrize(
    ("figure", "sentence"),
    [
        (bag_histograms([]), "no session was measured"),
        (nearest_point_histogram([]), "no session was measured"),
        (breast_size_histogram([]), "no session was measured"),
        (overlay_maps([], []), "no session was measured"),
        (learning_curve(), "no epoch was completed"),
        (learning_curve([]), "no epoch was completed"),
        (metric_distributions([]), "no slice was scored"),
        (power_over_time({}), "unknown: no readable meter"),
        (power_over_time({"gpu": [(0.0, None)]}), "unknown: no readable meter"),
        (footprint_bars({}), "no training was measured"),
        (footprint_bars({"0": used(None)}), "unknown: no energy could be measured"),
    ],
)
def test_nothing_to_plot_is_said(figure: Figure, sentence: str) -> None:
    assert texts(figure) == [sentence]
    assert sentence in svg(figure)


def test_marks_lie_on_the_map_and_the_edge_on_the_image() -> None:
    # 5 rows of padding above the image; the breast is rows 11 to 30 of the grid.
    found, overlay = measured(11, 20, top_px=5)
    marks = overlay_marks(overlay, found)
    assert marks is not None
    assert found.nearest_point_px == 11 - 5
    assert (marks.edge_px, marks.nearest_px, marks.last_px) == (5, 11, 30)
    assert marks.column_px == 10


def test_an_untouched_map_has_no_marks() -> None:
    found, overlay = measured()
    assert overlay_marks(np.zeros_like(overlay), found) is None


def test_maps_are_cut_behind_the_lowest_breast() -> None:
    maps = [measured(first, 10)[1] for first in (5, 25)]
    assert rows_shown(maps) == 25 + 10 + round(0.1 * GRID_PX)
    assert rows_shown([np.zeros((GRID_PX, GRID_PX), np.int32)]) == GRID_PX


def test_an_overlay_picture_has_the_size_of_its_map_and_repeats() -> None:
    overlay = measured()[1]
    picture = overlay_png(overlay, rows=40)
    assert picture == overlay_png(overlay, rows=40)
    assert int.from_bytes(picture[16:20]) == GRID_PX  # PNG, IHDR: width
    assert int.from_bytes(picture[20:24]) == 40


def test_every_case_has_its_map_and_its_measures() -> None:
    found, overlay = measured(6, 20, top_px=2)
    figure = overlay_maps([overlay] * 3, ["a", "b", "$c"], [found] * 3, columns=2)
    drawn = texts(figure)
    assert {"a", "b", "$c"} <= set(drawn)
    assert drawn.count("nearest 20 mm, size 100 mm") == 3
    assert len(png(figure)) > 0


def test_the_best_epoch_is_marked() -> None:
    figure = learning_curve(history([0.5, 0.2, 0.3]))
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [(*dot.get_xdata(), *dot.get_ydata()) for dot in dots] == [(1, 0.2)]  # type: ignore[misc]  # arrays of one
    assert "best 0.200" in texts(figure)


def test_each_fold_has_two_curves_and_a_dot() -> None:
    figure = learning_curve(history([0.5, 0.4]), history([0.6, 0.3]), [])
    assert len(figure.axes[0].lines) == 2 * 3


def test_one_epoch_is_drawn_as_points() -> None:
    axes = learning_curve(history([0.5])).axes[0]
    assert {line.get_marker() for line in axes.lines} == {"o"}


def test_a_box_tells_the_median_of_its_metric() -> None:
    slices, _ = scored(["a"])
    positive = [score for score in slices if score.reference_px]
    figure = metric_distributions(positive)
    # 18 of 20 rows: Dice 2 * 18 / (18 + 20), IoU and recall 18 / 20, precision 1.
    assert {f"{2 * 18 / 38:.3f}", "0.900", "1.000"} <= set(texts(figure))
    assert {"score per slice", "mm per slice"} <= set(texts(figure))


def test_distances_that_do_not_exist_are_left_out() -> None:
    slices, _ = scored(["a"])
    empty = [score for score in slices if score.both_empty]
    assert len(empty) == 2
    figure = metric_distributions(empty)
    assert "mm per slice" not in texts(figure)


def test_few_values_are_dots_and_many_a_box() -> None:
    _, cases = scored(["a", "b"])
    assert not bars(metric_distributions(cases, unit="case").axes[0])
    slices = [score for score in scored(["a"])[0] if score.reference_px]
    assert len(bars(metric_distributions(slices).axes[0])) == 4


def test_a_long_power_trace_is_averaged_and_keeps_its_mean() -> None:
    samples = [(float(t), 100.0 + t % 2) for t in range(6000)]
    figure = power_over_time({"gpu $1": samples})
    (line,) = figure.axes[0].lines
    watts = np.asarray(line.get_ydata())
    assert watts.size == 300
    assert watts.mean() == pytest.approx(100.5)
    assert any("mean 100 W" in text for text in texts(figure))
    assert "gpu $1" in svg(figure)


def test_a_failed_reading_is_not_drawn_as_zero() -> None:
    readings = [(0.0, 50.0), (1.0, None), (2.0, 70.0)]
    (line,) = power_over_time({"cpu": readings}).axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == [50.0, 70.0]


def test_an_unknown_fold_is_named_unknown_beside_the_known() -> None:
    figure = footprint_bars({"a": used(3.6e5), "b": used(None)})
    # 3.6e5 J = 0.1 kWh, times 0.475 kg/kWh = 47.5 g
    assert {"47.5 g, 100 Wh", "unknown", "a", "b"} <= set(texts(figure))
    widths = [width for _, width, _ in bars(figure.axes[0])]
    assert widths == pytest.approx([47.5, 0])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\t", "a?b?"),
        ("日本 é", "?? é"),
        ("x" * 12, "x" * 7 + "..."),
    ],
)
def test_only_drawable_characters_are_drawn(text: str, shown: str) -> None:
    assert chart.printable(text, limit=10) == shown
