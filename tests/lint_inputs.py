"""A command without a finding, and what can be changed in it."""

import copy
import json
from typing import Any

from plugin.command_lint import lint_text

GOOD: dict[str, Any] = {
    "name": "demo",
    "version": "1.0",
    "image": "site.example:5000/demo:1.0",
    "command-line": "demo --level #level#",
    "environment-variables": {
        "WHO": "^wrapper:$.name^",
        "WHERE": "#place#",
        "HOW": "#mode#",
    },
    "mounts": [
        {"name": "in", "path": "/input"},
        {"name": "out", "path": "/output", "writable": True},
    ],
    "inputs": [
        {"name": "level", "default-value": "1"},
        {
            "name": "mode",
            "type": "select-one",
            "select-values": ["a", "b"],
            "default-value": "a",
        },
    ],
    "outputs": [{"name": "files", "required": True, "mount": "out", "path": "results"}],
    "xnat": [
        {
            "name": "on-session",
            "description": "Runs the demo.",
            "contexts": ["xnat:mrSessionData"],
            "external-inputs": [
                {
                    "name": "session",
                    "type": "Session",
                    "provides-files-for-command-mount": "in",
                }
            ],
            "derived-inputs": [
                {
                    "name": "place",
                    "derived-from-wrapper-input": "session",
                    "derived-from-xnat-object-property": "id",
                },
                {
                    "name": "depth",
                    "derived-from-wrapper-input": "session",
                    "derived-from-xnat-object-property": "project-id",
                    "provides-value-for-command-input": "level",
                },
            ],
            "output-handlers": [
                {
                    "name": "keep",
                    "accepts-command-output": "files",
                    "as-a-child-of": "session",
                    "label": "DEMO",
                }
            ],
        }
    ],
}

INPUT = "xnat.0.external-inputs.0"
DERIVED = "xnat.0.derived-inputs.0"
SECOND = "xnat.0.derived-inputs.1"
HANDLER = "xnat.0.output-handlers.0"
SECRET = {
    "source": {"type": "system-property", "identifier": "a.b"},
    "destination": {"type": "environment-variable", "identifier": "TOKEN"},
}
UNUSED = {
    "name": "deep",
    "derived-from-wrapper-input": "session",
    "derived-from-xnat-object-property": "uri",
}
ON_HANDLER = {
    "name": "more",
    "accepts-command-output": "files",
    "as-a-child-of": "keep",
    "label": "MORE",
}


def changed(*edits: tuple[str, Any]) -> str:
    """Return the good command with values set; a value in a list extends it."""
    command = copy.deepcopy(GOOD)
    for path, value in edits:
        *way, last = path.split(".")
        place: Any = command
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        if isinstance(place, list):
            place.insert(int(last), value)
        else:
            place[last] = value
    return json.dumps(command)


def errors(text: str) -> list[str]:
    return [f.message for f in lint_text(text) if f.severity == "error"]


def warnings(text: str) -> list[str]:
    return [f.message for f in lint_text(text) if f.severity == "warning"]
