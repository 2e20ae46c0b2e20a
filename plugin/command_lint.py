"""Container Service command files -> findings: what it refuses, and what surprises.

The service's own check stops at its syntax, and an import from an image label fails
without a word. Unknown keys come first: the service never mentions them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugin.container.command import Command
from plugin.container.document import parse
from plugin.container.findings import Finding, error
from plugin.container.reader import read_command
from plugin.container.rules_command import command_rules
from plugin.container.rules_engine import engine_rules
from plugin.container.rules_launch import launch_rules
from plugin.container.rules_wrapper import wrapper_rules
from plugin.container.templates import template_rules

Rules = Callable[[Command], Iterator[Finding]]
RULES: tuple[Rules, ...] = (
    *(command_rules, wrapper_rules),
    *(template_rules, launch_rules, engine_rules),
)


def lint_text(text: str) -> tuple[Finding, ...]:
    """Return what is wrong with a command file's text: one command, or a list."""
    commands, findings = parse(text)
    found = list(findings)
    for raw in commands:
        found += _lint(raw, several=len(commands) > 1)
    return (*found, *_twins(commands))


def lint_file(path: Path) -> tuple[Finding, ...]:
    """Return what is wrong with a command file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return (error("is not UTF-8"),)
    except OSError as problem:
        return (error(f"cannot be read: {problem.strerror}"),)
    return lint_text(text)


def _lint(raw: Mapping[str, Any], *, several: bool) -> Iterator[Finding]:
    found: list[Finding] = []
    command = read_command(raw, found)
    for rules in RULES:
        found += rules(command)
    for finding in found:
        message = finding.message
        prefix = f"command '{command.name}': " if several else ""
        yield Finding(finding.severity, prefix + message)


def _twins(commands: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    keys = Counter(
        tuple(str(raw.get(part)) for part in ("name", "image", "version"))
        for raw in commands
    )
    for (name, image, version), count in keys.items():
        if count > 1:
            yield error(
                f"{count} commands are '{name}' {version} of {image}: "
                "only the first is stored"
            )
