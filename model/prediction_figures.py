"""Predictions over the slices of one case, a row a strategy (paper Figures 5 and 6)."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.chart import INK, SMALL_PT, SURFACE, say
from model.ensemble import Mask
from model.preview import contour, rows_shown, spread_slices

SLICES = 5
TRUTH_COLOUR, FOUND_COLOUR = "#56b4e9", "#e69f00"
"""Sky blue and orange of Okabe and Ito: the annotation, and the prediction."""
TILE_IN = 1.25
WHITE_PERCENTILE = 99.0


def prediction_rows(
    image: NDArray[np.floating], truth: Mask, found: Mapping[str, Mask]
) -> Figure:
    """Return slices of ``image`` with both contours, a row for each name in ``found``.

    Arrays are (slices, rows, columns). Slices run from feet to head over the
    annotation's extent.
    """
    if not found:
        return say("nothing was predicted")
    shown = spread_slices(truth, SLICES)
    rows = rows_shown(truth)
    aspect = (rows.stop - rows.start) / truth.shape[2]
    size = (TILE_IN * len(shown), (TILE_IN * aspect + 0.2) * len(found))
    figure = Figure(size, facecolor=SURFACE, layout="constrained")
    grid = figure.subplots(len(found), len(shown), squeeze=False)
    white = float(np.percentile(image[shown], WHITE_PERCENTILE))
    for line, (name, mask) in zip(grid, found.items(), strict=True):
        for axes, index in zip(line, shown, strict=True):
            axes.set_axis_off()
            plane = np.asarray(image[index, rows], np.float32)
            axes.imshow(plane, cmap="gray", vmin=0, vmax=max(white, 1e-6))
            contour(axes, truth[index, rows], TRUTH_COLOUR)
            contour(axes, mask[index, rows], FOUND_COLOUR)
        line[0].set_title(name, loc="left", color=INK, fontsize=SMALL_PT)
    return figure
