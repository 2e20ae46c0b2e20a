"""What the service itself checks of a command, before any wrapper.

Source: ``Command.validate`` and the nested ``validate`` methods of the service.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from plugin.container import words
from plugin.container.command import Command, CommandInput, CommandOutput, Mount
from plugin.container.findings import Finding, error


def command_rules(command: Command) -> Iterator[Finding]:
    """Yield what the service would refuse in the command itself."""
    yield from _identity(command)
    if command.type == "docker":
        yield from _docker(command)
    elif command.type in words.COMMAND_TYPES:
        yield from _setup_or_wrapup(command)
    yield from _secrets(command)


def repeated(names: Iterable[str]) -> list[str]:
    """Return each name that occurs more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def misnamed(what: str, name: str) -> Iterator[Finding]:
    """Yield a finding when a name is blank or has other than letters, digits, _ -."""
    if not name.strip():
        yield error(f"{what} has no name")
    elif not words.NAME.fullmatch(name):
        yield error(f"{what} '{name}': only letters, digits, _ and - may name it")


def _identity(command: Command) -> Iterator[Finding]:
    if not command.name.strip():
        yield error("the command has no name")
    if not command.image.strip():
        yield error("the command has no image")
    elif not words.TAGGED.fullmatch(command.image):
        yield error(f"image '{command.image}' has no tag")
    if command.type not in words.COMMAND_TYPES:
        known = ", ".join(words.COMMAND_TYPES)
        yield error(f"type '{command.type}' is unknown; known: {known}")
    if command.visibility not in words.VISIBILITIES:
        known = ", ".join(words.VISIBILITIES)
        yield error(f"visibility '{command.visibility}' is unknown; known: {known}")


def _setup_or_wrapup(command: Command) -> Iterator[Finding]:
    declared = {
        "mounts": command.mounts,
        "inputs": command.inputs,
        "outputs": command.outputs,
        "wrappers": command.xnat,
        "environment variables": command.environment_variables,
        "ports": command.ports,
        "secrets": command.secrets,
    }
    for what, entries in declared.items():
        if entries:
            yield error(f"a {command.type} command cannot declare {what}")


def _docker(command: Command) -> Iterator[Finding]:
    for name, limit in command.ulimits.items():
        if not limit or limit.count(":") > 1:
            yield error(f"ulimit '{name}' is '{limit}'; needed 'soft:hard' or 'limit'")
    for mount in command.mounts:
        yield from _mount(mount)
    for entry in command.inputs:
        yield from _input(entry)
    for output in command.outputs:
        yield from _output(output, command)
    parts = {
        "mount": [mount.name for mount in command.mounts],
        "input": [entry.name for entry in command.inputs],
        "output": [output.name for output in command.outputs],
    }
    for what, names in parts.items():
        for name in repeated(names):
            yield error(f"{what} '{name}' is declared twice")


def _mount(mount: Mount) -> Iterator[Finding]:
    if not mount.name.strip():
        yield error("a mount has no name")
    if not mount.path.strip():
        yield error(f"mount '{mount.name}' has no path")


def _input(entry: CommandInput) -> Iterator[Finding]:
    yield from misnamed("input", entry.name)
    if entry.multiple_delimiter not in (None, *words.DELIMITERS):
        known = ", ".join(words.DELIMITERS)
        delimiter = entry.multiple_delimiter
        yield error(
            f"input '{entry.name}': multiple-delimiter '{delimiter}'; known: {known}"
        )
    if entry.is_select and not entry.select_values:
        yield error(f"input '{entry.name}' is a {entry.type} without select-values")
    if entry.select_values and not entry.is_select:
        yield error(f"input '{entry.name}' has select-values but is no select type")
    outside = [d for d in _defaults(entry) if d not in entry.select_values]
    if entry.select_values and outside:
        yield error(
            f"input '{entry.name}': default {', '.join(map(repr, outside))} "
            "is not among its select-values"
        )


def _defaults(entry: CommandInput) -> list[str]:
    """Return the default values: of a select-many a JSON list, if it is one."""
    if entry.default_value is None:
        return []
    if entry.type == "select-many":
        try:
            values = json.loads(entry.default_value)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, list):
            return [str(value) for value in values]
    return [entry.default_value]


def _output(output: CommandOutput, command: Command) -> Iterator[Finding]:
    yield from misnamed("output", output.name)
    if not output.mount.strip():
        yield error(f"output '{output.name}' has no mount")
    elif output.mount not in {mount.name for mount in command.mounts}:
        yield error(f"output '{output.name}' is of the unknown mount '{output.mount}'")


def _secrets(command: Command) -> Iterator[Finding]:
    for secret in command.secrets:
        variable = secret.destination.identifier
        if variable in words.SECRET_FORBIDDEN:
            yield error(f"secret into {variable}: the service sets that variable")
        if variable in command.environment_variables:
            yield error(f"secret into {variable}: environment-variables has it too")
