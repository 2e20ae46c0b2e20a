"""How the templates write values."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from plugin.reports import page, quantities
from plugin.reports.quantities import UNKNOWN
from plugin.web import words


def span(seconds: float | None) -> str:
    """Return a duration, or ``unknown``."""
    return UNKNOWN if seconds is None else quantities.duration(seconds)


def volume(value_ml: float | None) -> str:
    """Return a volume in whole ml, or ``unknown``."""
    return UNKNOWN if value_ml is None else f"{value_ml:,.0f} ml"


def distance(value_mm: float | None) -> str:
    """Return a length in whole mm, or ``unknown``."""
    return UNKNOWN if value_mm is None else f"{value_mm:,.0f} mm"


def size(count: float | None) -> str:
    """Return a number of bytes, or ``unknown``."""
    return UNKNOWN if count is None else words.size(count)


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was, or ``unknown``."""
    if at is None:
        return UNKNOWN
    return f"{words.age((now - at).total_seconds())} ago"


def segments(stages_s: Mapping[str, float]) -> list[tuple[str, float, float, float]]:
    """Return name, seconds, start and width in percent of every stage on one bar."""
    total_s = sum(stages_s.values())
    if total_s <= 0:
        return []
    rows, start = [], 0.0
    for name, seconds in stages_s.items():
        width = 100 * seconds / total_s
        rows.append((name, seconds, start, width))
        start += width
    return rows


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    **page.FILTERS,
    "age": words.age,
    "ago": ago,
    "carbon": quantities.carbon,
    "energy": quantities.energy,
    "distance": distance,
    "moment": words.moment,
    "parts_of": words.parts_of,
    "segments": segments,
    "size": size,
    "span": span,
    "volume": volume,
    "without_uids": words.without_uids,
}
