"""Energy of an epoch, three ways: same data, known ratios, unknown stays unknown."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import report
from benchmarks.energy_table import Trained, columns, table
from benchmarks.measure import Limit
from benchmarks.phantom_cases import LEVELS, Cases, draw
from benchmarks.trainers import Task, _gzipped, _preloaded, methods, without_tf32
from benchmarks.training_energy import epochs, flop_of, main, task_of
from model.batches import open_feed
from model.dataset import SliceIndex
from model.engine import Engine
from model.power import Survey
from model.progress import TrainConfig

ROOT = Path(__file__).parents[1]
CPU = Engine("cpu", "fp32")
WITHOUT_DICOM = """
import sys
for name in ("highdicom", "pydicom", "openvino", "pynetdicom", "isal"):
    sys.modules[name] = None
import benchmarks.training, benchmarks.training_energy, benchmarks.inference
print("imported")
"""


@dataclass
class Counter:
    """A meter with a counter that moves when it is told to."""

    device: str = "NVIDIA Test GPU-1234"
    source: str = "nvml"
    joules: float = 1000.0

    def power_w(self) -> float | None:
        return None

    def energy_j(self) -> float | None:
        return self.joules

    def processes(self) -> int | None:
        return None


@dataclass
class Drawing:
    """A trainer that draws so many joules an epoch, and notes its slices."""

    meter: Counter
    epoch_j: float
    network: nn.Module = field(default_factory=lambda: nn.Linear(1, 1))
    orders: list[list[SliceIndex]] = field(default_factory=list)

    def epoch(self, order: Sequence[SliceIndex]) -> None:
        self.meter.joules += self.epoch_j
        self.orders.append(list(order))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    config = TrainConfig(grid_px=32, batch=2, epochs=2)
    return task_of(
        tmp_path_factory.mktemp("cases"), config, cases=4, slices=3, workers=1
    )


def measured(name: str, trainer: Drawing, task: Task, *, metered: bool) -> Trained:
    meters = [trainer.meter] if metered else []
    found = epochs(trainer, task, 2, meters, "cpu")
    return Trained(name, (4.0, 2.0), found.used, (0.5, 0.9), None, None)


def test_energy_of_an_epoch_is_compared_with_the_first_way(task: Task) -> None:
    meter = Counter()
    pair = [Drawing(meter, joules) for joules in (40.0, 10.0)]
    found = [
        measured(n, d, task, metered=True) for n, d in zip("ab", pair, strict=True)
    ]
    assert [one.epoch_j for one in found] == [pytest.approx(40), pytest.approx(10)]
    told = columns(found, 6, Limit("the wall", 0.3))
    assert told["times less energy"] == ("1.00", "4.00")
    assert told["J per epoch"] == ("40", "10")
    assert told["slices/s"] == ("2", "2")  # 6 slices in a mean of 3 s
    assert told["of the peak"] == ("10.0%", "10.0%")  # 0.3 of 3 s
    assert told["Dice after each epoch"] == ("0.500, 0.900",) * 2
    assert "GPU peak MiB" not in told
    result = table(
        found, task, Survey((meter,), ()), limit=Limit("w", 0.3), load_before=0
    )
    assert (
        result.notes[0] == "b against a: 4.00 x less energy, 1.00 x faster by the mean"
    )
    assert "energy (nvml-counter) is that of NVIDIA Test as a whole" in result.notes


def test_what_no_meter_measures_is_unknown_and_the_reason_told(task: Task) -> None:
    found = [
        measured(n, Drawing(Counter(), 40.0), task, metered=False) for n in ("a", "b")
    ]
    meters = Survey((), ("CPU: no RAPL package",))
    result = table(found, task, meters, limit=Limit("w", 0.3), load_before=0)
    for head in ("times less energy", "J per epoch", "mean W"):
        assert result.columns[head] == ("unknown", "unknown")
    assert result.notes[0] == "b against a: unknown energy, 1.00 x faster by the mean"
    assert result.notes[-1] == "not measured: CPU: no RAPL package"


def test_every_way_takes_the_same_slices_in_the_same_order(task: Task) -> None:
    pair = [Drawing(Counter(), 1.0) for _ in range(2)]
    for trainer in pair:
        epochs(trainer, task, 2, [], "cpu")
    assert pair[0].orders == pair[1].orders
    first, second = pair[0].orders
    assert sorted(first) == sorted(second)
    assert first != second
    assert {name for name, _ in first} == set(task.fold.train)


def test_every_way_is_fed_the_same_values(task: Task) -> None:
    part = task.order(0)[:3]
    feed = open_feed(task.cases.store, task.fold.train, CPU)
    slices, masks = feed.batch(part, [False] * 3)
    assert masks.any()
    preloaded = _preloaded(task, "cpu")(part)
    assert torch.equal(preloaded[0], slices)
    assert torch.equal(preloaded[1], masks)
    gzipped = _gzipped(task, "cpu")(part)
    assert torch.equal(gzipped[1], masks)
    # Rounded to LEVELS; the root makes most of that near 0, divided by 0.35 after it.
    assert (gzipped[0] - slices).abs().max() < 1.1 * LEVELS**-0.5 / 0.35


def test_gzip_holds_what_the_store_does(task: Task) -> None:
    name = task.cases.names[0]
    voxels, mask = task.cases.read((name, 1))
    stored = task.cases.store.stack(name)[1].astype(np.float32)
    assert np.abs(voxels - stored).max() <= 0.5 / LEVELS + np.abs(stored).max() / 1024
    assert np.array_equal(mask, task.cases.store.mask(name)[1])


def test_several_processes_draw_the_same_phantoms(task: Task, tmp_path: Path) -> None:
    again: Cases = draw(tmp_path, count=4, slices=3, grid=32, workers=2)
    assert again.names == task.cases.names
    for name in again.names:
        one, other = (cases.store.stack(name) for cases in (again, task.cases))
        assert np.array_equal(one, other)


def test_the_two_cases_that_validate_are_not_trained_on(
    task: Task, tmp_path: Path
) -> None:
    assert len(task.fold.train) == len(task.fold.validation) == 2
    assert not set(task.fold.train) & set(task.fold.validation)
    assert flop_of(task) == pytest.approx(6 * 207e9 / 64)  # 32 px: a 64th of 256 px
    arguments = ["--cases=2", f"--out={tmp_path}"]
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_fp32_without_tf32_is_a_way_of_a_gpu_alone(task: Task, tmp_path: Path) -> None:
    on_cpu, on_gpu = (
        methods(task, engine, tmp_path, gzip_epochs=1)
        for engine in (CPU, Engine("cuda", "bf16"))
    )
    assert [way.epochs for way in on_cpu] == [2, 1, 2]
    assert [way.setting is without_tf32 for way in on_gpu] == [
        False,
        True,
        False,
        False,
    ]
    assert [way.engine.precision for way in on_gpu] == ["fp32"] * 3 + ["bf16"]


def test_tf32_is_as_before_once_it_was_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
        with without_tf32():
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.slow
def test_neither_dicom_nor_openvino_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DICOM], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "imported\n", done.stderr


@pytest.mark.slow
def test_three_ways_are_trained_and_published(tmp_path: Path) -> None:
    tiny = ["--cases=3", "--slices=2", "--grid=32", "--batch=2", "--epochs=2"]
    arguments = [*tiny, "--workers=1", "--device=cpu", f"--out={tmp_path}"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    result = report.read(tmp_path / "training-energy-32-cpu-fp32.json")
    assert [len(timing.seconds) for timing in result.timings] == [2, 1, 2]
    assert [len(d.split(", ")) for d in result.columns["Dice after each epoch"]] == [
        *(2, 1, 2)
    ]
    assert "| Dice after each epoch |" in report.page([result])
    assert "brs (torch-cpu-" in result.timings[-1].name
