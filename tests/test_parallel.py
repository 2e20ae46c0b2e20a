"""Several ranks: the weights of one process, one writer, each device counted once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import filled_store
from hypothesis import given
from hypothesis import strategies as st
from ranks_fit import CONFIG, main, own_device
from safetensors.torch import load_file
from sessions import annotate, archive_with
from torch import nn

from model.carbon import as_footprint, together
from model.dataset import CaseStore
from model.engine import Engine
from model.parallel import ALONE, Ranks, Shared, SharedBatchNorm2d, SharedDropout
from model.resume import read_progress
from plugin import ranks as plugin_ranks
from plugin.ranks import rank_meters

PATIENCE_S = 120.0


def whole_batch(slices: int, rank: int = 0, count: int = 1) -> Shared:
    """Return what a layer sees while a batch is divided, without other processes."""
    shared = Shared(nn.Identity(), ALONE)
    shared.ranks, shared.slices = Ranks(rank, count), slices
    return shared


@given(count=st.integers(1, 9), slices=st.integers(0, 40))
def test_the_parts_of_a_batch_are_the_batch(count: int, slices: int) -> None:
    parts = [list(range(slices))[Ranks(r, count).part(slices)] for r in range(count)]
    assert [at for part in parts for at in part] == list(range(slices))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shared_batch_norm_is_batch_norm() -> None:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3)
    nn.init.normal_(plain.weight)
    ours = SharedBatchNorm2d(nn.BatchNorm2d(3), whole_batch(4))
    ours.load_state_dict(plain.state_dict())
    values = torch.randn(4, 3, 5, 5)
    inputs = [values.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(x) for layer, x in zip((plain, ours), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        (output**3).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())
    torch.testing.assert_close(ours.eval()(values), plain.eval()(values))


def test_shared_dropout_draws_what_one_process_draws() -> None:
    values = torch.randn(5, 3, 4, 4).to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    expected = nn.functional.dropout(values, 0.3, training=True)
    parts = []
    for rank in range(2):
        torch.manual_seed(1)
        own = values[Ranks(rank, 2).part(5)]
        parts.append(SharedDropout(0.3, whole_batch(5, rank, 2))(own))
    assert torch.equal(torch.cat(parts), expected)


def test_one_rank_leaves_the_network_as_it_is() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout())
    shared = Shared(network, ALONE)
    assert shared.trained is network
    assert type(network[0]) is nn.BatchNorm2d
    with shared.divided(3) as own:
        assert (own, shared.slices) == (slice(0, 3), 0)


def test_ranks_emit_together_what_each_device_emits() -> None:
    total = together([own_device(0), own_device(1)])
    assert total.energy_kwh == pytest.approx(2.0)
    assert total.devices == ("gpu 0", "gpu 1")
    assert total.duration_s == 11.0, "the ranks run at the same time"
    assert total.coverage == pytest.approx(0.5)


class Meter:
    source = "rapl"

    def __init__(self, device: str) -> None:
        self.device = device

    def power_w(self) -> float | None:
        return None

    def energy_j(self) -> float | None:
        return None

    def processes(self) -> int | None:
        return None


class Told(Ranks):
    """A rank that knows what the others measure."""

    def gathered(self, value: object) -> list[object]:  # type: ignore[override]
        return [[("host", "rapl package-0"), ("host", "gpu 0")], value]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("host", ["gpu 1"]), ("other", ["rapl package-0", "gpu 1"])],
)
def test_a_device_that_two_ranks_see_is_measured_by_the_first(
    host: str, expected: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    meters = (Meter("rapl package-0"), Meter("gpu 1"))
    monkeypatch.setattr(plugin_ranks, "find_meters", lambda **_: meters)
    mine = rank_meters(Engine("cpu", "fp32"), Told(1, 2), host)
    assert [meter.device for meter in mine] == expected


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    return filled_store(tmp_path_factory.mktemp("store"), tuple("abcde"))


def torchrun(*command: object) -> subprocess.Popen[str]:
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    return started(command, *two)


def started(command: Sequence[object], *launcher: object) -> subprocess.Popen[str]:
    """Start a script of this folder with its arguments, by a launcher if given."""
    path = Path(__file__).with_name(str(command[0]))
    paths = os.pathsep.join(map(str, (path.parent, path.parents[1])))
    return subprocess.Popen(
        [sys.executable, *map(str, launcher), str(path), *map(str, command[1:])],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.slow
def test_two_ranks_killed_and_resumed_end_with_one_process_s_weights(
    store: CaseStore, tmp_path: Path
) -> None:
    epochs = 6
    main(store.root, tmp_path / "one", epochs, ALONE)
    process = torchrun("ranks_fit.py", store.root, tmp_path / "two", epochs)
    state = tmp_path / "two" / "state.safetensors"
    deadline = time.monotonic() + PATIENCE_S
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    for file in tmp_path.glob("two-*.pid"):  # torchrun's death does not end its ranks
        os.kill(int(file.read_text()), signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = len(read_progress(state)["history"])
    assert 1 <= done < epochs, "it was killed in the middle"
    again = torchrun("ranks_fit.py", store.root, tmp_path / "two", epochs)
    assert again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0
    for kind in ("", "-parts"):
        files = (f"one{kind}-0", f"two{kind}-0", f"two{kind}-1")
        one, first, second = (load_file(tmp_path / f"{n}.safetensors") for n in files)
        for name, weights in one.items():
            assert torch.equal(first[name], second[name]), name
            torch.testing.assert_close(first[name], weights, rtol=1e-3, atol=1e-4)
    losses = [
        [row["validation_loss"] for row in read_progress(at)["history"]]
        for at in (tmp_path / "one" / "state.safetensors", state)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    # The kill may have cut a file that was not yet renamed into place.
    kept = {f.name for f in state.parent.iterdir() if f.suffix != ".part"}
    assert kept == {"state.safetensors", "best.safetensors", "history.csv"}
    total = as_footprint(read_progress(state)["footprint"])
    assert (total.energy_kwh, total.devices) == (2.0, ("gpu 0", "gpu 1"))


def test_the_plan_of_the_ranks_divides_and_repeats() -> None:
    assert replace(CONFIG, epochs=1).batch == 7
    shared = whole_batch(0, rank=1, count=2)
    with shared.divided(7) as own:
        assert (own, shared.slices) == (slice(3, 7), 7)
    with shared.divided(1) as own:
        assert (own, shared.slices) == (slice(None), 0)


@pytest.mark.slow
def test_torchrun_trains_as_one_command_does(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "a", "b")
    annotate(archive, "a", "b")
    # An archive of its own each: else the second finds the first one's folds there.
    copy = shutil.copytree(archive.root, tmp_path / "copy")
    output, apart = tmp_path / "out", tmp_path / "apart"
    options = ("--grid", 32, "--batch", 3, "--epochs", 2, "--folds", 2)
    command = ("ranks_train.py", "train", *options, "--deterministic")
    run = torchrun(*command, "--archive", archive.root, "--output", output)
    told, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0
    (line,) = told.splitlines()  # one rank speaks
    assert (json.loads(line)["folds"], json.loads(line)["cases"]) == (2, 2)
    alone = started([*command, "--archive", copy, "--output", apart])
    alone.communicate(timeout=PATIENCE_S)
    assert alone.returncode == 0
    for fold in ("fold-0.safetensors", "fold-1.safetensors"):
        ours, theirs = load_file(output / fold), load_file(apart / fold)
        # RAdam divides by a gradient's size: where that is nothing, rounding counts.
        for weights, expected in zip(ours.values(), theirs.values(), strict=True):
            torch.testing.assert_close(weights, expected, rtol=2e-2, atol=2e-3)
    first = (output / "history.csv").read_text()
    assert [row.split(",")[:2] for row in first.splitlines()[1:]] == [
        *(["0", "0"], ["0", "1"], ["1", "0"], ["1", "1"]),
    ]
