"""A network run by OpenVINO on the CPU, without PyTorch."""

import os
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.engine import Engine
from model.errors import DeviceError
from model.openvino_graph import Weights, build_graph
from model.processors import THREADS
from model.quiet_openvino import openvino

PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Of what a graph leaves open: one in int8 says itself what is computed so."""


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


def thread_limit() -> int:
    """Return what the environment asks for, 0 for nothing; PyTorch obeys by itself."""
    first = os.environ.get(THREADS, "").split(",")[0]
    return int(first) if first.isdigit() else 0


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
        self._compile(build_graph(weights), engine)

    @classmethod
    def of_graph(cls, graph: openvino.Model, engine: Engine) -> Self:
        """Return a graph of the network compiled, such as one in int8."""
        runner = cls.__new__(cls)
        runner._compile(graph, engine)
        return runner

    def _compile(self, graph: openvino.Model, engine: Engine) -> None:
        self.engine = engine
        settings: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[engine.precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads := thread_limit():
            settings["INFERENCE_NUM_THREADS"] = threads
        self._compiled = openvino.Core().compile_model(graph, "CPU", settings)

    @property
    def threads(self) -> int:
        """Return how many threads it computes with."""
        return int(self._compiled.get_property("INFERENCE_NUM_THREADS"))

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (1, rows, columns) of one slice (1, 2, rows, columns)."""
        found: NDArray[np.float32] = self._compiled([inputs])[0][:, 0]
        return found
