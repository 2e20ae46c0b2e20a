"""Weights and their manifest, written and verified together; never a pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model.atomic import write_atomically
from model.errors import CheckpointError
from model.packed import pack, restore
from model.preprocess import (
    BODY_FRACTION,
    INPUT_CENTRE,
    INPUT_CLIP,
    INPUT_SPREAD,
    ROBUST_MAX_PERCENTILE,
)

if TYPE_CHECKING:
    from torch import nn

    from model.inference import Runner
    from model.network import BreastFcn

ARCHITECTURE = "fcn_resnet50-2in-1out"
PREPROCESSING: Mapping[str, float] = {
    "body_fraction": BODY_FRACTION,
    "robust_max_percentile": ROBUST_MAX_PERCENTILE,
    "input_clip": INPUT_CLIP,
    "input_centre": INPUT_CENTRE,
    "input_spread": INPUT_SPREAD,
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where weights come from and what they may be used with."""

    package_version: str
    grid_px: int
    fold: int
    seed: int
    training_cases: tuple[str, ...]
    """Stored cases' source keys: hashes, no patient."""
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    footprint: Mapping[str, Any]
    bag_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Feature -> smallest and largest value among the training cases."""
    cases_sha256: str = ""
    """Of all cases of the training, on either side of its folds, and their patients."""
    parent_sha256: str = ""
    """Weights that were fine-tuned; empty when trained from scratch."""
    learned_before: tuple[str, ...] = ()
    """Source keys of the cases that those weights had learned from."""
    engine: str = ""
    architecture: str = ARCHITECTURE
    preprocessing: Mapping[str, float] = field(default_factory=lambda: PREPROCESSING)
    weights_sha256: str = ""
    """Of the float32 weights as one safetensors file: which weights these are."""
    packed_sha256: str = ""
    """Of the file itself when its weights are packed; else empty."""
    int8: Mapping[str, Any] = field(default_factory=dict)
    """What is known of an int8 network beside the weights (``model.int8``)."""

    @property
    def learned(self) -> frozenset[str]:
        """Source keys of all cases that these weights are known to have seen."""
        return frozenset((*self.training_cases, *self.learned_before))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network with its manifest."""

    network: "BreastFcn"
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class ReadyCheckpoint:
    """A network made ready on an engine other than PyTorch, with its manifest."""

    network: "Runner"
    manifest: Manifest


def write_checkpoint(network: "nn.Module", manifest: Manifest, path: Path) -> Manifest:
    """Write ``path`` (.safetensors) and its .json; return the manifest with the hash.

    The manifest goes last: weights without one are not a checkpoint.
    """
    data = save(_arrays(network))
    record = replace(manifest, weights_sha256=_sha256(data), packed_sha256="")
    return _write(path, data, record)


def write_packed(network: "nn.Module", manifest: Manifest, path: Path) -> Manifest:
    """Write ``path`` with packed weights and its .json; return the manifest.

    What is restored from them are these weights from now on: ``weights_sha256`` is
    theirs, not the given network's.
    """
    packed = pack(_arrays(network))
    data = save(packed)
    record = replace(
        manifest,
        weights_sha256=_sha256(save(restore(packed))),
        packed_sha256=_sha256(data),
    )
    return _write(path, data, record)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return a verified checkpoint, packed or not, with its network in PyTorch.

    Raises
    ------
    CheckpointError
        If weights or manifest are missing, damaged, of another architecture, or
        were trained with another preprocessing.
    """
    from model.network import network_of

    weights, manifest = read_weights(path)
    try:
        network = network_of(weights)
    except RuntimeError as error:
        raise _error(path, "weights that do not fit", ARCHITECTURE) from error
    return Checkpoint(network, manifest)


def read_weights(path: Path) -> tuple[dict[str, NDArray[np.generic]], Manifest]:
    """Return verified weights by name, and their manifest, without PyTorch.

    Raises
    ------
    CheckpointError
        As ``read_checkpoint``, but for weights of another network.
    """
    manifest = read_manifest(path)
    data = path.read_bytes()
    _check_digest(path, data, manifest.packed_sha256 or manifest.weights_sha256)
    try:
        weights = load(data)
    except SafetensorError as error:
        raise _error(path, "weights that do not fit", ARCHITECTURE) from error
    if manifest.packed_sha256:
        weights = restore(weights)
        _check_digest(path, save(weights), manifest.weights_sha256)
    return weights, manifest


def _write(path: Path, data: bytes, manifest: Manifest) -> Manifest:
    write_atomically(path, data)
    write_manifest(manifest, path)
    return manifest


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the manifest of the weights at ``path``, which stay as they are."""
    text = json.dumps(asdict(manifest), indent=1, sort_keys=True)
    write_atomically(path.with_suffix(".json"), text.encode())


def _arrays(network: "nn.Module") -> dict[str, NDArray[np.generic]]:
    weights = network.state_dict().items()
    return {k: v.detach().cpu().contiguous().numpy() for k, v in weights}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_digest(path: Path, data: bytes, needed: str) -> None:
    digest = _sha256(data)
    if digest != needed:
        raise _error(path, f"SHA-256 {digest[:12]}", needed[:12])


def read_manifest(path: Path) -> Manifest:
    """Return the manifest beside ``path``, checked but without reading the weights."""
    for needed in (path, path.with_suffix(".json")):
        if not needed.is_file():
            raise _error(needed, "no such file", "weights and manifest side by side")
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        known = {f.name for f in fields(Manifest)}
        manifest = Manifest(**{k: v for k, v in record.items() if k in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise _error(path.with_suffix(".json"), "no manifest", "a manifest") from error
    if manifest.architecture != ARCHITECTURE:
        raise _error(path, manifest.architecture, ARCHITECTURE)
    if dict(manifest.preprocessing) != dict(PREPROCESSING):
        raise _error(path, "another preprocessing", "this version's preprocessing")
    return manifest


def _error(path: Path, found: str, needed: str) -> CheckpointError:
    return CheckpointError(
        str(path),
        found=found,
        needed=needed,
        mend="copy the .safetensors and .json of one training together again",
    )
