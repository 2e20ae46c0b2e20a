"""Read DICOM values straight from their bytes: fast, silent, never raising.

Converting an element with pydicom takes longer than reading it from disk, and the
warnings it raises on odd values quote them. A header scan needs some thirty
well-known values per file, so they are taken from the raw element (PS3.5 6.2).
"""

import functools
import math
import re
import struct
from collections.abc import Sequence
from datetime import date

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

BINARY_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
DAY_S = 86_400
_TIME = re.compile(r"(\d\d):?(\d\d)?:?(\d\d)?(\.\d+)?\.?(?:[+-]\d{4})?")
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")


def text(dataset: Dataset, keyword: str) -> str:
    """Return the value as ASCII text without padding, empty when absent."""
    raw = _raw(dataset, keyword)
    return (raw.value or b"").decode("latin-1").strip(" \0") if raw else ""


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a multi-valued text element, upper case."""
    value = text(dataset, keyword).upper()
    return tuple(part.strip() for part in value.split("\\")) if value else ()


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of a numeric element; empty when absent or malformed."""
    raw = _raw(dataset, keyword)
    if not raw:
        return ()
    try:
        values = _unpack(raw, _entry(keyword)[1])
    except (ValueError, struct.error):
        return ()
    return values if all(map(math.isfinite, values)) else ()


def number(dataset: Dataset, *keywords: str) -> float | None:
    """Return the first value of the first of ``keywords`` that has one."""
    for keyword in keywords:
        if values := numbers(dataset, keyword):
            return values[0]
    return None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Return a whole number, None when absent or malformed."""
    value = number(dataset, keyword)
    return None if value is None else round(value)


def items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence, none when absent."""
    value = dataset.get(keyword)
    return value if isinstance(value, pydicom.Sequence) else ()


def stamp_s(dataset: Dataset, *keywords: str) -> float | None:
    """Return seconds since year 1 of the first DT element that has a time of day."""
    for value in (text(dataset, keyword) for keyword in keywords):
        if (seconds := clock_s(value[8:])) is not None:
            return _day_s(value) + seconds
    return None


def instant_s(dataset: Dataset, *, day: str, clock: str) -> float | None:
    """Return seconds since year 1 from a DA and a TM element.

    Without any date the seconds count from midnight: comparable within one day.
    """
    seconds = clock_s(text(dataset, clock))
    if seconds is None:
        return None
    days = (text(dataset, keyword) for keyword in (day, "SeriesDate", "StudyDate"))
    return seconds + next((_day_s(value) for value in days if value), 0)


def clock_s(value: str) -> float | None:
    """Return seconds since midnight of a TM value (PS3.5 6.2), None when malformed.

    The colons of ACR-NEMA times are accepted, a UTC offset is left out.
    """
    match = _TIME.fullmatch(value)
    if match is None:
        return None
    hours, minutes, seconds, fraction = map(float, match.groups(default="0"))
    return hours * 3600 + minutes * 60 + seconds + fraction


def _day_s(value: str) -> float:
    match = _DATE.match(value)
    if match is None:
        return 0.0
    try:
        return date(*map(int, match.groups())).toordinal() * DAY_S
    except ValueError:
        return 0.0


@functools.cache
def _entry(keyword: str) -> tuple[BaseTag, str]:
    tag = Tag(keyword)
    return tag, dictionary_VR(tag)


def _raw(dataset: Dataset, keyword: str) -> RawDataElement | None:
    element = dataset.get_item(_entry(keyword)[0])
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
        return element
    return None


def _unpack(raw: RawDataElement, vr: str) -> tuple[float, ...]:
    value = raw.value or b""
    code = BINARY_FORMATS.get(vr)
    if code is None:
        parts = value.decode("ascii").replace("\0", " ").split("\\")
        return tuple(float(part) for part in parts) if value.strip(b" \0") else ()
    count = len(value) // struct.calcsize(code)
    order = "<" if raw.is_little_endian else ">"
    return struct.unpack(f"{order}{count}{code}", value)
