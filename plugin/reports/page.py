"""A report as a value, and as one self-contained HTML page.

A page holds no script, no clock and no address: style, charts (SVG) and pictures (PNG)
are inside, so it opens anywhere and the same values give the same bytes. Its colours
follow the reader's light or dark setting; a chart's do too, because the chart's palette
is replaced by the page's variables.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jinja2 import (
    ChoiceLoader,
    Environment,
    PackageLoader,
    StrictUndefined,
    select_autoescape,
)
from markupsafe import Markup
from matplotlib.figure import Figure

from model import chart
from model.atomic import write_atomically
from plugin.version import VERSION

COLOUR_VARIABLES = {
    chart.INK: "var(--ink)",
    chart.MUTED: "var(--muted)",
    chart.RULE: "var(--rule)",
    chart.SURFACE: "var(--surface)",
    chart.BLUE: "var(--blue)",
    chart.PALE_BLUE: "var(--pale-blue)",
    chart.ORANGE: "var(--orange)",
    chart.GREEN: "var(--green)",
    chart.PURPLE: "var(--purple)",
}
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
STYLED = re.compile(r' style="([^"]*)"')
NAMED = re.compile(r' id="([^"]+)"')
USED = re.compile(r'(url\(#|href="#)([^")]+)')

SYNTHETIC = "Synthetic data: every patient on this page was computed. None exists."


@dataclass(frozen=True, slots=True)
class Fact:
    """One number with its name, such as ``Energy`` and ``12.3 Wh``."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A plot with what it shows, said for those who do not see it."""

    figure: Figure
    title: str
    alt: str
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A PNG with a caption."""

    png: bytes
    title: str
    alt: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Marks:
    """Lines on a tile, in px of its picture."""

    edge: int
    top: int
    bottom: int
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A small picture of ``width`` by ``height`` px among many, with marks on it."""

    png: bytes
    width: int
    height: int
    title: str
    alt: str
    note: str
    marks: Marks | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table; ``at`` places a dot between the column's ends, 0 to 1."""

    text: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and how its cells are set.

    ``number`` stands at the right edge, ``name`` is kept on one line where it fits,
    ``prose`` needs no heading beside it on a narrow page.
    """

    name: str
    kind: Literal["text", "number", "name", "prose"] = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; ``breaks`` puts a line of words after so many rows."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    breaks: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A titled part of a page; what is empty is not drawn."""

    key: str
    title: str
    text: str = ""
    facts: Sequence[Fact] = ()
    table: Table | None = None
    charts: Sequence[Chart] = ()
    tiles: Sequence[Tile] = ()
    pictures: Sequence[Picture] = ()
    code: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A report: the verdict first, then its sections."""

    title: str
    verdict: str
    sections: Sequence[Section]
    detail: str = ""
    banner: str = ""


def write_page(page: Page, path: Path) -> None:
    """Write the page as one HTML file; the same page gives the same bytes."""
    template = _environment().get_template("report.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, template.render(page=page, version=VERSION).encode())


def inline_svg(figure: Figure, prefix: str) -> Markup:
    """Return a figure as SVG for an HTML page: themed, its names made unique.

    It has no style of its own, so that a page may forbid inline styles.
    """
    text = chart.svg(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text, count=1)
    text = text.replace("xlink:href", "href").replace("font-family: sans-serif; ", "")
    text = re.sub(r"\s*\n\s*", " ", text)
    # The text is matplotlib's own, which escapes every letter that it is given.
    return Markup(_themed(_own_names(STYLED.sub(_attributes, text), prefix)))


def _attributes(style: re.Match[str]) -> str:
    """Return the declarations of a style as presentation attributes (SVG 2, 6.6)."""
    pairs = (part.partition(":") for part in style[1].split(";") if part.strip())
    return "".join(f' {name.strip()}="{value.strip()}"' for name, _, value in pairs)


def _own_names(text: str, prefix: str) -> str:
    """Drop names that nothing refers to; prefix the others, unique on the page."""
    used = {name for _, name in USED.findall(text)}
    text = NAMED.sub(
        lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "",
        text,
    )
    return USED.sub(rf"\g<1>{prefix}\g<2>", text)


def _themed(text: str) -> str:
    return COLOUR.sub(lambda m: COLOUR_VARIABLES.get(m[0], m[0]), text)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("plugin"), PackageLoader("plugin", "static")]
        ),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    return environment


FILTERS: Mapping[str, Callable[..., Any]] = {
    "data_uri": _data_uri,
    "inline_svg": inline_svg,
}
"""What ``blocks.html`` needs of an environment."""
