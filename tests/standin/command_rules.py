"""What the Container Service refuses in a command: its rules, read independently.

Written from the service's behaviour, apart from the project's own lint, so that each
reading checks the other.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from standin.wrapper_rules import wrapper_problems

Object = Mapping[str, Any]
NAME = re.compile(r"[A-Za-z0-9_-]+")
TAGGED = re.compile(r".+:[a-zA-Z0-9_.-]+")
TYPES = ("docker", "docker-setup", "docker-wrapup")
VISIBILITIES = ("public", "private", "protected")
BARE = ("mounts", "inputs", "outputs", "xnat", "environment-variables", "ports")
OWN_VARIABLES = ("XNAT_USER", "XNAT_PASS", "XNAT_HOST")
DELIMITERS = ("quoted-space", "space", "comma", "flag")
SELECTS = ("select-one", "select-many")


def problems(command: Object) -> list[str]:
    """Return what is wrong with a command; nothing when the service takes it."""
    return [
        *_identity(command),
        *_bare_type(command),
        *_limits(command),
        *_secrets(command),
        *_mounts(command),
        *_inputs(command),
        *_outputs(command),
        *_wrappers(command),
    ]


def blank(value: object) -> bool:
    return not str(value or "").strip()


def doubles(names: Iterable[object]) -> list[str]:
    """Return the names that occur more than once."""
    found = [str(name) for name in names if not blank(name)]
    return sorted({name for name in found if found.count(name) > 1})


def badly_named(kind: str, items: Iterable[Object]) -> Iterator[str]:
    """Yield blank, badly written and doubled names among inputs, outputs, handlers."""
    for item in items:
        name = item.get("name")
        if blank(name):
            yield f"{kind} name cannot be blank."
        elif not NAME.fullmatch(str(name)):
            yield f'{kind} name "{name}" has characters that are not allowed.'


def _identity(command: Object) -> Iterator[str]:
    if blank(command.get("name")):
        yield "Command name cannot be blank."
    image = command.get("image")
    if blank(image):
        yield "Image name cannot be blank."
    elif not TAGGED.fullmatch(str(image)):
        yield f'Image "{image}" has no tag.'
    if command.get("type", "docker") not in TYPES:
        yield f'Command type "{command.get("type")}" is unknown.'
    if command.get("visibility", "public") not in VISIBILITIES:
        yield f'Visibility "{command.get("visibility")}" is unknown.'


def _bare_type(command: Object) -> Iterator[str]:
    kind = command.get("type", "docker")
    if kind in ("docker-setup", "docker-wrapup"):
        for key in (*BARE, "secrets"):
            if command.get(key):
                yield f'A command of type {kind} cannot declare "{key}".'


def _limits(command: Object) -> Iterator[str]:
    for name, value in (command.get("ulimits") or {}).items():
        if blank(value) or str(value).count(":") > 1:
            yield f'ulimit "{name}" must be a limit, or soft:hard.'


def _secrets(command: Object) -> Iterator[str]:
    variables = command.get("environment-variables") or {}
    for secret in command.get("secrets") or []:
        name = (secret.get("destination") or {}).get("identifier")
        if name in OWN_VARIABLES:
            yield f'A secret cannot be put into "{name}".'
        if name in variables:
            yield f'A secret and an environment variable are both called "{name}".'


def _mounts(command: Object) -> Iterator[str]:
    mounts = command.get("mounts") or []
    for mount in mounts:
        if blank(mount.get("name")):
            yield "Mount name cannot be blank."
        if blank(mount.get("path")):
            yield f'Mount "{mount.get("name")}" path cannot be blank.'
    for name in doubles(mount.get("name") for mount in mounts):
        yield f'Mount name "{name}" is not unique.'


def _inputs(command: Object) -> Iterator[str]:
    inputs = command.get("inputs") or []
    yield from badly_named("Command input", inputs)
    for name in doubles(each.get("name") for each in inputs):
        yield f'Command input name "{name}" is not unique.'
    for each in inputs:
        yield from _selection(each)


def _selection(each: Object) -> Iterator[str]:
    name, values = each.get("name"), each.get("select-values") or []
    delimiter = each.get("multiple-delimiter")
    if delimiter is not None and delimiter not in DELIMITERS:
        yield f'Command input "{name}" has the unknown delimiter "{delimiter}".'
    selects = each.get("type", "string") in SELECTS
    if selects and not values:
        yield f'Command input "{name}" is a select without select-values.'
    if values and not selects:
        yield f'Command input "{name}" has select-values and is no select.'
    if selects and values:
        for default in _defaults(each):
            if default not in values:
                yield f'Command input "{name}" has a default that is not selectable.'


def _defaults(each: Object) -> list[str]:
    default = each.get("default-value")
    if default is None:
        return []
    if each.get("type") == "select-many":
        try:
            listed = json.loads(str(default))
        except ValueError:
            return [str(default)]
        return (
            [str(one) for one in listed] if isinstance(listed, list) else [str(default)]
        )
    return [str(default)]


def _outputs(command: Object) -> Iterator[str]:
    outputs = command.get("outputs") or []
    mounts = {mount.get("name") for mount in command.get("mounts") or []}
    yield from badly_named("Command output", outputs)
    for name in doubles(each.get("name") for each in outputs):
        yield f'Command output name "{name}" is not unique.'
    for each in outputs:
        if blank(each.get("mount")):
            yield f'Command output "{each.get("name")}" mount cannot be blank.'
        elif each.get("mount") not in mounts:
            yield f'Command output "{each.get("name")}" has an unknown mount.'


def _wrappers(command: Object) -> Iterator[str]:
    wrappers = command.get("xnat") or []
    for name in doubles(each.get("name") for each in wrappers):
        yield f'Wrapper name "{name}" is not unique.'
    for each in wrappers:
        if blank(each.get("name")):
            yield "Wrapper name cannot be blank."
        yield from wrapper_problems(command, each)
