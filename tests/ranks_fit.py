"""What each rank of a test does: fit a small network on stored cases, then tell.

torchrun --nproc-per-node 2 ranks_fit.py STORE FOLDER EPOCHS
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from cases import small_network
from safetensors.torch import save_file
from torch import nn

from model.carbon import Footprint
from model.dataset import CaseStore, Fold
from model.engine import Engine
from model.parallel import Ranks
from model.progress import TrainConfig
from model.train import Bench, fit
from plugin.ranks import joined_ranks

FOLD = Fold(0, train=("a", "b"), validation=("c", "d", "e"))
CONFIG = TrainConfig(
    grid_px=32, batch=7, learning_rate=0.01, calibration_slices=4, deterministic=True
)
"""Eight slices an epoch: seven, which two ranks divide, and one, which each does."""


def own_device(rank: int) -> Footprint:
    """One kWh of a device that only this rank has, half of its time measured."""
    return Footprint(1.0, 0.475, 10.0 + rank, "test", 0.5, (f"gpu {rank}",), 0.475)


def main(store: Path, folder: Path, epochs: int, ranks: Ranks) -> None:
    torch.set_num_threads(1)
    network = small_network(seed=0 if ranks.leads else 99)
    bench = Bench(
        CaseStore(store),
        folder,
        Engine("cpu", "fp32"),
        footprint=lambda: own_device(ranks.rank),
        ranks=ranks,
        keep_every_s=0,
    )
    result = fit(network, FOLD, replace(CONFIG, epochs=epochs), bench)
    save(network, folder.with_name(f"{folder.name}-{ranks.rank}.safetensors"))
    assert len(result.history) == epochs
    in_parts = replace(CONFIG, epochs=1, accumulate=2)
    folder = folder.with_name(f"{folder.name}-parts")
    network = small_network(seed=0 if ranks.leads else 99)
    fit(network, FOLD, in_parts, replace(bench, folder=folder))
    save(network, folder.with_name(f"{folder.name}-{ranks.rank}.safetensors"))


def save(network: nn.Module, path: Path) -> None:
    weights = {k: v.contiguous() for k, v in network.state_dict().items()}
    save_file(weights, path)


if __name__ == "__main__":
    with joined_ranks(os.environ) as joined:
        me = Path(f"{sys.argv[2]}-{joined.rank}.pid")
        me.write_text(str(os.getpid()))
        main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), joined)
