"""A small command that the Container Service takes, for tests to spoil."""

from typing import Any

Document = dict[str, Any]


def command() -> Document:
    """Return a command that the service takes."""
    return {
        "name": "brs-test",
        "image": "brs:1.0",
        "version": "1.0",
        "command-line": "brs segment",
        "mounts": [
            {"name": "in", "path": "/input", "writable": False},
            {"name": "out", "path": "/output", "writable": True},
        ],
        "inputs": [
            {"name": "session", "type": "string"},
            {
                "name": "mode",
                "type": "select-one",
                "select-values": ["a", "b"],
                "default-value": "a",
            },
        ],
        "outputs": [{"name": "result", "mount": "out", "path": "."}],
        "xnat": [
            {
                "name": "segment",
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
                        "name": "session-id",
                        "type": "string",
                        "derived-from-wrapper-input": "session",
                        "derived-from-xnat-object-property": "id",
                        "provides-value-for-command-input": "session",
                    }
                ],
                "output-handlers": [
                    {
                        "name": "resource",
                        "accepts-command-output": "result",
                        "as-a-child-of": "session",
                        "label": "BRS",
                    }
                ],
            }
        ],
    }
