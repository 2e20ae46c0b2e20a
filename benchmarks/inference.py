"""How much faster an engine segments slices than plain fp32 PyTorch.

    python -m benchmarks.inference --grid 256

Weights are random: the cost does not depend on them. Masks are compared elsewhere, by
`brs engine`. On a GPU a batch goes there and its logits come back, as in `brs segment`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import (
    Way,
    compare,
    flop_limit,
    named,
    publish,
    rates,
    tf32_notes,
)
from benchmarks.options import (
    count_option,
    device_option,
    out_option,
    repeats_option,
)
from model.engine import Engine, choose_engine
from model.inference import Runner, as_runner
from model.network import new_network
from model.torch_runner import BATCH_BY_DEVICE

GFLOP_AT_256 = 69.06
"""Twice the multiply-adds of FCN-ResNet50 on one slice of 256 x 256 px."""
NO_OPENVINO = "OpenVINO is not installed here and was left out"


def engines(best: Engine) -> list[Engine]:
    """Return the engines of a device, PyTorch's ``best`` among them, fastest last."""
    plain = Engine(best.device, "fp32")
    found = [plain] if best == plain else [plain, best]
    if best.device == "cpu" and has_openvino():
        from model.openvino_runner import has_bf16

        precisions = ("fp32", "bf16") if has_bf16() else ("fp32",)
        found += [Engine("cpu", precision, "openvino") for precision in precisions]
    return found


def has_openvino() -> bool:
    """Say whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def ready(engine: Engine, grid: int) -> Runner:
    """Return the network ready to run on an engine."""
    network = new_network(seed=0)
    if engine.runtime == "torch":
        return as_runner(network, engine, grid)
    from model.openvino_runner import OpenVinoRunner

    weights = {name: t.numpy() for name, t in network.eval().state_dict().items()}
    return OpenVinoRunner(weights, engine)


class Plain:
    """What one writes first: the network, called."""

    def __init__(self, device: str) -> None:
        self.network, self.device = new_network(seed=0).eval().to(device), device

    @torch.inference_mode()
    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (N, rows, columns) of network inputs (N, 2, rows, columns)."""
        slices = torch.from_numpy(inputs).to(self.device)
        found: NDArray[np.float32] = self.network(slices).cpu().numpy()
        return found[:, 0]


def ways(found: Sequence[Engine], inputs: NDArray[np.float32]) -> list[Way]:
    """Return plain PyTorch and then every engine, on the same slices."""
    plain = Plain(found[0].device)
    first = Way("torch eager fp32, as it comes", partial(plain.logits, inputs))
    runs = ((str(engine), ready(engine, inputs.shape[-1])) for engine in found)
    return [first, *(Way(name, partial(run.logits, inputs)) for name, run in runs)]


def notes(best: Engine) -> tuple[str, ...]:
    """Return what has to be known of the ways on this device."""
    if best.device != "cpu":
        return tf32_notes(best)
    return () if has_openvino() else (NO_OPENVINO,)


@click.command()
@count_option("--grid", 256, "Rows and columns of a slice.")
@repeats_option(15)
@device_option
@out_option
def main(grid: int, repeats: int, device: str, out: Path) -> None:
    """Time slices on every engine of this machine, as many as an engine takes."""
    best = choose_engine(device=device)
    found, slices = engines(best), BATCH_BY_DEVICE[best.device]
    shape = (slices, 2, grid, grid)
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    gflop = slices * GFLOP_AT_256 * (grid / 256) ** 2
    many = "one slice" if slices == 1 else f"{slices} slices"
    result = compare(
        f"{many} of {grid} x {grid} px through FCN-ResNet50",
        ways(found, inputs),
        repeats=repeats,
        work=f"{many.replace('one', '1')}, batch {slices}, {gflop:.1f} GFLOP",
        limit=flop_limit(gflop * 1e9, found[-1]),
        notes=notes(best),
    )
    told = replace(result, columns={"slices/s": rates(result.timings, slices)})
    publish(told, out, named(f"inference-{grid}", best))


if __name__ == "__main__":
    main()
