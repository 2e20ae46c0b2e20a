"""Meters: NVML by a strict stub, RAPL by a folder laid out like sysfs."""

from pathlib import Path

import pynvml
import pytest
import torch
from nvml_stub import Gpu, NvmlStub

from model.energy_log import EnergyLog
from model.errors import TrainingError
from model.power import find_meters, gpu_uuids, survey
from model.progress import Budget, EpochRecord, over_budget

UUIDS = tuple(f"GPU-{digit * 8}-0000-0000-0000-000000000000" for digit in "123")


def gpu_survey(
    *gpus: Gpu, wanted: tuple[str, ...] | None = None
) -> tuple[list[str], str]:
    """Return the devices found and the reasons, of GPUs only."""
    found = survey(gpus=wanted, powercap=None, nvml=NvmlStub(list(gpus)))
    return [meter.device for meter in found.meters], "; ".join(found.missing)


def test_the_stub_offers_only_what_nvml_has() -> None:
    calls = [name for name in dir(NvmlStub) if name.startswith("nvml")]
    assert len(calls) == 9
    assert all(hasattr(pynvml, name) for name in calls)


def test_the_stub_refuses_calls_before_init() -> None:
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        NvmlStub([Gpu()]).nvmlDeviceGetCount()


def test_gpu_readings_are_watts_and_joules() -> None:
    card = Gpu(power_mw=312_500, energy_mj=7_250)
    (meter,) = find_meters(powercap=None, nvml=NvmlStub([card]))
    assert meter.power_w() == pytest.approx(312.5)
    assert meter.energy_j() == pytest.approx(7.25)
    assert meter.source == "nvml"
    assert meter.device == "NVIDIA Test 80GB GPU-11111111-2222-3333-4444-555555555555"


def test_processes_on_a_card_are_counted_where_it_tells_them() -> None:
    cards = [Gpu(processes=2), Gpu("GPU-2", processes=None)]
    shared, silent = find_meters(powercap=None, nvml=NvmlStub(cards))
    assert (shared.processes(), silent.processes()) == (2, None)


def test_a_card_without_counter_still_gives_its_power() -> None:
    (meter,) = find_meters(powercap=None, nvml=NvmlStub([Gpu(energy_mj=None)]))
    assert meter.energy_j() is None
    assert meter.power_w() == pytest.approx(250)


def test_a_card_that_can_measure_nothing_is_kept_and_reads_none() -> None:
    """It was asked for, so it has to lower the coverage, not vanish from it."""
    card = Gpu(power_mw=None, energy_mj=None)
    (meter,) = find_meters(powercap=None, nvml=NvmlStub([card]))
    assert (meter.power_w(), meter.energy_j()) == (None, None)


def test_a_card_lost_on_the_way_reads_none() -> None:
    card = Gpu()
    (meter,) = find_meters(powercap=None, nvml=NvmlStub([card]))
    card.lost = True
    assert (meter.power_w(), meter.energy_j()) == (None, None)


def test_a_machine_without_driver_has_no_meter_and_says_why() -> None:
    found = survey(powercap=None, nvml=NvmlStub(no_library=True))
    assert found.meters == ()
    assert found.missing == ("GPU: NVML Shared Library Not Found",)


def test_a_partitioned_card_has_no_meter_and_says_why() -> None:
    devices, reason = gpu_survey(
        Gpu(UUIDS[0], mig=pynvml.NVML_DEVICE_MIG_ENABLE),
        Gpu(UUIDS[1], mig=pynvml.NVML_DEVICE_MIG_DISABLE),
    )
    assert [device.split()[-1] for device in devices] == [UUIDS[1]]
    assert UUIDS[0] in reason
    assert "MIG" in reason


def test_a_lost_card_does_not_hide_the_others() -> None:
    devices, reason = gpu_survey(Gpu(UUIDS[0], lost=True), Gpu(UUIDS[1]))
    assert [device.split()[-1] for device in devices] == [UUIDS[1]]
    assert "GPU number 0: GPU is lost" in reason


def test_only_the_gpus_in_use_are_measured() -> None:
    cards = [Gpu(uuid) for uuid in UUIDS]
    devices, reason = gpu_survey(*cards, wanted=UUIDS[1:2])
    assert [device.split()[-1] for device in devices] == [UUIDS[1]]
    assert reason == ""


def test_a_gpu_asked_for_twice_is_measured_once() -> None:
    devices, _ = gpu_survey(Gpu(UUIDS[0]), wanted=(UUIDS[0], UUIDS[0]))
    assert len(devices) == 1


