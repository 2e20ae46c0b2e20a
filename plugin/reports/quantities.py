"""Energy, carbon and time with their units; what was not measured is ``unknown``."""

from typing import Final

UNKNOWN: Final = "unknown"


def energy(kwh: float | None) -> str:
    """Return energy with its unit, such as ``58.3 Wh``, or ``unknown``."""
    if kwh is None:
        return UNKNOWN
    return f"{three(kwh)} kWh" if kwh >= 1 else f"{three(1000 * kwh)} Wh"


def carbon(kg: float | None) -> str:
    """Return the carbon footprint, such as ``27.7 g CO₂``, or ``unknown``."""
    if kg is None:
        return UNKNOWN
    return f"{three(kg)} kg CO₂" if kg >= 1 else f"{three(1000 * kg)} g CO₂"


def duration(seconds: float) -> str:
    """Return a duration such as ``2 h 5 min``, ``12 min 5 s`` or ``8.3 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"


def three(value: float) -> str:
    """Return a number of three significant digits, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
