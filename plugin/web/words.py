"""Numbers and causes in words for people."""

import re
from datetime import datetime
from typing import Final

HIDDEN: Final = "[UID]"
SHORTEST_UID: Final = 12
"""Shorter dotted numbers are versions; a real UID has an organisation's root."""
DOTTED: Final = re.compile(r"(?<![\w.])[0-2](?:\.\d+){2,}(?![\w])")
PARTS: Final = re.compile(
    r"(?P<subject>.*?): found (?P<found>.*?); needed (?P<needed>.*?)"
    r"(?:\. Mend: (?P<mend>.*?)\.?)?",
    re.DOTALL,
)
STEPS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


def without_uids(text: str) -> str:
    """Return a text whose UIDs are hidden."""
    return DOTTED.sub(lambda m: HIDDEN if len(m[0]) >= SHORTEST_UID else m[0], text)


def age(seconds: float) -> str:
    """Return a time in its largest whole unit, such as ``3 min``."""
    for length_s, name in STEPS:
        if seconds >= length_s:
            return f"{int(seconds // length_s)} {name}"
    return "0 s"


def size(count: float) -> str:
    """Return a number of bytes, such as ``12.3 GiB``."""
    step = 0
    while count >= 1024 and step < len(UNITS) - 1:
        count, step = count / 1024, step + 1
    return f"{count:.0f} bytes" if step == 0 else f"{count:.1f} {UNITS[step]}"


def many(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 study`` or ``2 studies``."""
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {plural}"


def moment(at: datetime) -> str:
    """Return a time of day on this machine, with its date when that is another."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def parts_of(text: str) -> dict[str, str]:
    """Return what an error's text says was found, needed, and how to mend it.

    A text of another shape is all ``found``; what is not said is empty.
    """
    match = PARTS.fullmatch(text)
    if match is None:
        return {**dict.fromkeys(PARTS.groupindex, ""), "found": text}
    return {name: said or "" for name, said in match.groupdict().items()}
