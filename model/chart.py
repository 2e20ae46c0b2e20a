"""One look for every plot: its colours, its lettering, and the way it becomes a file.

Figures are drawn without pyplot, so nothing is global. A file holds no date and no
random identifier: equal figures give equal bytes.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, RULE, SURFACE = "#1f2428", "#59636e", "#d5dae0", "#ffffff"
"""Lettering, lesser lettering, grid lines, and the page behind."""
BLUE, ORANGE, GREEN, PURPLE = "#0b6fb5", "#ad5400", "#00795a", "#9c4a83"
"""Okabe and Ito's hues, darkened to a contrast of at least 4.5 on white."""
PALE_BLUE = "#a9cfea"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, MUTED)

WIDTH_IN, HEIGHT_IN = 4.8, 2.9
FONT_PT, SMALL_PT = 10.0, 9.0
LINE_PT = 1.8
PNG_DPI = 150
HASH_SALT = "brs"
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def new_chart(*, height_in: float = HEIGHT_IN) -> tuple[Figure, Axes]:
    """Return an empty chart with one pair of axes, as wide as a column of a report."""
    figure = Figure((WIDTH_IN, height_in), facecolor=SURFACE, layout="constrained")
    return figure, style(figure.add_subplot())


def style(axes: Axes) -> Axes:
    """Give axes the house look: a base line, faint horizontal rules, small letters."""
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=MUTED, labelsize=SMALL_PT, length=3)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def name_axes(axes: Axes, *, x: str, y: str) -> None:
    """Name both axes; the vertical one in reading direction above its numbers."""
    axes.set_xlabel(x, color=INK, fontsize=FONT_PT)
    axes.set_title(y, loc="left", color=INK, fontsize=FONT_PT)


def legend(axes: Axes, *, columns: int = 1) -> None:
    """Name the series above the plot: one a line, or beside the title in columns."""
    beside = columns > 1
    axes.legend(
        frameon=False,
        fontsize=SMALL_PT,
        labelcolor=INK,
        handlelength=1.0,
        loc="lower right" if beside else "lower left",
        bbox_to_anchor=(1.0, 1.0) if beside else (0.0, 1.12),
        borderpad=0.0,
        borderaxespad=0.2,
        ncols=columns,
        columnspacing=1.2,
    )


def write(
    axes: Axes,
    at: tuple[float, float],
    text: str,
    *,
    offset: tuple[float, float],
    colour: str = INK,
    mid: bool = False,
) -> None:
    """Write beside a point of the data, ``offset`` in pt."""
    axes.annotate(
        text,
        at,
        xytext=offset,
        textcoords="offset points",
        color=colour,
        fontsize=SMALL_PT,
        va="center",
        ha="center" if mid else "left",
        annotation_clip=False,
        parse_math=False,
    )


def say(text: str) -> Figure:
    """Return a figure that holds one sentence where there is nothing to plot."""
    figure, axes = new_chart(height_in=1.2)
    axes.set_axis_off()
    axes.text(
        0.5,
        0.5,
        text,
        color=MUTED,
        fontsize=FONT_PT,
        ha="center",
        va="center",
        transform=axes.transAxes,
        parse_math=False,
    )
    return figure


def printable(text: str, *, limit: int) -> str:
    """Return ``text`` without characters that the plot font cannot draw, shortened."""
    known = text.encode("latin-1", "replace").decode("latin-1")
    clean = "".join(c if c.isprintable() else "?" for c in known)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG; the same figure gives the same bytes."""
    out = io.BytesIO()
    with _repeatable():
        figure.savefig(out, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return out.getvalue()


def svg(figure: Figure) -> str:
    """Return the figure as SVG text; the same figure gives the same text.

    Letters stay text, so that they can be searched, read aloud and restyled.
    """
    out = io.StringIO()
    with _repeatable():
        figure.savefig(out, format="svg", metadata=NO_METADATA)
    return re.sub(r"font-family: [^;]*;", "font-family: sans-serif;", out.getvalue())


@contextmanager
def _repeatable() -> Iterator[None]:
    """Draw with fixed identifiers and with letters, not outlines, in SVG."""
    with rc_context({"svg.hashsalt": HASH_SALT, "svg.fonttype": "none"}):
        yield
