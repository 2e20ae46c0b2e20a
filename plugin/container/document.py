"""A command file's text -> objects, as tolerant as the service's own reader.

The service reads with Jackson, which here allows single quotes and ``#`` comments,
turns numbers into text and back, lets the last of equal keys win, and ignores keys
that it does not know. Source: the framework's ``SerializerConfig`` of XNAT.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from plugin.container.findings import Finding, error, warning

LOOSE = re.compile(
    r"""(?P<double>"(?:[^"\\]|\\.)*")|(?P<single>'(?:[^'\\]|\\.)*')|(?P<note>\#[^\n]*)""",
    re.DOTALL,
)
INNER = re.compile(r'\\.|"', re.DOTALL)
NO_COMMAND = "holds neither a command (an object) nor a list of commands"


def parse(text: str) -> tuple[Sequence[dict[str, Any]], Sequence[Finding]]:
    """Return the commands of ``text`` (one object, or a list) and what is odd."""
    findings: list[Finding] = []
    try:
        document = json.loads(
            LOOSE.sub(_strict, text),
            object_pairs_hook=lambda pairs: _last_wins(pairs, findings),
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as problem:
        return (), [error(f"is not JSON that the service can read: {problem}")]
    entries = document if isinstance(document, list) else [document]
    commands = [entry for entry in entries if isinstance(entry, dict)]
    if not commands or len(commands) != len(entries):
        findings.append(error(NO_COMMAND))
    return commands, findings


def _strict(match: re.Match[str]) -> str:
    """Return plain JSON for one loose token."""
    if match["note"] is not None:
        return ""
    if match["double"] is not None:
        return match["double"]
    return f'"{INNER.sub(_requoted, match["single"][1:-1])}"'


def _requoted(match: re.Match[str]) -> str:
    return {'"': '\\"', "\\'": "'"}.get(match[0], match[0])


def _last_wins(
    pairs: Sequence[tuple[str, Any]], findings: list[Finding]
) -> dict[str, Any]:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            findings.append(warning(f"key '{key}' is given {count} times: last wins"))
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON number"
    raise ValueError(message)
