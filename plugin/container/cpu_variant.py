"""The GPU command -> its CPU variant, for nodes without a graphics card."""

import json
from collections.abc import Mapping
from typing import Any

SUFFIX = "-cpu"
GPU_KEYS = ("generic-resources", "runtime")
GPU_VARIABLES = "NVIDIA_"
DEVICE = "device"


def cpu_variant(command: Mapping[str, Any]) -> dict[str, Any]:
    """Return a command that asks for no GPU and offers none.

    Its name and its image's tag end in ``-cpu``: both can be installed side by side.
    """
    kept = {key: value for key, value in command.items() if key not in GPU_KEYS}
    variables = command["environment-variables"].items()
    return kept | {
        "name": command["name"] + SUFFIX,
        "label": command["label"] + " on CPU",
        "image": command["image"] + SUFFIX,
        "environment-variables": {
            name: value
            for name, value in variables
            if not name.startswith(GPU_VARIABLES)
        },
        "inputs": [_on_cpu(entry) for entry in command["inputs"]],
        "xnat": [_labelled(wrapper) for wrapper in command["xnat"]],
    }


def to_text(command: Mapping[str, Any]) -> str:
    """Return a command as its file holds it."""
    return json.dumps(command, indent=2, ensure_ascii=False) + "\n"


def _on_cpu(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    if entry["name"] != DEVICE:
        return entry
    return {**entry, "default-value": "cpu", "select-values": ["cpu"]}


def _labelled(wrapper: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**wrapper, "label": wrapper["label"] + " on CPU"}