@pytest.mark.parametrize(
    ("nvml", "reason"),
    [
        (NvmlStub([Gpu(UUIDS[0], mig=1)]), "MIG is on"),
        (NvmlStub([Gpu(UUIDS[1])]), "NVML shows no whole GPU of this UUID"),
        (NvmlStub(no_library=True), "NVML Shared Library Not Found"),
    ],
)
def test_a_gpu_in_use_without_a_meter_makes_the_energy_unknown(
    tmp_path: Path, nvml: NvmlStub, reason: str
) -> None:
    """The processor's energy alone would pass for that of the training."""
    cpu = zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=0)
    found = survey(gpus=UUIDS[:1], powercap=tmp_path, nvml=nvml)
    ticks = iter((0.0, 10.0))
    with EnergyLog(found.meters, interval_s=3600, clock=lambda: next(ticks)) as log:
        (cpu / "energy_uj").write_text("3600000000\n")
    used = log.footprint()
    assert (used.energy_kwh, used.cfp_kg, log.so_far_g()) == (None, None, None)
    assert used.known_kwh == pytest.approx(0.001)
    assert (used.coverage, used.method) == (0.5, "rapl+unknown")
    assert set(used.devices) == {UUIDS[0], "rapl package-0"}
    assert reason in "; ".join(found.missing)
    epoch = EpochRecord(0, 0.5, 0.5, 1e-3, 10.0, log.so_far_g())
    with pytest.raises(TrainingError, match="whose energy cannot be measured"):
        over_budget(epoch, Budget(carbon_g=1e6), minutes=0)


def test_work_on_the_cpu_does_not_ask_for_gpus() -> None:
    stub = NvmlStub([Gpu()])
    found = survey(gpus=gpu_uuids([torch.device("cpu")]), powercap=None, nvml=stub)
    assert (found.meters, found.missing) == ((), ())
    assert not stub.started


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_pytorch_and_nvml_spell_a_gpu_alike() -> None:
    found = survey(gpus=gpu_uuids([torch.device("cuda", 0)]), powercap=None)
    assert len(found.meters) == 1, found.missing
    assert found.meters[0].power_w() or found.meters[0].energy_j()


def zone(
    root: Path, zone_name: str, name: str, *, energy_uj: int | str = 5_000_000
) -> Path:
    """Lay out one RAPL zone as in /sys/class/powercap."""
    folder = root / zone_name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    return folder


def test_packages_and_memory_are_measured_once_each(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl", "no zone")
    zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl:0:0", "core")
    zone(tmp_path, "intel-rapl:0:1", "dram")
    zone(tmp_path, "intel-rapl:1", "package-1")
    zone(tmp_path, "intel-rapl:2", "psys")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    meters = find_meters(gpus=(), powercap=tmp_path)
    assert sorted(meter.device for meter in meters) == [
        "rapl package-0",
        "rapl package-0 dram",
        "rapl package-1",
    ]


def test_rapl_counts_joules_and_has_no_power(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=5_000_000)
    (meter,) = find_meters(gpus=(), powercap=tmp_path)
    first = meter.energy_j()
    (folder / "energy_uj").write_text("7500000\n")
    second = meter.energy_j()
    assert first is not None
    assert second is not None
    assert second - first == pytest.approx(2.5)
    assert meter.power_w() is None
    assert meter.source == "rapl"


def test_rapl_goes_on_when_the_counter_wraps_twice(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0")
    (folder / "max_energy_range_uj").write_text("10000000\n")
    (meter,) = find_meters(gpus=(), powercap=tmp_path)
    read = []
    for energy_uj in (9_000_000, 1_000_000, 8_000_000, 2_000_000):
        (folder / "energy_uj").write_text(str(energy_uj))
        read.append(meter.energy_j())
    assert read == pytest.approx([9, 10 + 1, 10 + 8, 20 + 2])


def test_a_zone_that_vanishes_reads_none(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0")
    (meter,) = find_meters(gpus=(), powercap=tmp_path)
    (folder / "energy_uj").unlink()
    assert meter.energy_j() is None


def test_a_counter_that_may_not_be_read_is_missing_with_its_reason(
    tmp_path: Path,
) -> None:
    """A folder in the file's place fails for root too, as 0400 does for others."""
    folder = zone(tmp_path, "intel-rapl:0", "package-0")
    (folder / "energy_uj").unlink()
    (folder / "energy_uj").mkdir()
    found = survey(gpus=(), powercap=tmp_path)
    assert found.meters == ()
    assert "package-0" in found.missing[0]
    assert "energy_uj" in found.missing[0]


@pytest.mark.parametrize("text", ["", "<not counted>"])
def test_a_counter_without_a_number_is_missing(tmp_path: Path, text: str) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=text)
    found = survey(gpus=(), powercap=tmp_path)
    assert (found.meters, len(found.missing)) == ((), 1)


def test_a_machine_without_rapl_says_so(tmp_path: Path) -> None:
    found = survey(gpus=(), powercap=tmp_path / "powercap")
    assert found.meters == ()
    assert found.missing[0].startswith("CPU: no RAPL package")


def test_reasons_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "model.power"):
        assert find_meters(powercap=tmp_path, nvml=NvmlStub(no_library=True)) == ()
    assert [record.args for record in caplog.records] == [
        ("GPU: NVML Shared Library Not Found",),
        (f"CPU: no RAPL package in {tmp_path}",),
    ]
