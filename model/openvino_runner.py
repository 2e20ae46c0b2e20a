"""A network run by OpenVINO on the CPU, without PyTorch."""

import numpy as np
from numpy.typing import NDArray

from model.engine import Engine
from model.errors import DeviceError
from model.openvino_graph import Weights, build_graph
from model.quiet_openvino import openvino

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


def capabilities() -> tuple[str, ...]:
    """Return what OpenVINO makes use of on this CPU, such as ``BF16``."""
    found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(sorted(found))


def has_bf16() -> bool:
    """Say whether this CPU computes in bf16 (AMX or AVX512-BF16)."""
    return "BF16" in capabilities()


def cpu_name() -> str:
    """Return the name of this machine's CPU."""
    return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))


class OpenVinoRunner:
    """The network compiled for this machine's CPU."""

    batch = 1

    def __init__(self, weights: Weights, engine: Engine) -> None:
        if engine.precision == "bf16" and not has_bf16():
            raise DeviceError(
                f"engine {engine}",
                found=f"{cpu_name()}, which does not compute in bf16",
                needed="a CPU with AMX or AVX512-BF16",
                mend="choose the precision fp32 or auto",
            )
        self.engine = engine
        self._compiled = openvino.Core().compile_model(
            build_graph(weights),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": PRECISIONS[engine.precision],
                "PERFORMANCE_HINT": "LATENCY",
            },
        )

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (1, rows, columns) of one slice (1, 2, rows, columns)."""
        found: NDArray[np.float32] = self._compiled([inputs])[0][:, 0]
        return found
