"""The trainer's options that are measured do what they say."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from sessions import untrained_checkpoint
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.trainer_ideas import (
    Recent,
    changed,
    loss_with_entropy,
    sums_with_entropy,
)
from benchmarks.trainer_options import WAYS, main
from model.checkpoint import write_checkpoint
from model.loss import dice_loss

TINY = ["--folds=1", "--many=2", "--few=2", "--test=1", "--slices=4", "--matrix=64"]
TINY += ["--grid=32", "--epochs=1"]
WANTED = ("from nothing", "fine-tuned")
TINY += [f"--only={way}" for way in WANTED]


def test_image_and_mask_move_together() -> None:
    torch.manual_seed(0)
    masks = torch.zeros(4, 1, 32, 32)
    masks[..., 8:24, 4:20] = 1
    slices, outline = changed(masks.repeat(1, 2, 1, 1), masks)
    assert not torch.equal(outline, masks)
    for image, mask in zip(slices, outline, strict=True):
        middle = (image[0].min() + image[0].max()) / 2
        same = (image[0] > middle) == (mask[0] > 0.5)
        assert same.float().mean() > 0.97


def test_dice_and_cross_entropy_are_added() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    found = loss_with_entropy(sums_with_entropy(logits, masks))
    entropy = binary_cross_entropy_with_logits(logits, masks)
    assert found == pytest.approx(float(dice_loss(logits, masks) + entropy))


def test_the_mean_of_the_last_weights_is_their_mean() -> None:
    recent = Recent([{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}])
    assert recent.mean()["w"].tolist() == [2.0, 4.0]


@pytest.mark.slow
def test_the_ways_that_are_wanted_are_trained_once_and_told(tmp_path: Path) -> None:
    made = untrained_checkpoint()
    weights, out = tmp_path / "c.safetensors", tmp_path / "out"
    write_checkpoint(made.network, made.manifest, weights)
    arguments = [f"--output={out}", f"--checkpoint={weights}", *TINY]
    first = CliRunner().invoke(main, arguments)
    assert first.exit_code == 0, first.output
    table = (out / "table.md").read_text()
    assert [f"| {way} |" in table for way in WAYS] == [way in WANTED for way in WAYS]
    trained = {path: path.stat().st_mtime_ns for path in out.glob("*.npz")}
    assert len(trained) == 2 * len(WANTED)
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert (out / "table.md").read_text() == table
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
