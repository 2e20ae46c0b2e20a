"""Tables of a TOML file, and texts of variables, to dataclasses that check themselves.

What a dataclass allows is read from its annotations, so that a setting is declared
once, where it is used.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from plugin.errors import ConfigError

T = TypeVar("T")

TRUE, FALSE = {"1", "true", "yes"}, {"0", "false", "no"}


def build(kind: type[T], table: Mapping[str, Any], where: str, **settled: Any) -> T:
    """Return a dataclass made of a table; ``where`` is what messages call the table.

    What is ``settled`` is no key of the table.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value is none of its kind.
    """
    hints = {k: h for k, h in get_type_hints(kind).items() if k not in settled}
    check_known(table, hints, where)
    values = {key: checked(hints[key], table[key], f"{where}{key}") for key in table}
    for field in fields(kind):  # type: ignore[arg-type]
        has_default = (field.default, field.default_factory) != (MISSING, MISSING)
        if field.name in hints.keys() - values.keys() and not has_default:
            raise wrong(f"{where}{field.name}", "nothing", said(hints[field.name]))
    return kind(**values, **settled)


def check_known(table: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """Refuse a key that does not exist, naming those that do."""
    for key in table:
        if key not in known:
            raise wrong(f"{where}{key}", "an unknown key", f"one of {sorted(known)}")


def checked(hint: Any, value: Any, name: str) -> Any:
    """Return a TOML value as what an annotation asks for."""
    hint = _certain(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, _table(value, name), f"{name}.")
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or any(type(v) is not str for v in value):
            raise wrong(name, _shown(value), "a list of texts")
        return tuple(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum | Path):
        return _named(hint, value, name)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise wrong(name, _shown(value), said(hint))
    return value


def parsed(hint: Any, text: str, name: str) -> Any:
    """Return a variable's text as the TOML value that would say the same."""
    hint = _certain(hint)
    try:
        if hint is int:
            return int(text)
        if hint is float:
            return float(text)
    except ValueError:
        raise wrong(name, repr(text), said(hint)) from None
    if hint is bool:
        if text.lower() not in TRUE | FALSE:
            raise wrong(name, repr(text), "1 or 0")
        return text.lower() in TRUE
    if get_origin(hint) is tuple:
        return text.replace(",", " ").split()
    return text


def said(hint: Any) -> str:
    """Return how a message calls a kind of value."""
    hint = _certain(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return f"one of {[str(value) for value in hint]}"
    if get_origin(hint) is tuple:
        return "a list of texts"
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        Path: "a path",
    }
    return names.get(hint, "a table")


def wrong(name: str, found: str, needed: str) -> ConfigError:
    """Return the refusal of a setting."""
    return ConfigError(
        f"setting {name}",
        found=found,
        needed=needed,
        mend="correct it; docs/reference/configuration.md lists all settings",
    )


def _certain(hint: Any) -> Any:
    """Return the kind of an optional setting."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(kind for kind in get_args(hint) if kind is not types.NoneType)
    return hint


def _named(hint: type[StrEnum] | type[Path], value: Any, name: str) -> Any:
    if type(value) is not str:
        raise wrong(name, _shown(value), said(hint))
    try:
        return hint(value)
    except ValueError:
        raise wrong(name, repr(value), said(hint)) from None


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(name, _shown(value), "a table")
    return value


def _shown(value: Any) -> str:
    """Return a value as a message quotes it: what is long is told by its kind."""
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
