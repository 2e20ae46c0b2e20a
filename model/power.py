"""Energy meters of this machine: NVIDIA GPUs by NVML, Intel and AMD CPUs by RAPL."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pynvml

from model.trace import PowerMeter

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

POWERCAP = Path("/sys/class/powercap")


class Nvml(Protocol):
    """The part of NVML used here, as ``pynvml`` offers it; NVML API Reference."""

    def nvmlInit(self) -> None:  # noqa: N802
        """Start, or raise where there is no driver."""
        ...

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Return the number of GPUs."""
        ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        """Return the handle of one GPU."""
        ...

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802
        """Return ``GPU-`` and the UUID."""
        ...

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802
        """Return the product's name."""
        ...

    def nvmlDeviceGetMigMode(self, handle: Any) -> Sequence[int]:  # noqa: N802
        """Return whether it is partitioned, now and after a reset."""
        ...

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:  # noqa: N802
        """Return the board's power in milliwatts."""
        ...

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        """Return the millijoules since the driver was loaded (Volta and later)."""
        ...

    def nvmlDeviceGetComputeRunningProcesses(  # noqa: N802
        self, handle: Any
    ) -> Sequence[Any]:
        """Return the processes that compute on the card, other containers' too."""
        ...


@dataclass(frozen=True, slots=True)
class Survey:
    """The meters that were found, and why others were not or read nothing."""

    meters: tuple[PowerMeter, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NvmlMeter:
    """One whole GPU, whatever else runs on it."""

    device: str
    nvml: Nvml
    handle: Any
    source: str = field(default="nvml", init=False)

    def power_w(self) -> float | None:
        """Return the board's power, on recent cards the mean of about a second."""
        return self._thousandth(self.nvml.nvmlDeviceGetPowerUsage)

    def energy_j(self) -> float | None:
        """Return the board's energy counter; older cards have none."""
        return self._thousandth(self.nvml.nvmlDeviceGetTotalEnergyConsumption)

    def processes(self) -> int | None:
        """Return how many processes hold a compute context, ours included."""
        try:
            return len(self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle))
        except pynvml.NVMLError as error:
            logger.debug("%s: %s", self.device, error)
            return None

    def _thousandth(self, read: Callable[[Any], int]) -> float | None:
        try:
            return read(self.handle) / 1000
        except pynvml.NVMLError as error:
            logger.debug("%s: %s", self.device, error)
            return None


@dataclass(frozen=True, slots=True)
class Unmetered:
    """A GPU in use that cannot be measured: left out, its energy would pass for 0."""

    device: str
    source: str = field(default="nvml", init=False)

    def power_w(self) -> float | None:
        """Return nothing."""
        return None

    def energy_j(self) -> float | None:
        """Return nothing."""
        return None

    def processes(self) -> int | None:
        """Return nothing."""
        return None


@dataclass(slots=True)
class RaplMeter:
    """One RAPL zone: a CPU package or its memory; a counter without a power reading.

    Linux, power capping framework: ``energy_uj`` counts microjoules and starts again
    at 0 beyond ``max_energy_range_uj``, after a quarter of an hour of full load at the
    soonest; it has to be read more often than that.
    """

    device: str
    zone: Path
    range_uj: int
    source: str = field(default="rapl", init=False)
    _last_uj: int | None = None
    _wraps: int = 0

    def power_w(self) -> float | None:
        """Return nothing: RAPL counts energy only."""
        return None

    def energy_j(self) -> float | None:
        """Return the joules since the counter's last wrap before the first reading."""
        try:
            now_uj = _read_number(self.zone / "energy_uj")
        except (OSError, ValueError) as error:
            logger.debug("%s: %s", self.device, error)
            return None
        if self._last_uj is not None and now_uj < self._last_uj:
            self._wraps += 1
        self._last_uj = now_uj
        return (self._wraps * self.range_uj + now_uj) / 1e6

    def processes(self) -> int | None:
        """Return nothing: everything on the machine shares a CPU."""
        return None


def find_meters(
    *,
    gpus: Sequence[str] | None = None,
    powercap: Path | None = POWERCAP,
    nvml: Nvml = pynvml,
) -> tuple[PowerMeter, ...]:
    """Return the meters of ``survey`` and log why others are missing."""
    found = survey(gpus=gpus, powercap=powercap, nvml=nvml)
    for reason in found.missing:
        logger.info("energy not measured: %s", reason)
    return found.meters


