"""How much faster an engine segments a slice than plain fp32 PyTorch.

    python -m benchmarks.inference --grid 256

Weights are random: the cost does not depend on them. Masks are compared elsewhere, by
`brs engine`.
"""

from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import Way, compare, flop_limit, publish
from benchmarks.options import count_option, out_option, repeats_option
from model.engine import Engine, choose_engine
from model.inference import Runner, as_runner
from model.network import new_network
from model.openvino_runner import OpenVinoRunner, has_bf16

GFLOP_AT_256 = 69.06
"""Twice the multiply-adds of FCN-ResNet50 on one slice of 256 x 256 px."""


def runners() -> dict[str, Runner]:
    """Return the engines this machine has, plain PyTorch first."""
    network = new_network(seed=0).eval()
    weights = {name: t.numpy() for name, t in network.state_dict().items()}
    plain = Engine("cpu", "fp32")
    found: dict[str, Runner] = {"torch eager fp32, as it comes": _Plain(network)}
    found[str(plain)] = as_runner(new_network(seed=0), plain)
    best = choose_engine()
    if best != plain:
        found[str(best)] = as_runner(new_network(seed=0), best)
    for precision in ("fp32", "bf16") if has_bf16() else ("fp32",):
        engine = Engine("cpu", precision, "openvino")
        found[str(engine)] = OpenVinoRunner(weights, engine)
    return found


def fastest() -> Engine:
    """Return the engine of the last way."""
    return Engine("cpu", "bf16" if has_bf16() else "fp32", "openvino")


class _Plain:
    """What one writes first: the network, called."""

    batch = 1

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    @torch.inference_mode()
    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.network(torch.from_numpy(inputs)).numpy()
        return found[:, 0]


@click.command()
@count_option("--grid", 256, "Rows and columns of a slice.")
@repeats_option(15)
@out_option
def main(grid: int, repeats: int, out: Path) -> None:
    """Time one slice on every engine of this machine."""
    shape = (1, 2, grid, grid)
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    gflop = GFLOP_AT_256 * (grid / 256) ** 2
    engines = runners()
    result = compare(
        f"one slice of {grid} x {grid} px through FCN-ResNet50",
        [Way(name, partial(runner.logits, inputs)) for name, runner in engines.items()],
        repeats=repeats,
        work=f"1 slice, batch 1, {gflop:.1f} GFLOP",
        limit=flop_limit(gflop * 1e9, fastest()),
    )
    publish(result, out, f"inference-{grid}")


if __name__ == "__main__":
    main()
