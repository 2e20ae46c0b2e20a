"""int8 is used only where it was asked for, recorded, and found the masks of fp32."""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sessions import archive_with, untrained_checkpoint
from torch import nn

from model.checkpoint import read_manifest, read_weights, write_checkpoint
from model.engine import Engine, choose_engine
from model.errors import CheckpointError, DeviceError
from model.fidelity import Fidelity, held_out_slices, some_slices
from model.int8 import Int8Record, check_nncf, write_graph
from model.openvino_graph import build_graph
from plugin import engines, quantize
from plugin.cli import cli
from plugin.engines import Wish, candidates, open_checkpoint
from plugin.errors import InputError
from plugin.pipeline import Segmenter
from plugin.proofs import Proofs
from plugin.quantize import (
    CALIBRATION,
    JUDGING,
    HeldOut,
    session_slices,
    synthetic_slices,
)

INT8 = Wish(device="cpu", precision="int8")
RECORD = Int8Record("", 0.97, 0.96, "8 synthetic patients", 32, 32, "nncf 3")


def weights_at(path: Path, *, bias: float = 9.0) -> Path:
    """Write weights that call all breast, or with no bias hardly know."""
    made = untrained_checkpoint()
    nn.init.constant_(made.network.fcn.classifier[-1].bias, bias)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(made.network, made.manifest, path)
    return path


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Return weights whose network beside them is, for lack of NNCF, not in int8."""
    path = weights_at(tmp_path / "c.safetensors")
    weights, manifest = read_weights(path)
    sha256 = write_graph(build_graph(weights), path)
    record = replace(RECORD, sha256=sha256).to_mapping()
    write_checkpoint(
        untrained_checkpoint().network, replace(manifest, int8=record), path
    )
    return path


def test_int8_is_run_when_asked_for_and_never_by_itself(
    prepared: Path, tmp_path: Path
) -> None:
    choice = open_checkpoint(prepared, INT8, Proofs(tmp_path))
    assert str(choice.engine) == "openvino-cpu-int8"
    assert choice.fidelity is not None
    assert choice.fidelity.dice == 1.0
    told = json.loads(Segmenter(choice.checkpoint, choice.engine).configuration)
    assert told["int8_sha256"] == read_manifest(prepared).int8["sha256"]
    others = candidates(Wish(device="cpu", precision="auto"))
    assert "int8" not in {engine.precision for engine in others}


def test_int8_is_openvinos_and_nothing_is_trained_in_it() -> None:
    with pytest.raises(DeviceError, match="precision int8"):
        next(candidates(Wish("torch", "cpu", "int8")))
    with pytest.raises(DeviceError, match="precision int8: found PyTorch"):
        choose_engine(device="cpu", precision="int8", training=True)


@pytest.mark.parametrize(("dice", "runs"), [(0.961, True), (0.959, False)])
def test_each_machine_asks_for_the_dice_of_the_record(
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dice: float,
    runs: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(engines, "compare", lambda *_: Fidelity(dice, 0.1, 8))
    if runs:
        assert open_checkpoint(prepared, INT8, Proofs(tmp_path)).engine.precision
        return
    with pytest.raises(CheckpointError, match=r"needed Dice 0\.96 with"):
        open_checkpoint(prepared, INT8, Proofs(tmp_path))


def test_files_that_the_manifest_does_not_tell_of_are_not_run(
    prepared: Path, tmp_path: Path
) -> None:
    file = prepared.with_suffix(".int8.bin")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="found an int8 network of SHA-256"):
        open_checkpoint(prepared, INT8, Proofs(tmp_path))
    file.unlink()
    with pytest.raises(CheckpointError, match="that is not there"):
        open_checkpoint(prepared, INT8, Proofs(tmp_path))
    plain = weights_at(tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="weights without an int8 network"):
        open_checkpoint(plain, INT8, Proofs(tmp_path))


def test_no_patient_is_calibrated_on_and_judged_by() -> None:
    stacks = [np.full((2, 2, 4, 4), number, np.float32) for number in range(5)]
    held_out = HeldOut(stacks, "")
    parts = [held_out.part(part)[:, 0, 0, 0] for part in (CALIBRATION, JUDGING)]
    assert [part.tolist() for part in parts] == [[0, 0, 2, 2, 4, 4], [1, 1, 3, 3]]


def test_sessions_give_their_slices_evenly_and_one_is_too_few(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "a", "b")
    found = session_slices(archive, (), tmp_path / "work", 32)
    assert found.told == "2 sessions of the archive"
    assert [stack.shape for stack in found.stacks] == [(12, 2, 32, 32)] * 2
    assert len(some_slices(np.zeros((160, 2, 4, 4), np.float32))) == 8
    with pytest.raises(InputError, match="found 1 session"):
        session_slices(archive, ("a",), tmp_path / "work", 32)


def test_synthetic_patients_are_none_that_engines_are_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantize, "PATIENTS", 1)
    (found,) = synthetic_slices(32).stacks
    assert found.shape == (8, 2, 32, 32)
    assert not np.array_equal(found, held_out_slices(32))


def test_without_nncf_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DeviceError, match=r"xnat-brs\[quantize\]"):
        check_nncf()


def needs_nncf() -> None:
    if importlib.util.find_spec("nncf") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nncf is not installed, and CI must have it")
        pytest.skip("nncf is not installed")


@pytest.mark.slow
def test_weights_are_quantized_where_their_masks_stay(tmp_path: Path) -> None:
    needs_nncf()
    path = weights_at(tmp_path / "c.safetensors")
    archive = archive_with(tmp_path / "archive", "a", "b")
    common = ("quantize", "--archive", str(archive.root), "--output")
    arguments = (*common, str(tmp_path / "out"), "--checkpoint", str(path))
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    made = Path(json.loads(done.output.splitlines()[-1])["checkpoint"])
    record = read_manifest(made).int8
    assert (record["dice"], record["judged_slices"]) == (1.0, 12)
    assert "FakeQuantize" in made.with_suffix(".int8.xml").read_text()
    choice = open_checkpoint(made, INT8, Proofs(tmp_path))
    assert choice.engine == Engine("cpu", "int8", "openvino")
    unsure = weights_at(tmp_path / "unsure.safetensors", bias=0.0)
    nowhere = tmp_path / "nowhere"
    refused = CliRunner().invoke(
        cli, (*common, str(nowhere), "--checkpoint", str(unsure))
    )
    assert isinstance(refused.exception, CheckpointError)
    assert "of int8 with fp32 on 12 slices" in str(refused.exception)
    assert not nowhere.exists()