def survey(
    *,
    gpus: Sequence[str] | None = None,
    powercap: Path | None = POWERCAP,
    nvml: Nvml = pynvml,
) -> Survey:
    """Return this machine's meters and, for each one missing, the reason.

    ``gpus`` are the UUIDs to be measured (``gpu_uuids``), ``None`` every GPU that NVML
    shows; ``powercap`` is the folder of the RAPL zones, ``None`` leaves the CPU out.
    Each of ``gpus`` has one meter, ``Unmetered`` where it cannot be measured.
    """
    found = [] if gpus is not None and not gpus else _survey_gpus(gpus, nvml)
    if powercap is not None:
        found += _survey_rapl(powercap)
    return Survey(
        meters=tuple(one for one in found if not isinstance(one, str)),
        missing=tuple(one for one in found if isinstance(one, str)),
    )


def gpu_uuids(devices: "Sequence[torch.device | str]") -> tuple[str, ...]:
    """Return the UUIDs of the CUDA devices among ``devices``, in NVML's spelling.

    PyTorch has resolved ``CUDA_VISIBLE_DEVICES``: its index is not always NVML's. It
    is imported only for a GPU.
    """
    gpus = [device for device in devices if str(device).startswith("cuda")]
    if not gpus:
        return ()
    import torch

    return tuple(f"GPU-{torch.cuda.get_device_properties(gpu).uuid}" for gpu in gpus)


def _survey_gpus(gpus: Sequence[str] | None, nvml: Nvml) -> list[PowerMeter | str]:
    try:
        # Never shut down again: the meters need it until the process ends.
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        return [f"GPU: {error}", *map(Unmetered, dict.fromkeys(gpus or ()))]
    seen = dict(_survey_gpu(index, nvml) for index in range(count))
    if gpus is None:
        return list(seen.values())
    unseen = "NVML shows no whole GPU of this UUID"
    wanted = {uuid: seen.get(uuid, f"{uuid}: {unseen}") for uuid in gpus}
    lacking = [Unmetered(uuid) for uuid, one in wanted.items() if isinstance(one, str)]
    return [*wanted.values(), *lacking]


def _survey_gpu(index: int, nvml: Nvml) -> tuple[str, PowerMeter | str]:
    """Return a GPU's UUID, and its meter or why it has none."""
    uuid = f"GPU number {index}"
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(handle)
        name = nvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError as error:
        return uuid, f"{uuid}: {error}"
    if _is_partitioned(handle, nvml):
        return uuid, f"{uuid}: MIG is on, and NVML measures its instances as one"
    return uuid, NvmlMeter(f"{name} {uuid}", nvml, handle)


def _is_partitioned(handle: Any, nvml: Nvml) -> bool:
    try:
        now, _ = nvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:
        # Cards before Ampere know no MIG.
        return False
    return bool(now)


def _survey_rapl(powercap: Path) -> list[PowerMeter | str]:
    """Return a meter per CPU package and memory; cores lie within the package.

    The zones of ``intel-rapl-mmio`` and ``psys`` count the packages a second time.
    """
    zones = [(zone, _zone_name(zone)) for zone in sorted(powercap.glob("intel-rapl:*"))]
    packages = {zone.name: name for zone, name in zones if name.startswith("package")}
    memories = {
        zone.name: f"{packages[parent]} {name}"
        for zone, name in zones
        if name == "dram" and (parent := zone.name.rpartition(":")[0]) in packages
    }
    named = {**packages, **memories}
    if not named:
        return [f"CPU: no RAPL package in {powercap}"]
    return [_rapl_meter(powercap / zone, name) for zone, name in named.items()]


def _rapl_meter(zone: Path, name: str) -> PowerMeter | str:
    try:
        _read_number(zone / "energy_uj")
        range_uj = _read_number(zone / "max_energy_range_uj")
    except (OSError, ValueError) as error:
        # Since CVE-2020-8694 the kernel lets only root read the counter.
        return f"CPU {name}: {error}"
    return RaplMeter(f"rapl {name}", zone, range_uj)


def _zone_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _read_number(path: Path) -> int:
    return int(path.read_text())
