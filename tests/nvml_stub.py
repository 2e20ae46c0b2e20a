"""NVML as its API reference describes it, for machines without a GPU.

Power is milliwatts, the energy counter millijoules since the driver was loaded, and
absent before Volta. Strict: a call before ``nvmlInit`` or without a handle fails as
the library does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pynvml


@dataclass
class Gpu:
    """One card; a reading of ``None`` is answered with Not Supported."""

    uuid: str = "GPU-11111111-2222-3333-4444-555555555555"
    name: str = "NVIDIA Test 80GB"
    power_mw: int | None = 250_000
    energy_mj: int | None = 1_000_000
    mig: int | None = None
    processes: int | None = 1
    lost: bool = False


@dataclass
class NvmlStub:
    """The library with its cards; ``no_library`` as on a machine without a driver."""

    gpus: list[Gpu] = field(default_factory=list)
    no_library: bool = False
    started: bool = False

    def nvmlInit(self) -> None:  # noqa: N802
        if self.no_library:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.started = True

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check_started()
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        self._check_started()
        if not 0 <= index < len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802
        return self._gpu(handle).uuid

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802
        return self._gpu(handle).name

    def nvmlDeviceGetMigMode(self, handle: Any) -> list[int]:  # noqa: N802
        mode = _supported(self._gpu(handle).mig)
        return [mode, mode]

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:  # noqa: N802
        return _supported(self._gpu(handle).power_mw)

    def nvmlDeviceGetComputeRunningProcesses(  # noqa: N802
        self, handle: Any
    ) -> Sequence[object]:
        return [object()] * _supported(self._gpu(handle).processes)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        return _supported(self._gpu(handle).energy_mj)

    def _gpu(self, handle: Any) -> Gpu:
        self._check_started()
        if not isinstance(handle, Gpu):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        if handle.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return handle

    def _check_started(self) -> None:
        if not self.started:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)


def _supported(value: int | None) -> int:
    if value is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return value
