"""Weights and manifest travel together or not at all."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from model.checkpoint import (
    Manifest,
    read_checkpoint,
    read_manifest,
    write_checkpoint,
    write_packed,
)
from model.errors import CheckpointError
from model.network import BreastFcn, new_network

MANIFEST = Manifest(
    package_version="1",
    grid_px=64,
    fold=0,
    seed=0,
    training_cases=("abc",),
    config={"epochs": 1},
    metrics={"dice": 0.9},
    footprint={"cfp_kg": None},
    bag_range={"nearest_point_mm": (3.0, 40.0)},
)


@pytest.fixture(scope="module")
def network() -> BreastFcn:
    return new_network(seed=0)


@pytest.fixture
def path(tmp_path: Path, network: BreastFcn) -> Path:
    write_checkpoint(network, MANIFEST, tmp_path / "fold-0.safetensors")
    return tmp_path / "fold-0.safetensors"


def test_what_was_written_is_read(path: Path, network: BreastFcn) -> None:
    checkpoint = read_checkpoint(path)
    stored = checkpoint.network.state_dict()
    assert all(torch.equal(stored[k], v) for k, v in network.state_dict().items())
    assert checkpoint.manifest.metrics == {"dice": 0.9}
    assert checkpoint.manifest.footprint == {"cfp_kg": None}


def test_packed_weights_are_a_quarter_and_come_back_as_themselves(
    path: Path, network: BreastFcn, tmp_path: Path
) -> None:
    packed, again = tmp_path / "packed.safetensors", tmp_path / "again.safetensors"
    manifest = write_packed(network, MANIFEST, packed)
    # 33 million weights of one byte, and normalisation of four.
    assert packed.stat().st_size < 0.26 * path.stat().st_size
    assert packed.stat().st_size <= 35e6
    restored = read_checkpoint(packed)
    rewritten = write_packed(restored.network, restored.manifest, again)
    assert rewritten.weights_sha256 == manifest.weights_sha256
    assert restored.manifest.metrics == {"dice": 0.9}
    assert again.read_bytes() == packed.read_bytes()


def test_restored_weights_are_the_same_checkpoint_packed_or_not(
    network: BreastFcn, tmp_path: Path
) -> None:
    packed, plain = tmp_path / "packed.safetensors", tmp_path / "plain.safetensors"
    manifest = write_packed(network, MANIFEST, packed)
    written = write_checkpoint(read_checkpoint(packed).network, manifest, plain)
    assert written == replace(manifest, packed_sha256="")
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()
    assert manifest.weights_sha256 == digest


def test_packed_weights_that_restore_to_others_are_refused(
    network: BreastFcn, tmp_path: Path
) -> None:
    packed = tmp_path / "packed.safetensors"
    write_packed(network, MANIFEST, packed)
    manifest_path = packed.with_suffix(".json")
    record = json.loads(manifest_path.read_text()) | {"weights_sha256": "0" * 64}
    manifest_path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="needed 000000000000"):
        read_checkpoint(packed)


def test_weights_are_serialised_as_ever() -> None:
    """The hash names masks that were made before this version of the library."""
    data = save({"b": torch.ones(2, 1), "a": torch.tensor(3)})
    header = (
        b'{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]},'
        b'"b":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]}}'
    )
    padded = header.ljust(-(-len(header) // 8) * 8)
    values = (3).to_bytes(8, "little") + 2 * b"\0\0\x80\x3f"
    assert data == len(padded).to_bytes(8, "little") + padded + values


def test_changed_weights_are_refused(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_checkpoint(path)


def test_weights_without_a_manifest_are_refused(path: Path) -> None:
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"fold-0\.json: found no such file"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["", "[]", '{"fold": 1}', "null"])
def test_a_damaged_manifest_is_refused(path: Path, text: str) -> None:
    path.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match="found no manifest"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("architecture", "unet"), ("preprocessing", {"input_clip": 1.0})],
)
def test_another_architecture_or_preprocessing_is_refused(
    path: Path, field: str, value: object
) -> None:
    manifest_path = path.with_suffix(".json")
    record = json.loads(manifest_path.read_text()) | {field: value}
    manifest_path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="found"):
        read_manifest(path)


def test_weights_of_another_network_are_refused(path: Path) -> None:
    save_file({"x": torch.zeros(1)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(
        json.dumps(record | {"weights_sha256": digest})
    )
    with pytest.raises(CheckpointError, match="weights that do not fit"):
        read_checkpoint(path)


def test_the_hash_belongs_to_the_file(path: Path, network: BreastFcn) -> None:
    manifest = write_checkpoint(network, replace(MANIFEST, fold=1), path)
    assert manifest.weights_sha256 == read_manifest(path).weights_sha256
