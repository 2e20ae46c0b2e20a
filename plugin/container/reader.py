"""Objects of a command file -> values, with a finding for every unknown key.

The service ignores unknown keys without a word, so that a typo is never reported:
this is where it is. A value of the wrong shape is reported and left at its default.
"""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from plugin.container.command import Command
from plugin.container.findings import Finding, error

Kind = TypeVar("Kind")

TRUTHS = {"true": True, "false": False, "1": True, "0": False}


class WrongShapeError(ValueError):
    """A value that the service could not read either."""


def read_command(raw: Mapping[str, Any], findings: list[Finding]) -> Command:
    """Return the command that ``raw`` describes; odd things go to ``findings``."""
    return _object(Command, raw, "", findings)


def _object(kind: type[Kind], raw: Any, where: str, findings: list[Finding]) -> Kind:
    if not isinstance(raw, Mapping):
        raise WrongShapeError("an object is needed")
    hints = get_type_hints(kind)
    names = {name.replace("_", "-"): name for name in hints}
    values = {}
    for key, value in raw.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in names:
            findings.append(error(_unknown(place, key, list(names))))
        elif value is not None:
            try:
                values[names[key]] = _value(hints[names[key]], value, place, findings)
            except WrongShapeError as problem:
                findings.append(error(f"'{place}': {problem}"))
            except (ValueError, OverflowError):
                findings.append(error(f"'{place}': a number is needed"))
    return kind(**values)


def _unknown(place: str, key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown key '{place}': the service ignores it silently{hint}"


def _value(hint: Any, value: Any, place: str, findings: list[Finding]) -> Any:
    """Return ``value`` as the service's reader would, for a field of type ``hint``."""
    if hint is Any:
        return value
    if get_origin(hint) is tuple:
        return _many(get_args(hint)[0], value, place, findings)
    if get_origin(hint) is Mapping:
        return _texts_by_name(value)
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint, value, place, findings)
    return _SCALARS[next(kind for kind in _SCALARS if kind in (hint, *get_args(hint)))](
        value
    )


def _many(
    kind: Any, value: Any, place: str, findings: list[Finding]
) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise WrongShapeError("a list is needed")
    return tuple(
        _value(kind, entry, f"{place}[{number}]", findings)
        for number, entry in enumerate(value)
    )


def _texts_by_name(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise WrongShapeError("an object of texts is needed")
    return {str(key): _text(entry) for key, entry in value.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise WrongShapeError("a text is needed")


def _flag(value: Any) -> bool:
    truth = TRUTHS.get(_text(value).strip().lower())
    if truth is None:
        raise WrongShapeError("true or false is needed")
    return truth


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise WrongShapeError("a whole number is needed")
    return int(value) if isinstance(value, float) else int(_text(value))


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise WrongShapeError("a number is needed")
    return float(_text(value))


_SCALARS: dict[type, Callable[[Any], Any]] = {
    str: _text,
    bool: _flag,
    int: _whole,
    float: _number,
}
