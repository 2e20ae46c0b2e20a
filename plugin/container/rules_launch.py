"""What passes the service's check and then fails, or surprises, at a launch.

Source: ``CommandResolutionServiceImpl``, ``ContainerFinalizeServiceImpl`` and the
documentation of the service; each message says the consequence.
"""

import re
from collections.abc import Iterator

from plugin.container import words
from plugin.container.command import (
    Command,
    CommandInput,
    DerivedInput,
    ExternalInput,
    OutputHandler,
    Wrapper,
    WrapperInput,
)
from plugin.container.findings import Finding, error, warning
from plugin.container.rules_wrapper import within

SHELL = re.compile(r"&&|\|\||[|<>;`$*]")
CONTAINERS = ("Assessor", "Scan")


def launch_rules(command: Command) -> Iterator[Finding]:
    """Yield what would fail or surprise at a launch."""
    yield from _questions(command)
    yield from _line(command)
    for wrapper in command.xnat:
        found = [
            *_menu(wrapper),
            *_external(wrapper),
            *_inputs(wrapper, command),
            *_handlers(wrapper),
        ]
        yield from (within(wrapper, finding) for finding in found)
    yield from _unfed(command)


def _questions(command: Command) -> Iterator[Finding]:
    for entry in command.inputs:
        if entry.type not in words.INPUT_TYPES:
            known = ", ".join(words.INPUT_TYPES)
            yield error(f"input '{entry.name}': type '{entry.type}'; known: {known}")
        yield from _illegal(entry)
        if entry.required and entry.default_value is None:
            unprovided = [w.name for w in command.xnat if not _provides(w, entry.name)]
            if unprovided:
                yield warning(
                    f"input '{entry.name}' is required without a default: an "
                    f"automatic launch of {', '.join(unprovided)} fails"
                )


def _provides(wrapper: Wrapper, name: str) -> bool:
    return any(e.provides_value_for_command_input == name for e in wrapper.inputs)


def _illegal(entry: CommandInput | WrapperInput) -> Iterator[Finding]:
    values = [entry.default_value or ""]
    if isinstance(entry, CommandInput):
        values += entry.select_values
    for text in words.ILLEGAL_TEXTS:
        if any(text in value for value in values):
            yield error(f"input '{entry.name}': a value with {text!r} fails the launch")


def _line(command: Command) -> Iterator[Finding]:
    line = command.command_line
    if len(line) > words.COMMAND_LINE_MAX:
        yield error(
            f"the command line has {len(line)} characters; "
            f"at most {words.COMMAND_LINE_MAX} are stored"
        )
    if not command.override_entrypoint and SHELL.search(line):
        yield warning(
            "no shell reads the command line: $, pipes and redirections stay text "
            "unless override-entrypoint is true"
        )
    for entry in command.inputs:
        if entry.key in line and any(
            not _provides(w, entry.name) for w in command.xnat
        ):
            yield warning(
                f"input '{entry.name}' is what a user types, and reaches the command "
                "line unescaped: use an environment variable"
            )


def _menu(wrapper: Wrapper) -> Iterator[Finding]:
    if not wrapper.description.strip():
        yield warning("has no description: the Run menu may leave it out")
    if not wrapper.contexts:
        yield warning("has no contexts: no menu shows it")
    if len(wrapper.external_inputs) != 1:
        count = len(wrapper.external_inputs)
        yield warning(f"has {count} external inputs: the menu shows it with one only")


def _external(wrapper: Wrapper) -> Iterator[Finding]:
    for entry in wrapper.inputs:
        if isinstance(entry, ExternalInput) and entry.type == "Project":
            if entry.load_children:
                yield warning(
                    f"input '{entry.name}' loads the whole project: "
                    "set load-children to false"
                )
            if entry.provides_files_for_command_mount:
                yield warning(f"input '{entry.name}' mounts the whole project")


def _inputs(wrapper: Wrapper, command: Command) -> Iterator[Finding]:
    questions = {entry.name for entry in command.inputs}
    mounts = {mount.name for mount in command.mounts}
    for entry in wrapper.inputs:
        yield from _illegal(entry)
        question = entry.provides_value_for_command_input
        if question and question not in questions:
            yield error(f"input '{entry.name}' provides the unknown input '{question}'")
        mount = entry.provides_files_for_command_mount
        if mount and mount not in mounts:
            yield error(f"input '{entry.name}' feeds the unknown mount '{mount}'")
        if mount and entry.type not in words.MOUNTABLE:
            yield error(f"input '{entry.name}': a {entry.type} cannot feed a mount")
    types = {entry.name: entry.type for entry in wrapper.inputs}
    for derived in wrapper.derived_inputs:
        parent = types.get(derived.derived_from_wrapper_input)
        yield from _derived(derived, parent or "")


def _derived(entry: DerivedInput, parent: str) -> Iterator[Finding]:
    if parent and parent not in words.PARENTS.get(entry.type, ()):
        yield error(f"input '{entry.name}': no {entry.type} comes from a {parent}")
    wanted = entry.derived_from_xnat_object_property
    if entry.type == "string" and not wanted:
        yield error(
            f"input '{entry.name}' has no derived-from-xnat-object-property: "
            "it gets no value, and the launch fails"
        )
    if wanted in words.FREE_TEXT:
        yield warning(
            f"input '{entry.name}' derives {wanted}: a value with a parenthesis "
            "fails the launch"
        )


def _handlers(wrapper: Wrapper) -> Iterator[Finding]:
    handlers = {handler.name: handler for handler in wrapper.output_handlers}
    for handler in wrapper.output_handlers:
        parent = handlers.get(handler.target)
        if parent is not None and handler.target not in _names(wrapper):
            yield from _on_handler(handler, parent)
        if handler.type == "Assessor" and not handler.xsi_type:
            yield warning(
                f"output handler '{handler.name}' has no xsi-type: "
                "the user's right to create it is not checked before the launch"
            )


def _names(wrapper: Wrapper) -> set[str]:
    return {entry.name for entry in wrapper.inputs}


def _on_handler(handler: OutputHandler, parent: OutputHandler) -> Iterator[Finding]:
    if handler.type != "Resource" or parent.type not in CONTAINERS:
        yield error(
            f"output handler '{handler.name}' ({handler.type}) on '{parent.name}' "
            f"({parent.type}): only a Resource on an Assessor or Scan is uploaded"
        )


def _unfed(command: Command) -> Iterator[Finding]:
    fed = {e.provides_files_for_command_mount for w in command.xnat for e in w.inputs}
    taken = {output.mount for output in command.outputs}
    for mount in command.mounts:
        if mount.name not in fed | taken:
            yield warning(f"mount '{mount.name}' is neither fed nor an output")
        if mount.name in fed & taken:
            yield error(f"mount '{mount.name}' is fed by an input and has outputs")
