"""Pictures of overlay maps: where a case's breast lies over all slices.

The nearest point and the breast size are found on the map itself by the feature's own
rule, so that a mark always lies on what it measures, with or without padding.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from model.bag import BagFeatures, touched_rows
from model.chart import FONT_PT, INK, SMALL_PT, SURFACE, printable, say

COLOURS = "magma"
"""Rises evenly in lightness, in print and in every colour vision."""
MARK = "#7fe0ff"
MARGIN = 0.1
"""Rows kept behind the lowest breast, as a share of the grid."""
TITLE_LIMIT = 24


@dataclass(frozen=True, slots=True)
class OverlayMarks:
    """What is marked on a map, in px of the map."""

    edge_px: int
    """Row of the image's anterior edge; 0 where nothing was padded."""
    nearest_px: int
    column_px: int
    last_px: int
    """Last row that the breast touches."""


def overlay_marks(
    overlay: NDArray[np.int32], features: BagFeatures
) -> OverlayMarks | None:
    """Return the marks of a map (rows, columns); None when no row is touched."""
    rows = touched_rows(overlay, features.rule)
    if not rows.size:
        return None
    first = int(rows[0])
    return OverlayMarks(
        edge_px=max(0, first - features.nearest_point_px),
        nearest_px=first,
        column_px=int(np.argmax(overlay[first])),
        last_px=int(rows[-1]),
    )


def rows_shown(maps: Sequence[NDArray[np.int32]]) -> int:
    """Return how many rows of equal maps hold every breast, with a margin behind."""
    height: int = maps[0].shape[0]
    last = max(
        (int(np.flatnonzero(m.any(axis=1))[-1]) for m in maps if m.any()),
        default=height,
    )
    return min(height, last + 1 + round(MARGIN * height))


def overlay_png(overlay: NDArray[np.int32], *, rows: int | None = None) -> bytes:
    """Return a map's first ``rows`` rows as a PNG, brightest where most slices are."""
    shown = overlay[:rows]
    levels = np.rint(255 * (shown / max(1, int(overlay.max())))).astype(np.uint8)
    picture = Image.fromarray(levels).convert("P")
    picture.putpalette(
        (colormaps[COLOURS](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes()
    )
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def overlay_maps(
    maps: Sequence[NDArray[np.int32]],
    titles: Sequence[str],
    features: Sequence[BagFeatures] | None = None,
    *,
    columns: int = 4,
) -> Figure:
    """Return one map per case, marked where ``features`` are given (paper Figure 2).

    Maps are (rows, columns) of one grid. An arrow runs from the image's anterior edge
    to the nearest point, a bar spans the breast size.
    """
    if not maps:
        return say("no session was measured")
    columns = min(columns, len(maps))
    lines = -(-len(maps) // columns)
    rows = rows_shown(maps)
    height_in = 2.4 * rows / maps[0].shape[1] + 0.55
    size = (2.4 * columns, height_in * lines)
    figure = Figure(size, facecolor=SURFACE, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for place, (overlay, title) in enumerate(zip(maps, titles, strict=True)):
        _draw_map(grid[place], overlay[:rows], title)
        if features is not None:
            _draw_marks(grid[place], overlay, features[place])
    return figure


def _draw_map(axes: Axes, overlay: NDArray[np.int32], title: str) -> None:
    axes.imshow(overlay, cmap=COLOURS, vmin=0, interpolation="nearest")
    axes.set_title(
        printable(title, limit=TITLE_LIMIT),
        loc="left",
        color=INK,
        fontsize=FONT_PT,
        parse_math=False,
    )


def _draw_marks(axes: Axes, overlay: NDArray[np.int32], features: BagFeatures) -> None:
    marks = overlay_marks(overlay, features)
    if marks is None:
        return
    across = overlay.shape[1]
    if marks.edge_px:
        axes.axhline(marks.edge_px - 0.5, color=MARK, linewidth=0.8, alpha=0.6)
    axes.annotate(
        "",
        (marks.column_px, marks.nearest_px),
        (marks.column_px, marks.edge_px - 0.5),
        arrowprops={
            "arrowstyle": "-|>",
            "mutation_scale": 8,
            "color": MARK,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
    bar = (0.04 * across, 0.04 * across)
    axes.plot(bar, (marks.nearest_px, marks.last_px), color=MARK, linewidth=1.5)
    axes.text(
        0.0,
        -0.02,
        f"nearest {features.nearest_point_mm:.0f} mm, "
        f"size {features.breast_size_mm:.0f} mm",
        color=INK,
        fontsize=SMALL_PT,
        va="top",
        transform=axes.transAxes,
    )
