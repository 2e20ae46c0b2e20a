"""Pack a checkpoint into the package as the default one, if its masks stay the same.

    python -m benchmarks.pack_weights CHECKPOINT.safetensors --cases 12

Phantoms are segmented with the float32 weights and with what the packed ones restore
to. Where the masks of any phantom agree less than ``MIN_DICE``, nothing is written.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray
from torch import nn

from model.atomic import write_atomically
from model.checkpoint import Checkpoint, read_checkpoint, write_packed
from model.engine import Engine
from model.inference import THRESHOLD, predict
from model.phantom import draw_patient, draw_site, make_case
from model.preprocess import to_stack

DEFAULT = Path(__file__).parents[1] / "model" / "weights" / "default.safetensors"
MIN_DICE = 0.99
"""Between the masks of float32 and of restored weights, of every phantom."""
Voxels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two networks' masks of one stack are."""

    dice: float
    voxels: int
    """Of the first network's mask."""


def agreement(
    first: nn.Module, second: nn.Module, voxels: Voxels, device: str = "cpu"
) -> Agreement:
    """Compare the masks that two networks make of a stack; both empty agree by 1."""
    engine = Engine(device, "fp32")
    masks = [predict(voxels, net, engine) >= THRESHOLD for net in (first, second)]
    total, common = sum(int(m.sum()) for m in masks), int((masks[0] & masks[1]).sum())
    return Agreement(2 * common / total if total else 1.0, int(masks[0].sum()))


def passes(found: Sequence[Agreement]) -> bool:
    """Tell whether the restored weights may stand for the float ones."""
    return any(a.voxels for a in found) and min(a.dice for a in found) >= MIN_DICE


def stack_of(seed: int, grid_px: int) -> Voxels:
    """Return the network's view of the phantom of a seed."""
    rng = np.random.default_rng(seed)
    site = draw_site(rng, slices=24, matrix_px=max(128, grid_px))
    case = make_case(draw_patient(rng), site, seed=seed)
    return to_stack(*case.phases[:2], grid_px=grid_px).voxels


def measure(
    checkpoint: Checkpoint, packed: Checkpoint, seeds: range, device: str = "cpu"
) -> list[Agreement]:
    """Compare both checkpoints on the phantoms of the seeds, and print each."""
    found = []
    for seed in seeds:
        voxels = stack_of(seed, checkpoint.manifest.grid_px)
        found.append(agreement(checkpoint.network, packed.network, voxels, device))
        print(f"phantom {seed}: Dice {found[-1].dice:.4f}, {found[-1].voxels} voxels")
    return found


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", default=DEFAULT, show_default=True, type=click.Path(path_type=Path)
)
@click.option("--cases", default=12, show_default=True, help="Phantoms to compare.")
@click.option("--seed", default=930000, show_default=True, help="Of the first one.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
def main(checkpoint: Path, out: Path, cases: int, seed: int, device: str) -> None:
    """Write CHECKPOINT packed, with its manifest; exit with 1 when the gate fails."""
    whole = read_checkpoint(checkpoint)
    with TemporaryDirectory() as folder:
        candidate = Path(folder) / "packed.safetensors"
        manifest = write_packed(whole.network, whole.manifest, candidate)
        packed = read_checkpoint(candidate)
        found = measure(whole, packed, range(seed, seed + cases), device)
        print(f"lowest Dice {min(a.dice for a in found):.4f}, needed {MIN_DICE}")
        if not passes(found):
            sys.exit("not packed: the masks differ too much, or all are empty")
        for suffix in (".safetensors", ".json"):
            data = candidate.with_suffix(suffix).read_bytes()
            write_atomically(out.with_suffix(suffix), data)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    print(f"weights {manifest.weights_sha256}, file {manifest.packed_sha256}")


if __name__ == "__main__":
    main()
