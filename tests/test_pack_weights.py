"""The gate between float weights and packed ones, and the tool that asks it."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from torch import Tensor, nn

from benchmarks import pack_weights
from benchmarks.pack_weights import Agreement, agreement, main, passes
from model.checkpoint import Manifest, read_checkpoint, write_checkpoint
from model.network import BreastFcn, new_network

MANIFEST = Manifest(
    package_version="test",
    grid_px=32,
    fold=0,
    seed=0,
    training_cases=(),
    config={},
    metrics={},
    footprint={},
)


class Above(nn.Module):
    """Calls breast what is brighter than a level, in the network's scale."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, slices: Tensor) -> Tensor:
        return slices[:, :1] - self.level


def ramp() -> np.ndarray:
    """Return one slice of ten columns, each brighter than the one before."""
    row = np.linspace(0, 0.9, 10, dtype=np.float32)
    return np.tile(row, (1, 2, 4, 1))


def test_agreement_is_the_dice_of_both_masks() -> None:
    # The network sees (sqrt(v) - 0.5) / 0.35: above 0 are v > 0.25, 7 columns of 4
    # rows; above 0.6 v > 0.71 ** 2 = 0.504, the last 4. Dice 2 * 16 / (28 + 16).
    found = agreement(Above(0.0), Above(0.6), ramp())
    assert found == Agreement(dice=32 / 44, voxels=28)


def test_two_empty_masks_agree_but_prove_nothing() -> None:
    empty = agreement(Above(99), Above(99), ramp())
    assert empty.dice == 1
    assert not passes([empty])
    assert passes([empty, Agreement(0.995, 100)])
    assert not passes([Agreement(1.0, 100), Agreement(0.985, 100)])


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pack_weights, "stack_of", lambda seed, grid_px: stack(seed))
    network = new_network(seed=0)
    nn.init.constant_(network.fcn.classifier[-1].bias, 9.0)
    write_checkpoint(network, MANIFEST, tmp_path / "float.safetensors")
    return tmp_path / "float.safetensors"


def stack(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((2, 2, 32, 32), dtype=np.float32)


def test_what_passes_is_written_with_its_manifest(checkpoint: Path) -> None:
    out = checkpoint.with_name("default.safetensors")
    run = CliRunner().invoke(main, [str(checkpoint), "--out", str(out), "--cases", "2"])
    assert run.exit_code == 0, run.output
    assert "lowest Dice 1.0000" in run.output
    packed = read_checkpoint(out)
    assert packed.manifest.weights_sha256 in run.output
    assert isinstance(packed.network, BreastFcn)


def test_what_fails_is_not_written(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = Agreement(0.98, 10)
    monkeypatch.setattr(pack_weights, "agreement", lambda *_: worse)
    out = checkpoint.with_name("default.safetensors")
    run = CliRunner().invoke(main, [str(checkpoint), "--out", str(out)])
    assert run.exit_code == 1
    assert not out.exists()
