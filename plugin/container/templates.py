"""Replacement keys and JSONPath in a command's templates.

The service replaces each input's key by its value as plain text, unescaped, in no
order that can be relied on, and evaluates one JSONPath per text first. A key that no
input of the wrapper has stays in the text as it is.
"""

import re
from collections.abc import Iterator
from itertools import permutations

from plugin.container.command import Command, CommandInput, Wrapper, WrapperInput
from plugin.container.findings import Finding, error, warning
from plugin.container.rules_wrapper import within

LEFT_OVER = re.compile(r"#[A-Za-z0-9_-]+#")
JSONPATH = re.compile(r"\^(wrapper:)?(.+)\^", re.DOTALL)
"""The service's own pattern: greedy, and only the first match counts."""
FIELD = re.compile(r"\$\.([a-z-]+)")


def template_rules(command: Command) -> Iterator[Finding]:
    """Yield what would go wrong when the templates are filled in."""
    for text in _everywhere(command):
        yield from _jsonpath(text, command, None)
    for wrapper in command.xnat:
        found = [*_left_over(command, wrapper), *_overlapping(command, wrapper)]
        for text in (*_everywhere(command), *_in_wrapper(wrapper)):
            found += _jsonpath(text, command, wrapper)
        yield from (within(wrapper, finding) for finding in found)
    yield from _unused(command)


def _everywhere(command: Command) -> Iterator[str]:
    """Yield the templates that every wrapper of the command shares."""
    yield from (command.command_line, command.working_directory)
    yield command.container_name
    for table in (
        command.environment_variables,
        command.ports,
        command.container_labels,
    ):
        yield from table.keys()
        yield from table.values()
    yield from (mount.path for mount in command.mounts)
    yield from (output.path for output in command.outputs)


def _in_wrapper(wrapper: Wrapper) -> Iterator[str]:
    for handler in wrapper.output_handlers:
        yield from (handler.label, handler.format, handler.content)
        yield from (handler.description, *handler.tags)
    yield from (entry.matcher for entry in wrapper.inputs)


def _seen(command: Command, wrapper: Wrapper) -> list[WrapperInput | CommandInput]:
    return [*wrapper.inputs, *command.inputs]


def _left_over(command: Command, wrapper: Wrapper) -> Iterator[Finding]:
    keys = {entry.key for entry in _seen(command, wrapper)}
    texts = " \n ".join((*_everywhere(command), *_in_wrapper(wrapper)))
    for key in sorted(set(LEFT_OVER.findall(texts)) - keys):
        yield error(f"no input has the key {key}: it would stay in the text")


def _overlapping(command: Command, wrapper: Wrapper) -> Iterator[Finding]:
    for one, other in permutations(_seen(command, wrapper), 2):
        if one.key == other.key and one.name < other.name:
            yield error(
                f"inputs '{one.name}' and '{other.name}' share the key {one.key}"
            )
        elif one.key != other.key and one.key in other.key:
            yield error(f"key {one.key} is part of key {other.key}")


def _jsonpath(
    text: str, command: Command, wrapper: Wrapper | None
) -> Iterator[Finding]:
    match = JSONPATH.search(text)
    if match is None or (match[1] is None) != (wrapper is None):
        return
    if "^" in match[2]:
        yield error(f"'{text}' has more than one JSONPath: only one is evaluated")
        return
    field = FIELD.fullmatch(match[2])
    scope = wrapper or command
    if field and not getattr(scope, field[1].replace("-", "_"), None):
        yield error(f"'{match[0]}' finds nothing and would stay in the text")


def _unused(command: Command) -> Iterator[Finding]:
    texts = " \n ".join(
        (*_everywhere(command), *(t for w in command.xnat for t in _in_wrapper(w)))
    )
    for entry in command.inputs:
        if entry.key not in texts:
            yield warning(f"input '{entry.name}': its key {entry.key} is used nowhere")
    for wrapper in command.xnat:
        for derived in wrapper.derived_inputs:
            if derived.key not in texts and not _goes_somewhere(derived, wrapper):
                yield within(wrapper, warning(f"input '{derived.name}' goes nowhere"))


def _goes_somewhere(entry: WrapperInput, wrapper: Wrapper) -> bool:
    targets = {handler.target for handler in wrapper.output_handlers}
    parents = {d.derived_from_wrapper_input for d in wrapper.derived_inputs}
    return bool(
        entry.provides_value_for_command_input
        or entry.provides_files_for_command_mount
        or entry.name in targets | parents
    )
