"""Which device, precision and runtime a network is computed with."""

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from model.errors import DeviceError

DEVICES = Path("/dev")
GPU_NODES = ("nvidia[0-9]*", "nvmap", "dxg", "kfd")
"""NVIDIA cards, Jetson, Windows' GPU in WSL, and AMD cards."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A device, a precision (``fp32``, ``bf16`` or ``int8``), and who computes."""

    device: str
    precision: str
    runtime: str = "torch"
    """``torch``, or ``openvino`` on a CPU."""

    def __str__(self) -> str:
        return f"{self.runtime}-{self.device}-{self.precision}"

    @property
    def on_gpu(self) -> bool:
        """Say whether the device is an NVIDIA GPU."""
        return self.device.startswith("cuda")

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which PyTorch runs the forward pass."""
        import torch

        return torch.autocast(
            torch.device(self.device).type,
            torch.bfloat16,
            enabled=self.precision == "bf16",
        )


def may_have_gpu(devices: Path = DEVICES) -> bool:
    """Say whether PyTorch could find a GPU here, without importing it.

    Certain only where there is none: Linux shows a process its GPUs as devices.
    """
    if not sys.platform.startswith("linux"):
        return True
    return any(any(devices.glob(node)) for node in GPU_NODES)


def choose_engine(
    *, device: str = "auto", precision: str = "auto", training: bool = False
) -> Engine:
    """Return PyTorch's engine, with ``auto`` decided by what the machine has.

    The precision that is faster to predict with may not be the faster one to train
    with, so each is measured where a CPU is used (``model.bf16_probe``).

    Raises
    ------
    DeviceError
        If a GPU is asked for and none can be used, or int8, which is OpenVINO's.
    """
    if precision == "int8":
        raise DeviceError(
            f"precision {precision}",
            found="PyTorch",
            needed="OpenVINO, and weights that are trained already",
            mend="choose the precision auto, bf16 or fp32",
        )
    import torch

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
        precision = "bf16" if _bf16_pays(device, training=training) else "fp32"
    return Engine(device, precision)


def _bf16_pays(device: str, *, training: bool) -> bool:
    if device != "cpu":
        import torch

        return bool(torch.cuda.is_bf16_supported())
    from model.bf16_probe import bf16_pays

    return bf16_pays(training=training)
