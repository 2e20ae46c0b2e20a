"""A wrapper of a command file, resolved as the Container Service does at a launch.

It copies what surprises there: values go into templates as they are, in no order, and
recursively; a key that no input has stays; a value with a shell character, even a
derived one, ends the launch; a derived input without a value ends it too, required or
not. It derives texts only: our command needs no more.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plugin.container.command import (
    Command,
    CommandInput,
    CommandOutput,
    DerivedInput,
    OutputHandler,
    Wrapper,
    WrapperInput,
)
from plugin.container.words import ILLEGAL_TEXTS

COMMAND = Path(__file__).parents[1] / "command.json"
JSONPATH = re.compile(r"\^(wrapper:)?(.+)\^")
Values = dict[str, str]


class UnresolvedError(Exception):
    """The service could not resolve the command: nothing was started."""


@dataclass(frozen=True, slots=True)
class XnatObject:
    """What a wrapper is launched on; ``properties`` as the service names them."""

    uri: str
    directory: Path
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Mounted:
    """A folder of the container; no ``source`` means a new, writable one."""

    name: str
    path: str
    source: Path | None


@dataclass(frozen=True, slots=True)
class Kept:
    """One output, and the handler that takes it."""

    output: CommandOutput
    handler: OutputHandler


@dataclass(frozen=True, slots=True)
class Resolved:
    """Everything an engine needs to start the container."""

    command_line: str
    environment: Mapping[str, str]
    mounts: tuple[Mounted, ...]
    outputs: tuple[Kept, ...]


class Resolution:
    """One launch of one wrapper; ``raw`` is the command as its file holds it."""

    def __init__(
        self, command: Command, raw: Mapping[str, Any], wrapper: str, target: XnatObject
    ) -> None:
        self._command = command
        self._target = target
        place = [each.name for each in command.xnat].index(wrapper)
        self._wrapper: Wrapper = command.xnat[place]
        self._documents = {"": raw, "wrapper:": raw["xnat"][place]}
        self._objects: dict[str, XnatObject] = {}

    def resolve(self, given: Mapping[str, str]) -> Resolved:
        """Return the command with every template filled in."""
        provided: Values = {}
        values = self._wrapper_values(given, provided)
        lines: Values = {}
        for entry in self._command.inputs:
            values[entry.key] = self._question(entry, given, provided)
            lines[entry.key] = _on_the_line(entry, values[entry.key])
        return Resolved(
            command_line=self._filled(self._command.command_line, lines),
            environment={
                self._filled(name, values): self._filled(text, values)
                for name, text in self._command.environment_variables.items()
            },
            mounts=tuple(self._mounts(values)),
            outputs=tuple(self._outputs(values)),
        )

    def _wrapper_values(self, given: Mapping[str, str], provided: Values) -> Values:
        values: Values = {}
        for entry in self._wrapper.inputs:
            if isinstance(entry, DerivedInput):
                value = self._derived(entry)
            else:
                self._objects[entry.name] = self._target
                value = self._target.uri
            _refuse_illegal(entry.name, value)
            values[entry.key] = value
            if entry.provides_value_for_command_input:
                provided[entry.provides_value_for_command_input] = value
        return values

    def _derived(self, entry: DerivedInput) -> str:
        parent = self._objects[entry.derived_from_wrapper_input]
        value = parent.properties.get(entry.derived_from_xnat_object_property)
        if entry.type != "string" or value is None:
            raise UnresolvedError(
                f'Input "{entry.name}" does not have a unique, resolved value'
            )
        return value

    def _question(
        self, entry: CommandInput, given: Mapping[str, str], provided: Values
    ) -> str:
        value = provided.get(entry.name, given.get(entry.name, entry.default_value))
        if value is None and entry.required:
            raise UnresolvedError(f"Missing values for required input: {entry.name}.")
        value = self._found_by_path(value or "")
        if entry.type == "boolean":
            mapped = entry.true_value if value == "true" else entry.false_value
            value = value if mapped is None else mapped
        _refuse_illegal(entry.name, value)
        return value

    def _mounts(self, values: Values) -> list[Mounted]:
        fed: dict[str, WrapperInput] = {
            entry.provides_files_for_command_mount: entry
            for entry in self._wrapper.inputs
        }
        return [
            Mounted(
                mount.name,
                self._filled(mount.path, values),
                self._target.directory if mount.name in fed else None,
            )
            for mount in self._command.mounts
        ]

    def _outputs(self, values: Values) -> list[Kept]:
        outputs = {output.name: output for output in self._command.outputs}
        return [
            Kept(
                replace(output, path=self._filled(output.path, values)),
                replace(handler, label=self._filled(handler.label, values)),
            )
            for handler in self._wrapper.output_handlers
            for output in [outputs[handler.accepts_command_output]]
        ]

    def _filled(self, template: str, values: Values) -> str:
        """Replace every key by its value; the service's order is not to be known."""
        text = self._found_by_path(template)
        one, other = text, text
        for key in values:
            one = one.replace(key, values[key])
        for key in reversed(values):
            other = other.replace(key, values[key])
        if one != other:
            raise UnresolvedError(f"'{template}' depends on the order of its inputs")
        return one

    def _found_by_path(self, text: str) -> str:
        """Evaluate the one JSONPath of a text; what finds nothing stays."""
        match = JSONPATH.search(text)
        if match is None:
            return text
        found: Any = self._documents[match[1] or ""]
        for step in match[2].removeprefix("$.").split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        return text if found is None else text.replace(match[0], str(found))


def _refuse_illegal(name: str, value: str) -> None:
    for illegal in ILLEGAL_TEXTS:
        if illegal in value:
            raise UnresolvedError(
                f'Input "{name}" has a value containing illegal string "{illegal}".'
            )


def _on_the_line(entry: CommandInput, value: str) -> str:
    if not value.strip() or not entry.command_line_flag:
        return value.strip() and value
    separator = entry.command_line_separator
    return entry.command_line_flag + (" " if separator is None else separator) + value
