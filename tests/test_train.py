"""One fold: what it keeps, when it stops, and that a kill costs at most an epoch."""

import csv
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import case_info, filled_store, small_network
from safetensors.torch import load_file
from torch import Tensor, nn

from model.batches import Feed, batches, halved, open_feed
from model.carbon import Footprint, footprint
from model.dataset import CaseStore, Fold
from model.engine import Engine
from model.errors import TrainingError
from model.hold import held
from model.passes import calibrate, validate
from model.preprocess import network_input
from model.progress import Budget, TrainConfig, since
from model.resume import read_progress
from model.train import (
    Bench,
    FitResult,
    fit,
    footprint_before,
)

FOLD = Fold(0, train=("a", "b"), validation=("c",))
CONFIG = TrainConfig(grid_px=32, epochs=2, batch=4, deterministic=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    return filled_store(tmp_path_factory.mktemp("store"), ("a", "b", "c"))


def feed(store: CaseStore) -> Feed:
    return open_feed(store, FOLD.train, Engine("cpu", "fp32"))


def bench(store: CaseStore, folder: Path, **changes: object) -> Bench:
    made = Bench(store, folder, Engine("cpu", "fp32"), keep_every_s=0)
    return replace(made, **changes)  # type: ignore[arg-type]


def trained(
    store: CaseStore, folder: Path, config: TrainConfig = CONFIG, **changes: object
) -> tuple[FitResult, nn.Module]:
    network = small_network()
    return fit(network, FOLD, config, bench(store, folder, **changes)), network


ONE_GRAM = footprint(
    3.6e6 / 475, duration_s=1.0, method="test", coverage=1.0, devices=("test",)
)


class Killed(BaseException):
    """Stands for the power cut."""


def killed_at(call: int) -> Callable[[], Footprint]:
    calls = iter(range(1, 100))

    def measure() -> Footprint:
        if next(calls) == call:
            raise Killed
        return ONE_GRAM

    return measure


def equal_weights(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[k], second[k]) for k in first)


