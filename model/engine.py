"""Which device and precision this machine should compute in."""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from model.errors import DeviceError

BF16_MUST_BE_FASTER_BY = 1.3


@dataclass(frozen=True, slots=True)
class Engine:
    """A device and a precision (``fp32`` or ``bf16`` autocast)."""

    device: str
    precision: str

    def __str__(self) -> str:
        return f"torch-{self.device}-{self.precision}"

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the network's forward pass runs."""
        return torch.autocast(
            torch.device(self.device).type,
            torch.bfloat16,
            enabled=self.precision == "bf16",
        )


def choose_engine(*, device: str = "auto", precision: str = "auto") -> Engine:
    """Return the engine asked for, with ``auto`` decided by what the machine has.

    Raises
    ------
    DeviceError
        If a GPU is asked for and none can be used.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            f"device {device}",
            found="no GPU that PyTorch can use",
            needed="a visible NVIDIA GPU and its driver",
            mend="give the container a GPU, or choose the device cpu or auto",
        )
    if precision == "auto":
        precision = "bf16" if _bf16_pays(device) else "fp32"
    return Engine(device, precision)


def _bf16_pays(device: str) -> bool:
    """Say whether bf16 is faster here; without AMX or AVX512 it is 30 times slower."""
    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported())
    return _conv_seconds(enabled=True) * BF16_MUST_BE_FASTER_BY < _conv_seconds(
        enabled=False
    )


def _conv_seconds(*, enabled: bool) -> float:
    """Time the middle of three small convolutions."""
    convolution = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    slices = torch.ones(1, 64, 32, 32).to(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        for _ in range(3):
            start = time.perf_counter()
            convolution(slices)
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)[1]
