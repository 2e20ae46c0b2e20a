"""The state of an unfinished training: one file, replaced now and then.

A fold killed at any moment continues from the end of the last epoch kept. Random
numbers need no state: shuffling and dropout are seeded anew by (seed, fold, epoch).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import Optimizer

from model.atomic import write_atomically
from model.errors import TrainingError


def write_state(
    path: Path, network: nn.Module, optimizer: Optimizer, progress: Mapping[str, Any]
) -> None:
    """Store weights, optimizer moments and a JSON-ready ``progress`` in one file."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    _write(path, tensors, progress)


def write_end(path: Path, progress: Mapping[str, Any]) -> None:
    """Store the progress of a training that has ended: nothing needs its tensors."""
    _write(path, {}, progress)


def _write(
    path: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]
) -> None:
    flat = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_atomically(path, save(flat, metadata={"progress": json.dumps(progress)}))


def read_state(path: Path, network: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Load a stored state into ``network`` and ``optimizer``; return its progress."""
    progress = read_progress(path)
    tensors = load_file(path)
    network.load_state_dict(_under("network", tensors))
    _load_moments(optimizer, _under("optimizer", tensors))
    return progress


def read_progress(path: Path) -> dict[str, Any]:
    """Return the progress stored in a state file, without reading its tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            progress: dict[str, Any] = json.loads(file.metadata()["progress"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            str(path),
            found="a damaged training state",
            needed="the state after a whole epoch",
            mend="delete the file; the fold starts again",
        ) from error
    return progress


def _load_moments(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
