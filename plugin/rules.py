"""What a site may say about its own DCE series, in one TOML file.

The file's ``[dce]`` table is read; every key is optional::

    [dce]
    pre = "t1_fl3d_tra_dyn_0"     # pattern of the pre-contrast series' description
    post = "t1_fl3d_tra_dyn_[1-9]"
    exclude = "research"          # descriptions that are never used
    pre_series = "5"              # series number or UID, instead of any search
    post_series = "5"
    pre_time = 1                  # time point within that series, from 1
    post_time = 3
    minimum_slices = 10
    minimum_width_mm = 240.0      # a narrower field of view is one-sided
    tolerance_mm = 0.1            # how far a slice may lie off the regular grid
    require_bilateral = false
    require_lossless = false
"""

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from plugin.errors import ConfigError

TABLE = "dce"
TOLERANCE_MM = 0.1
"""How far a slice may lie off the regular grid: what rounding in headers explains."""


@dataclass(frozen=True, slots=True)
class DceRules:
    """Site overrides; patterns are searched in series descriptions, any case."""

    pre: str = ""
    post: str = ""
    exclude: str = ""
    pre_series: str = ""
    post_series: str = ""
    pre_time: int = 1
    post_time: int = 0
    """0 means the next one after ``pre_time`` in the same series, else the first."""
    minimum_slices: int = 10
    minimum_width_mm: float = 240.0
    tolerance_mm: float = TOLERANCE_MM
    require_bilateral: bool = False
    require_lossless: bool = False


def read_rules(path: Path) -> DceRules:
    """Return the rules of a TOML file; without a ``[dce]`` table, the defaults.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a key is unknown or out of range.
    """
    table = _read_table(path)
    kinds = {f.name: type(f.default) for f in fields(DceRules)}
    if unknown := sorted(set(table) - set(kinds)):
        raise _error(path, f"unknown keys {unknown}", f"keys out of {sorted(kinds)}")
    values = {key: _checked(path, key, table[key], kinds[key]) for key in table}
    rules = DceRules(**values)
    if bool(rules.pre_series) != bool(rules.post_series):
        needed = "both pre_series and post_series, or neither"
        raise _error(path, "only one of the two series", needed)
    return rules


def matches(pattern: str, description: str) -> bool:
    """Tell whether a rule's pattern is given and found in a description."""
    return bool(pattern) and re.search(pattern, description, re.IGNORECASE) is not None


def _read_table(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _error(path, str(error), "a readable TOML file") from error
    loose = sorted(key for key, value in document.items() if type(value) is not dict)
    table = document.get(TABLE, {})
    if loose:
        raise _error(path, f"keys outside a table: {loose}", f"them under [{TABLE}]")
    return dict(table)


def _checked(path: Path, key: str, value: Any, kind: type) -> Any:
    if kind is str and type(value) is int and key.endswith("_series"):
        return str(value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise _error(path, f"{key} = {value!r}", f"a value of type {kind.__name__}")
    if isinstance(value, str) and not key.endswith("_series"):
        _check_pattern(path, key, value)
    if isinstance(value, (int, float)) and value < 0:
        raise _error(path, f"{key} = {value!r}", "a value of at least 0")
    return value


def _check_pattern(path: Path, key: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        found = f"{key} = {pattern!r}, which is no regular expression: {error}"
        raise _error(path, found, "a Python regular expression") from error


def _error(path: Path, found: str, needed: str) -> ConfigError:
    mend = (
        f"edit the [{TABLE}] table; docs/how-to/recognise-your-series.md lists its keys"
    )
    return ConfigError(str(path), found=found, needed=needed, mend=mend)
