"""What the service itself checks of each wrapper, once the command is known.

Source: ``Command.validateDockerCommand`` and the wrappers' ``validate`` methods.
"""

from collections.abc import Iterator, Mapping

from plugin.container import words
from plugin.container.command import (
    Command,
    CommandInput,
    DerivedInput,
    OutputHandler,
    Wrapper,
    WrapperInput,
)
from plugin.container.findings import Finding, error
from plugin.container.rules_command import misnamed, repeated


def wrapper_rules(command: Command) -> Iterator[Finding]:
    """Yield what the service would refuse in the wrappers."""
    for name in repeated(wrapper.name for wrapper in command.xnat):
        yield error(f"wrapper '{name}' is declared twice")
    for wrapper in command.xnat if command.type == "docker" else ():
        found = [*_inputs(wrapper, command), *_handlers(wrapper, command)]
        if not wrapper.name.strip():
            yield error("a wrapper has no name")
        yield from (within(wrapper, finding) for finding in found)


def within(wrapper: Wrapper, finding: Finding) -> Finding:
    """Say in which wrapper a finding is."""
    return Finding(finding.severity, f"wrapper '{wrapper.name}': {finding.message}")


def _inputs(wrapper: Wrapper, command: Command) -> Iterator[Finding]:
    questions = {entry.name: entry for entry in command.inputs}
    for entry in wrapper.inputs:
        yield from _input(entry, questions)
    for name in repeated(entry.name for entry in wrapper.inputs):
        yield error(f"input '{name}' is declared twice, external or derived")
    known = {entry.name for entry in wrapper.external_inputs}
    for derived in wrapper.derived_inputs:
        yield from _derived(derived, known)
        known.add(derived.name)


def _input(
    entry: WrapperInput, questions: Mapping[str, CommandInput]
) -> Iterator[Finding]:
    yield from misnamed("input", entry.name)
    if entry.type not in words.WRAPPER_TYPES:
        known = ", ".join(words.WRAPPER_TYPES)
        yield error(f"input '{entry.name}': type '{entry.type}'; known: {known}")
    if entry.via_setup_command and not entry.provides_files_for_command_mount:
        yield error(
            f"input '{entry.name}' has via-setup-command but feeds no command mount"
        )
    question = questions.get(entry.provides_value_for_command_input)
    if question and (question.is_select or question.select_values):
        yield error(
            f"input '{entry.name}' provides the value of the select input "
            f"'{question.name}'"
        )


def _derived(entry: DerivedInput, known: set[str]) -> Iterator[Finding]:
    parent = entry.derived_from_wrapper_input
    if not parent.strip():
        yield error(f"input '{entry.name}' has no derived-from-wrapper-input")
    elif parent == entry.name:
        yield error(f"input '{entry.name}' is derived from itself")
    elif parent not in known:
        yield error(
            f"input '{entry.name}' is derived from '{parent}', "
            "which is not declared before it"
        )
    if entry.multiple and entry.provides_files_for_command_mount:
        yield error(f"input '{entry.name}' is multiple and cannot feed a mount")
    if entry.multiple and not entry.provides_value_for_command_input:
        yield error(f"input '{entry.name}' is multiple and must provide a value")


def _handlers(wrapper: Wrapper, command: Command) -> Iterator[Finding]:
    outputs = {output.name for output in command.outputs}
    earlier: set[str] = set()
    for handler in wrapper.output_handlers:
        yield from _handler(handler, outputs)
        yield from _target(handler, wrapper, earlier)
        earlier.add(handler.name)
    for name in repeated(handler.name for handler in wrapper.output_handlers):
        yield error(f"output handler '{name}' is declared twice")
    handled = {handler.accepts_command_output for handler in wrapper.output_handlers}
    for name in sorted(outputs - handled):
        yield error(f"output '{name}' has no handler")


def _handler(handler: OutputHandler, outputs: set[str]) -> Iterator[Finding]:
    yield from misnamed("output handler", handler.name)
    accepted = handler.accepts_command_output
    if not accepted.strip():
        yield error(f"output handler '{handler.name}' accepts no output")
    elif accepted not in outputs:
        yield error(f"output handler '{handler.name}': unknown output '{accepted}'")
    if handler.type not in words.HANDLER_TYPES:
        known = ", ".join(words.HANDLER_TYPES)
        yield error(
            f"output handler '{handler.name}': type '{handler.type}'; known: {known}"
        )
    if handler.type == "Resource" and not handler.label.strip():
        yield error(f"output handler '{handler.name}' makes a resource without label")


def _target(
    handler: OutputHandler, wrapper: Wrapper, earlier: set[str]
) -> Iterator[Finding]:
    target = handler.target
    inputs = {entry.name: entry for entry in wrapper.inputs}
    if not target.strip():
        yield error(f"output handler '{handler.name}' has no as-a-child-of")
    elif target not in inputs and target not in earlier:
        yield error(
            f"output handler '{handler.name}': '{target}' is neither an input "
            "nor an earlier handler"
        )
    parent = inputs.get(target)
    if not isinstance(parent, DerivedInput):
        return
    if parent.multiple:
        yield error(f"output handler '{handler.name}': '{target}' is multiple")
    if parent.derived_from_xnat_object_property not in ("", "uri"):
        yield error(
            f"output handler '{handler.name}': '{target}' holds a property, no uri"
        )