def test_a_killed_fold_continues_to_the_same_weights(
    store: CaseStore, tmp_path: Path
) -> None:
    whole, expected = trained(store, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(store, tmp_path / "cut", footprint=killed_at(3))
    assert footprint_before(tmp_path / "cut") == ONE_GRAM
    resumed, network = trained(store, tmp_path / "cut")
    assert [r.train_loss for r in resumed.history] == [
        r.train_loss for r in whole.history
    ]
    assert equal_weights(network, expected)


class Slow:
    """A clock by which an epoch takes ten seconds, and a meter that is killed."""

    def __init__(self, killed_in: int) -> None:
        self.now_s, self.killed_in = 1000.0, killed_in

    def clock(self) -> float:
        return self.now_s

    def footprint(self) -> None:
        """Be asked once an epoch, and once more where it is kept."""
        self.now_s += 10
        if self.now_s >= 1000 + 10 * self.killed_in:
            raise Killed


def losses_kept(folder: Path) -> list[float]:
    history = read_progress(folder / "state.safetensors")["history"]
    return [row["validation_loss"] for row in history]


def killed_and_resumed(
    store: CaseStore, folder: Path, config: TrainConfig
) -> tuple[list[float], nn.Module]:
    """Keep every 25 s and be killed in the fifth epoch; return what was kept then.

    By the clock epochs end after 10, 20 and 30 s; writing ends at 40 s, so that the
    next to be written would end at 70 s.
    """
    slow = Slow(killed_in=6)
    by_clock = {"clock": slow.clock, "footprint": slow.footprint, "keep_every_s": 25}
    with pytest.raises(Killed):
        trained(store, folder, config, **by_clock)
    kept = losses_kept(folder)
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + len(kept), "the history is that of the state"
    network = small_network()
    network.load_state_dict(load_file(folder / "best.safetensors"))
    found = validate(network, FOLD.validation, feed(store))
    assert found == pytest.approx(min(kept), abs=1e-6)
    _, network = trained(store, folder, config)
    return kept, network


@pytest.mark.parametrize("learning_rate", [1e-3, 5.0])
def test_a_fold_killed_between_keepings_continues_to_the_same_weights(
    store: CaseStore, tmp_path: Path, learning_rate: float
) -> None:
    config = replace(CONFIG, epochs=6, learning_rate=learning_rate)
    whole, expected = trained(store, tmp_path / "whole", config)
    kept, network = killed_and_resumed(store, tmp_path / "cut", config)
    losses = [record.validation_loss for record in whole.history]
    assert kept == losses[:3], "the fourth epoch is done again"
    assert losses_kept(tmp_path / "cut") == losses
    assert equal_weights(network, expected)


def test_best_weights_from_between_keepings_are_written_and_found(
    store: CaseStore, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=4, learning_rate=5.0)
    whole, expected = trained(store, tmp_path / "whole", config)
    seldom, network = trained(store, tmp_path / "end", config, keep_every_s=math.inf)
    assert seldom.best_epoch == whole.best_epoch < 3, "best is not the epoch kept"
    assert equal_weights(network, expected)
    stored = load_file(tmp_path / "end" / "best.safetensors")
    assert all(torch.equal(stored[k], v) for k, v in expected.state_dict().items())


def test_nothing_is_written_before_its_time(store: CaseStore, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        trained(store, tmp_path, footprint=killed_at(2), keep_every_s=math.inf)
    assert not list(tmp_path.iterdir())


def test_the_best_epochs_weights_are_left_in_the_network(
    store: CaseStore, tmp_path: Path
) -> None:
    result, network = trained(store, tmp_path, replace(CONFIG, epochs=3))
    losses = [record.validation_loss for record in result.history]
    assert losses[result.best_epoch] == min(losses)
    found = validate(network, FOLD.validation, feed(store))
    assert found == pytest.approx(min(losses), abs=1e-6)


def test_best_weights_are_not_the_last_ones_where_those_are_worse(
    store: CaseStore, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=4, learning_rate=5.0)
    result, network = trained(store, tmp_path, config)
    losses = [record.validation_loss for record in result.history]
    assert result.best_epoch < len(losses) - 1
    found = validate(network, FOLD.validation, feed(store))
    assert found == pytest.approx(min(losses), abs=1e-6)
    assert found < losses[-1] - 1e-3


class Counting(nn.Module):
    """One weight, and a memory of every batch that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[bool, Tensor]] = []

    def forward(self, slices: Tensor) -> Tensor:
        self.seen.append((self.training, slices.detach().clone()))
        return self.weight * slices[:, :1]


def uneven_store(root: Path) -> CaseStore:
    """Two patients to train on, of 6 and 2 slices, and one of 5 to validate on."""
    made = CaseStore(root)
    rng = np.random.default_rng(0)
    for case_id, slices in (("a", 6), ("b", 2), ("c", 5)):
        voxels = rng.uniform(0, 1, (slices, 2, 32, 32))
        info = replace(case_info(case_id), slices=slices)
        made.put(info, voxels, voxels[:, 0] > 0.5)
    return made


def test_slices_are_computed_in_true_batches_of_two_channels(tmp_path: Path) -> None:
    network = Counting()
    made = bench(uneven_store(tmp_path / "store"), tmp_path / "fold")
    fit(network, FOLD, replace(CONFIG, epochs=1, batch=5), made)
    sizes = [tuple(batch.shape) for training, batch in network.seen if training]
    # b repeats its two slices up to the six of a: twelve slices, five a step.
    assert sizes == [(5, 2, 32, 32), (5, 2, 32, 32), (2, 2, 32, 32)]


def test_validation_sees_every_slice_once_and_repeats_none(tmp_path: Path) -> None:
    network = Counting()
    cases = uneven_store(tmp_path / "store")
    fit(network, FOLD, CONFIG, bench(cases, tmp_path / "fold"))
    seen = torch.cat([batch for training, batch in network.seen if not training])
    expected = torch.from_numpy(network_input(cases.stack("c")))
    assert torch.equal(seen, torch.cat([expected] * CONFIG.epochs))


def test_the_training_loss_is_of_its_own_epoch(tmp_path: Path) -> None:
    cases = uneven_store(tmp_path / "store")
    fold = Fold(0, train=("a",), validation=("c",))
    config = replace(CONFIG, epochs=3, batch=6, learning_rate=0.0)
    result = fit(Counting(), fold, config, bench(cases, tmp_path / "fold"))
    losses = [record.train_loss for record in result.history]
    # One batch of all slices and a rate of zero: every epoch is the same.
    assert losses == pytest.approx([losses[0]] * 3)
    assert 0 < losses[0] < 1


def test_training_lowers_the_loss(store: CaseStore, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=10, schedule="cosine", learning_rate=0.03)
    result, _ = trained(store, tmp_path, config)
    assert result.history[-1].train_loss < result.history[0].train_loss - 0.1
    rates = [record.learning_rate for record in result.history]
    assert rates[0] == 0.03
    assert rates == sorted(rates, reverse=True)


def test_the_plateau_schedule_drops_the_rate_the_optimizer_uses(
    store: CaseStore, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=10, plateau_patience=0, learning_rate=1.0)
    result, _ = trained(store, tmp_path, config)
    best, rate = 1.0, 1.0
    for record in result.history:
        assert record.learning_rate == pytest.approx(rate)
        better = record.validation_loss < best * (1 - 1e-4)
        best, rate = (record.validation_loss, rate) if better else (best, rate / 10)
    assert rate < 1.0


def test_early_stopping_waits_for_its_patience(
    store: CaseStore, tmp_path: Path
) -> None:
    result, _ = trained(store, tmp_path, replace(CONFIG, epochs=9, stop_patience=0))
    assert result.stopped_by == "patience"
    assert len(result.history) == result.best_epoch + 1


def test_budgets_stop_after_a_whole_epoch(store: CaseStore, tmp_path: Path) -> None:
    by_time, _ = trained(store, tmp_path / "m", budget=Budget(minutes=0.0))
    assert (by_time.stopped_by, len(by_time.history)) == ("minutes", 1)
    by_carbon, _ = trained(
        store, tmp_path / "g", budget=Budget(carbon_g=0.5), footprint=lambda: ONE_GRAM
    )
    assert (by_carbon.stopped_by, len(by_carbon.history)) == ("carbon", 1)


def test_a_carbon_budget_without_a_meter_is_refused(
    store: CaseStore, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="whose energy cannot be measured"):
        trained(store, tmp_path, budget=Budget(carbon_g=1.0))


def test_resuming_with_other_settings_is_refused(
    store: CaseStore, tmp_path: Path
) -> None:
    trained(store, tmp_path, replace(CONFIG, epochs=1))
    with pytest.raises(TrainingError, match="another batch"):
        trained(store, tmp_path, replace(CONFIG, epochs=1, batch=2))


def test_a_fold_that_ended_keeps_no_moments_and_is_not_trained_again(
    store: CaseStore, tmp_path: Path
) -> None:
    first, expected = trained(store, tmp_path)
    assert (tmp_path / "state.safetensors").stat().st_size < 10_000
    again, network = trained(store, tmp_path, footprint=killed_at(1))
    assert again == first
    assert equal_weights(network, expected)


def test_a_damaged_state_names_its_file(store: CaseStore, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"not tensors")
    with pytest.raises(TrainingError, match=r"state\.safetensors: found a damaged"):
        trained(store, tmp_path)


def test_history_is_written_as_it_grows(store: CaseStore, tmp_path: Path) -> None:
    trained(store, tmp_path)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {row["emitted_g"] for row in rows} == {"unknown"}
    assert {row["energy_kwh"] for row in rows} == {"unknown"}


def test_every_epoch_tells_its_own_energy(store: CaseStore, tmp_path: Path) -> None:
    # Two readings an epoch: one for its record, one for what the state keeps.
    meter = iter([1.0, 1.1, 3.0, 3.1])

    def measure() -> Footprint:
        return replace(ONE_GRAM, energy_kwh=next(meter))

    result, _ = trained(store, tmp_path, footprint=measure)
    assert [row.energy_kwh for row in result.history] == [1.0, 2.0]
    assert result.history[1].told(CONFIG).endswith("energy 2e+03 Wh")
    assert since(result.history, None) is None
    assert since([replace(result.history[0], energy_kwh=None)], 4.0) is None


def test_mirroring_turns_image_and_mask_together(store: CaseStore) -> None:
    order = [("a", 0), ("a", 0)]
    turned = np.array([False, True])
    ((slices, masks),) = batches(order, 2, feed(store), turned)
    assert torch.equal(slices[1], slices[0].flip(-1))
    assert torch.equal(masks[1], masks[0].flip(-1))
    assert not torch.equal(masks[1], masks[0])


def test_mirroring_is_off_unless_asked_for(store: CaseStore, tmp_path: Path) -> None:
    plain, _ = trained(store, tmp_path / "plain", replace(CONFIG, epochs=1))
    turned, _ = trained(
        store, tmp_path / "turned", replace(CONFIG, epochs=1, mirror=True)
    )
    assert plain.history[0].train_loss != turned.history[0].train_loss
    assert not TrainConfig().mirror


def test_halving_averages_the_image_and_keeps_the_masks_majority() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, :2, 0] = 1
    mask[0, 0, 3, 3] = 1
    slices, masks = halved(image, mask)
    assert slices[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert masks[0, 0].tolist() == [[1, 0], [0, 0]]


def test_calibration_measures_the_mean_over_the_slices(store: CaseStore) -> None:
    norm = nn.BatchNorm2d(2)
    order = [("a", index) for index in range(4)]
    calibrate(norm, order, feed(store))
    seen = torch.from_numpy(network_input(store.stack("a")))
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-4)
    assert norm.momentum == 0.1


def test_calibration_weighs_every_batch_alike(store: CaseStore) -> None:
    norm = nn.BatchNorm2d(2)
    order = [(case, index) for case in ("a", "b", "c") for index in range(4)]
    order = [*order, *order[:6]]  # two batches of eight and one of two
    calibrate(norm, order, feed(store))
    parts = [order[:8], order[8:16], order[16:]]
    means = [
        next(batches(part, 8, feed(store)))[0].mean(dim=(0, 2, 3)) for part in parts
    ]
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, torch.stack(means).mean(0), atol=1e-5)


def test_validation_fills_its_batches_across_cases(store: CaseStore) -> None:
    network = Counting()
    found = validate(network, ("a", "b", "c"), feed(store))
    assert [len(batch) for _, batch in network.seen] == [8, 4]
    shown = [torch.from_numpy(network_input(store.stack(case))) for case in "abc"]
    guessed = torch.cat(shown)[:, 0].sigmoid().numpy()
    truth = np.concatenate([store.mask(case) for case in "abc"])
    overlap, total = (guessed * truth).sum(), (guessed + truth).sum()
    assert found == pytest.approx(1 - 2 * overlap / total, abs=1e-5)


def test_coarse_epochs_in_parts_resume_as_they_were(
    store: CaseStore, tmp_path: Path
) -> None:
    config = replace(CONFIG, coarse_epochs=1, calibration_slices=4, accumulate=2)
    whole, expected = trained(store, tmp_path / "whole", config)
    with pytest.raises(Killed):
        trained(store, tmp_path / "cut", config, footprint=killed_at(3))
    resumed, network = trained(store, tmp_path / "cut", config)
    assert equal_weights(network, expected)
    assert [r.validation_loss for r in resumed.history] == [
        r.validation_loss for r in whole.history
    ]


def test_a_folder_that_another_process_trains_in_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "fold-0" / "lock"
    again = pytest.raises(TrainingError, match=rf"process {os.getpid()}\)")
    with held(lock, wait=False), again, held(lock, wait=False):
        pass
    with held(lock, wait=False):
        pass
