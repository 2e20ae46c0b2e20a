"""One step: the same gradient in parts as at once, from wherever the cases lie."""

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from cases import filled_store, small_network
from torch import Tensor, nn
from torch.optim import SGD, RAdam

from model import batches as batches_module
from model import bf16_probe
from model.batches import Mapped, Resident, batches, halved, open_feed
from model.dataset import CaseStore
from model.engine import Engine, choose_engine
from model.loss import dice_loss
from model.parallel import ALONE, Shared
from model.recorded import Recorder
from model.step import Learner, new_learner

CPU = Engine("cpu", "fp32")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    return filled_store(tmp_path_factory.mktemp("store"), ("a", "b"))


def learner(network: nn.Module, parts: int = 1) -> Learner:
    shared = Shared(network, ALONE)
    return Learner(shared, SGD(network.parameters(), lr=1.0), CPU, parts)


def batch(slices: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    voxels = torch.randn(slices, 2, 8, 8, dtype=torch.float64)
    return voxels, (voxels[:, :1] > 0.5).double()


def unnormed() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("parts", [2, 3, 7, 9])
def test_parts_give_the_weights_of_the_whole_batch(parts: int) -> None:
    slices, masks = batch(7)
    whole, divided = unnormed(), unnormed()
    losses = [
        learner(whole).step(slices, masks),
        learner(divided, parts).step(slices, masks),
    ]
    torch.testing.assert_close(losses[1], losses[0])
    for one, other in zip(whole.parameters(), divided.parameters(), strict=True):
        # The sums of the loss are float32, the gradients of the network float64.
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_mean_of_the_parts_losses_would_be_another_gradient() -> None:
    slices, masks = batch(7)
    whole, mean = unnormed(), unnormed()
    learner(whole).step(slices, masks)
    for part in (slice(0, 4), slice(4, 7)):
        loss = dice_loss(mean(slices[part]), masks[part]) / 2
        loss.backward()  # type: ignore[no-untyped-call]
    SGD(mean.parameters(), lr=1.0).step()
    pairs = zip(whole.parameters(), mean.parameters(), strict=True)
    assert max(float((a - b).detach().abs().max()) for a, b in pairs) > 1e-4


def test_both_passes_draw_alike_and_batch_norm_remembers_one() -> None:
    network, heard = small_network(), []
    network.register_forward_hook(lambda *told: heard.append(told[2].detach()))
    slices, masks = (part.float() for part in batch(6))
    learner(network, 3).step(slices, masks)
    assert len(heard) == 6
    for first, second in zip(heard[:3], heard[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(heard[0], heard[1])
    norm = network.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked == 3
    assert norm.track_running_stats


def test_a_new_learner_trains_its_network_as_it_is_asked() -> None:
    network = small_network()
    there = new_learner(
        network, CPU, learning_rate=0.5, weight_decay=0.25, accumulate=3
    )
    (group,) = there.optimizer.param_groups
    assert (group["lr"], group["weight_decay"], there.accumulate) == (0.5, 0.25, 3)
    assert [*map(id, group["params"])] == [*map(id, network.parameters())]
    first = next(network.parameters())
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert not first.is_contiguous()


class Elsewhere(Engine):
    """A device whose values cannot be read: reading one is an error."""

    def autocast(self) -> nullcontext[None]:
        return nullcontext()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_reads_nothing_back_from_the_device(parts: int) -> None:
    network = small_network().to("meta")
    optimizer = RAdam(network.parameters(), foreach=True)
    there = Learner(Shared(network, ALONE), optimizer, Elsewhere("meta", "fp32"), parts)
    slices = torch.empty(4, 2, 8, 8, device="meta")
    masks = torch.empty(4, 1, 8, 8, device="meta")
    loss = there.step(slices, masks)
    with pytest.raises(RuntimeError):
        float(loss)


def all_of(feed: Mapped | Resident) -> Iterator[tuple[Tensor, Tensor]]:
    order = [("a", 0), ("b", 3), ("a", 2), ("b", 1), ("b", 1)]
    return batches(order, 2, feed, np.array([0, 1, 0, 0, 1], bool))


def test_cases_on_the_device_give_the_batches_of_those_on_disk(
    store: CaseStore,
) -> None:
    feeds = Mapped(store, CPU), Resident(store, ("a", "b"), CPU)
    mapped, resident = (list(all_of(feed)) for feed in feeds)
    for one, other in zip(mapped, resident, strict=True):
        torch.testing.assert_close(other, one)
        assert other[0].is_contiguous(memory_format=torch.channels_last)
    assert not mapped[2][0].equal(mapped[1][0][1:])  # the same slice, but mirrored


def test_cases_stay_on_a_gpu_where_half_of_its_free_memory_holds_them(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    monkeypatch.setattr(
        batches_module, "Resident", lambda *told: held.append(told[2].device)
    )
    gpu, needed = Engine("cuda:1", "bf16"), 2 * 4 * 32 * 32 * 5
    for free, stays in ((2 * needed, True), (2 * needed - 1, False)):
        held.clear()
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, f=free: (f, 10 * f))
        feed = open_feed(store, ("a", "b"), gpu)
        assert (held == ["cuda:1"], isinstance(feed, Mapped)) == (stays, not stays)
    assert isinstance(open_feed(store, ("a",), CPU), Mapped)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("parts", [1, 2])
def test_an_epoch_on_a_gpu_never_waits_for_it(store: CaseStore, parts: int) -> None:
    network, engine = small_network().cuda(), Engine("cuda", "bf16")
    optimizer = RAdam(network.parameters(), foreach=True)
    there = Learner(Shared(network, ALONE), optimizer, engine, parts)
    feed = Resident(store, ("a", "b"), engine)
    for _ in range(2):  # until every shape of a batch is recorded
        for slices, masks in all_of(feed):
            there.step(slices, masks)
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = [there.step(slices, masks) for slices, masks in all_of(feed)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert 0 < float(torch.stack(losses).mean()) < 1


def epochs_on_a_gpu(store: CaseStore) -> tuple[list[float], nn.Module]:
    """Train four short epochs, two at half the size; the last batch is smaller."""
    engine = Engine("cuda", "fp32")
    network = small_network().cuda().to(memory_format=torch.channels_last)
    optimizer = SGD(network.parameters(), lr=0.1)
    there = Learner(Shared(network, ALONE), optimizer, engine)
    feed = Resident(store, ("a", "b"), engine)
    losses = []
    for epoch in range(4):
        torch.manual_seed(epoch)
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + epoch)
        for slices, masks in all_of(feed):
            given = halved(slices, masks) if epoch < 2 else (slices, masks)
            losses.append(there.step(*given))
    return torch.stack(losses).tolist(), network


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_recorded_steps_give_the_weights_of_steps_as_they_come(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, network = epochs_on_a_gpu(store)
    monkeypatch.setattr(Recorder, "loss", lambda _, compute, batch: compute(*batch))
    plain_losses, plain = epochs_on_a_gpu(store)
    assert losses == pytest.approx(plain_losses, abs=1e-4)
    found, expected = network.state_dict(), plain.state_dict()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("seconds", "pays"), [((1.0, 0.8), True), ((1.0, 0.95), False)]
)
def test_bf16_pays_where_it_is_a_tenth_faster(
    seconds: tuple[float, float],
    pays: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = dict(zip((False, True), seconds, strict=True))
    monkeypatch.setattr(
        bf16_probe, "_block", lambda *, training, bf16: lambda: times[bf16]
    )
    monkeypatch.setattr(bf16_probe, "_thread_seconds", lambda run: run())
    threads = torch.get_num_threads()
    assert bf16_probe.bf16_pays(training=True) == pays
    assert torch.get_num_threads() == threads


def test_bf16_is_not_tried_again_where_it_is_hopeless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[float] = []

    def timed(seconds: float) -> float:
        ran.append(seconds)
        return seconds

    monkeypatch.setattr(
        bf16_probe, "_block", lambda *, training, bf16: 30.0 if bf16 else 1.0
    )
    monkeypatch.setattr(bf16_probe, "_thread_seconds", timed)
    assert not bf16_probe.bf16_pays(training=False)
    assert ran == [1.0, 30.0]


def test_training_and_predicting_are_measured_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bf16_probe, "bf16_pays", lambda *, training: training)
    assert choose_engine(device="cpu").precision == "fp32"
    assert choose_engine(device="cpu", training=True).precision == "bf16"
