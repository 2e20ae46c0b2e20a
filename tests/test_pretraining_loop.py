from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.engine import Engine
from model.errors import TrainingError
from model.pretraining.annotator import Annotation
from model.pretraining.bank import Bank
from model.pretraining.loop import Desk, pretrain
from model.pretraining.recipe import (
    DEFAULT_RECIPE,
    Limits,
    Recipe,
    Spent,
    read_recipe,
    share_of,
)
from model.pretraining.sampler import Mix, Stage

Publish = Callable[[nn.Module, Spent, Stage], None]
SMALL = Recipe(
    seed=4,
    learning_rate=1e-2,
    weight_decay=0.0,
    decay_from=0.5,
    cross_entropy=1.0,
    average_decay=0.5,
    calibration_batches=1,
    patients=1,
    mix=Mix(),
    stages=(Stage(0.5, 16, 2), Stage(1.0, 24, 4, others_px=(16,), echo=2)),
)


class Killed(BaseException):
    """What stands for kill -9: nothing of ours runs after it."""


def tiny_network() -> nn.Module:
    """Return a network with what makes resuming hard: BatchNorm and dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Conv2d(4, 1, 1),
    )


def desk_at(folder: Path, bank: Bank, publish: Publish, *, steps: int = 6) -> Desk:
    return Desk(
        bank=bank,
        folder=folder,
        engine=Engine("cpu", "fp32"),
        limits=Limits(steps=steps),
        publish=publish,
        every_minutes=0.0,
        workers=0,
    )


class Published:
    """Keeps what is published; may be killed at a step, when the state is on disk."""

    def __init__(self, *, killed_at: int | None = None) -> None:
        self.killed_at = killed_at
        self.weights: dict[str, Tensor] = {}
        self.grids: list[int] = []

    def __call__(self, network: nn.Module, spent: Spent, stage: Stage) -> None:
        self.weights = {k: v.clone() for k, v in network.state_dict().items()}
        self.grids.append(stage.grid_px)
        if spent.steps == self.killed_at:
            raise Killed


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    bank: Bank, tmp_path: Path
) -> None:
    whole, first, second = Published(), Published(killed_at=4), Published()
    pretrain(SMALL, desk_at(tmp_path / "whole", bank, whole), tiny_network())
    with pytest.raises(Killed):
        pretrain(SMALL, desk_at(tmp_path / "cut", bank, first), tiny_network())
    spent = pretrain(SMALL, desk_at(tmp_path / "cut", bank, second), tiny_network())
    assert spent.steps == 6
    assert whole.weights.keys() == second.weights.keys()
    for name, value in whole.weights.items():
        assert torch.equal(second.weights[name], value), name
    assert not torch.equal(first.weights["0.weight"], second.weights["0.weight"])


def test_the_grid_grows_with_the_budget(bank: Bank, tmp_path: Path) -> None:
    published = Published()
    pretrain(SMALL, desk_at(tmp_path, bank, published), tiny_network())
    # steps 1-3 are the first half; every step publishes, the end once more
    assert published.grids == [16, 16, 16, 24, 24, 24, 24]


def test_a_larger_budget_goes_on_where_the_smaller_ended(
    bank: Bank, tmp_path: Path
) -> None:
    for steps, kept in ((2, 3), (4, 3)):
        published = Published()
        desk = desk_at(tmp_path, bank, published, steps=steps)
        assert pretrain(SMALL, desk, tiny_network()).steps == steps
        assert len(published.grids) == kept


def test_a_state_of_another_seed_is_refused(bank: Bank, tmp_path: Path) -> None:
    pretrain(SMALL, desk_at(tmp_path, bank, Published(), steps=1), tiny_network())
    other = replace(SMALL, seed=5)
    with pytest.raises(TrainingError, match="pretraining of seed 4"):
        pretrain(other, desk_at(tmp_path, bank, Published()), tiny_network())


def test_published_statistics_are_of_the_average(bank: Bank, tmp_path: Path) -> None:
    published = Published()
    pretrain(SMALL, desk_at(tmp_path, bank, published, steps=1), tiny_network())
    # one calibration batch: the cumulative mean has seen exactly one
    assert published.weights["1.num_batches_tracked"] == 1
    assert not torch.equal(published.weights["1.running_mean"], torch.zeros(4))


def test_the_default_recipe_is_read_and_recorded() -> None:
    recipe = read_recipe()
    assert recipe.record()["stages"][-1]["grid_px"] == recipe.stages[-1].grid_px
    assert recipe.stages[-1].until == 1


def test_the_rate_is_flat_and_then_falls_to_zero_as_a_cosine() -> None:
    rates = [SMALL.rate(share) for share in (0.0, 0.5, 0.75, 1.0)]
    assert rates == pytest.approx([1e-2, 1e-2, 0.5e-2, 0.0])


def test_the_scarcest_limit_counts() -> None:
    limits = Limits(steps=100, minutes=10.0, carbon_g=50.0)
    assert share_of(limits, Spent(20, 5.0, 10.0)) == 0.5
    assert share_of(limits, Spent(20, 1.0, 40.0)) == 0.8


def test_a_pretraining_without_a_limit_is_refused() -> None:
    with pytest.raises(TrainingError, match="found no budget"):
        share_of(Limits(), Spent())


def test_a_carbon_limit_needs_a_meter() -> None:
    with pytest.raises(TrainingError, match="whose energy cannot be measured"):
        share_of(Limits(carbon_g=10.0), Spent(1, 1.0, None))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed = 1", "sead = 1"),
        ("grid_px = 96", "grid_px = 90"),
        ("others_px = [128]", "others_px = [130]"),
        ("batch = 64", "batch = 65"),
        ("echo = 2", "echo = 0"),
        ("until = 1.0", "until = 0.9"),
        ("seed = 1", "seed ="),
        ("muscle_mm = 1.5", "muscle_mm = -1.5"),
        ("include_skin = true", "include_skin = 1"),
    ],
)
def test_a_damaged_recipe_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = DEFAULT_RECIPE.read_text()
    assert old in text
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TrainingError, match="no recipe"):
        read_recipe(path)


def test_a_recipe_without_annotation_keeps_to_the_label_rule(tmp_path: Path) -> None:
    text = DEFAULT_RECIPE.read_text()
    table = text[text.index("[annotation]") : text.index("# Small grids")]
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(table, ""))
    assert read_recipe(path).annotation == Annotation()
    assert read_recipe().annotation != Annotation()


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no recipe"):
        read_recipe(tmp_path / "none.toml")
