"""Charts of the reports, drawn once, so that a page can show them again and again."""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from plugin.reports.page import Chart, inline_svg


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as SVG, with what it shows."""

    svg: Markup
    title: str
    alt: str
    note: str


def draw(charts: Iterable[Chart], prefix: str) -> tuple[Drawn, ...]:
    """Return charts as SVG. In one thread only: matplotlib's settings are global."""
    return tuple(
        Drawn(inline_svg(c.figure, f"{prefix}{at}-"), c.title, c.alt, c.note)
        for at, c in enumerate(charts)
    )
