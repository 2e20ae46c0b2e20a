"""What the Container Service refuses in a wrapper: its inputs and handlers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
NAME = re.compile(r"[A-Za-z0-9_-]+")
INPUT_TYPES = frozenset(
    [
        "string",
        "boolean",
        "number",
        "Directory",
        "File",
        "File[]",
        "file",
        "Project",
        "ProjectAsset",
        "Subject",
        "SubjectAssessor",
        "Session",
        "Scan",
        "Assessor",
        "Resource",
        "Config",
    ]
)
HANDLER_TYPES = ("Resource", "Assessor", "Scan")
SELECTS = ("select-one", "select-many")


def wrapper_problems(command: Object, wrapper: Object) -> list[str]:
    """Return what is wrong with one wrapper of a command."""
    where = f'Wrapper "{wrapper.get("name")}"'
    found = [
        *_inputs(command, wrapper),
        *_derived(wrapper),
        *_handlers(command, wrapper),
    ]
    return [f"{where}: {each}" for each in found]


def _all_inputs(wrapper: Object) -> Sequence[Object]:
    external = wrapper.get("external-inputs") or []
    return [*external, *(wrapper.get("derived-inputs") or [])]


def _name_problems(kind: str, items: Sequence[Object]) -> Iterator[str]:
    seen: set[str] = set()
    for each in items:
        name = str(each.get("name") or "")
        if not name.strip():
            yield f"{kind} name cannot be blank."
        elif not NAME.fullmatch(name):
            yield f'{kind} name "{name}" has characters that are not allowed.'
        elif name in seen:
            yield f'{kind} name "{name}" is not unique.'
        seen.add(name)


def _inputs(command: Object, wrapper: Object) -> Iterator[str]:
    inputs = _all_inputs(wrapper)
    selects = {
        each.get("name")
        for each in command.get("inputs") or []
        if each.get("type") in SELECTS
    }
    yield from _name_problems("input", inputs)
    for each in inputs:
        name, kind = each.get("name"), each.get("type")
        if kind is not None and kind not in INPUT_TYPES:
            yield f'input "{name}" has the unknown type "{kind}".'
        if each.get("via-setup-command") and not each.get(
            "provides-files-for-command-mount"
        ):
            yield f'input "{name}" has a setup command and no mount to fill.'
        if each.get("provides-value-for-command-input") in selects:
            yield f'input "{name}" provides a value for a select.'


def _derived(wrapper: Object) -> Iterator[str]:
    known = {each.get("name") for each in wrapper.get("external-inputs") or []}
    for each in wrapper.get("derived-inputs") or []:
        name = each.get("name")
        source = each.get("derived-from-wrapper-input")
        if not str(source or "").strip():
            yield f'derived input "{name}" is derived from nothing.'
        elif source == name:
            yield f'derived input "{name}" is derived from itself.'
        elif source not in known:
            yield f'derived input "{name}" comes before "{source}", or that is unknown.'
        known.add(name)
        if each.get("multiple"):
            yield from _multiple(each)


def _multiple(each: Object) -> Iterator[str]:
    name = each.get("name")
    if each.get("provides-files-for-command-mount"):
        yield f'derived input "{name}" is multiple and fills a mount.'
    if not each.get("provides-value-for-command-input"):
        yield f'derived input "{name}" is multiple and provides no command input.'


def _handlers(command: Object, wrapper: Object) -> Iterator[str]:
    handlers = wrapper.get("output-handlers") or []
    outputs = [each.get("name") for each in command.get("outputs") or []]
    inputs = {each.get("name"): each for each in _all_inputs(wrapper)}
    yield from _name_problems("output handler", handlers)
    earlier: set[object] = set()
    for each in handlers:
        yield from _accepts(each, outputs)
        yield from _kind(each)
        yield from _parent(each, inputs, earlier)
        earlier.add(each.get("name"))
    handled = {each.get("accepts-command-output") for each in handlers}
    for name in outputs:
        if name not in handled:
            yield f'output "{name}" is not handled.'


def _accepts(handler: Object, outputs: Sequence[object]) -> Iterator[str]:
    name, accepts = handler.get("name"), handler.get("accepts-command-output")
    if not str(accepts or "").strip():
        yield f'output handler "{name}" accepts no output.'
    elif accepts not in outputs:
        yield f'output handler "{name}" accepts the unknown output "{accepts}".'


def _kind(handler: Object) -> Iterator[str]:
    name, kind = handler.get("name"), handler.get("type") or "Resource"
    if kind not in HANDLER_TYPES:
        yield f'output handler "{name}" has the unknown type "{kind}".'
    if kind == "Resource" and not str(handler.get("label") or "").strip():
        yield f'output handler "{name}" has no label.'


def _parent(
    handler: Object, inputs: Mapping[object, Object], earlier: set[object]
) -> Iterator[str]:
    name, parent = handler.get("name"), handler.get("as-a-child-of")
    if not str(parent or "").strip():
        yield f'output handler "{name}" is the child of nothing.'
    elif parent in inputs:
        source = inputs[parent]
        taken = source.get("derived-from-xnat-object-property")
        if source.get("multiple"):
            yield f'output handler "{name}" is the child of a multiple input.'
        if taken and taken != "uri":
            yield f'output handler "{name}" is the child of a property, no object.'
    elif parent not in earlier:
        yield f'output handler "{name}" is the child of the unknown "{parent}".'
