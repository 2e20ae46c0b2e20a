"""One training step, and what feeding it costs, against plain fp32 PyTorch.

python -m benchmarks.training --grid 256 --batch 8
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import nibabel as nib
import numpy as np
import torch
from torch.optim import RAdam

from benchmarks.measure import (
    Result,
    Way,
    compare,
    copy_limit,
    flop_limit,
    named,
    publish,
    rates,
    tf32_notes,
    timed,
)
from benchmarks.options import (
    count_option,
    device_option,
    out_option,
    repeats_option,
)
from model.batches import Batch, Resident
from model.dataset import CaseInfo, CaseStore
from model.engine import Engine, choose_engine
from model.loss import dice_loss
from model.network import new_network
from model.preprocess import network_input
from model.step import new_learner

GFLOP_PER_SLICE_AT_256 = 207.0
"""Forward and backward."""


def training_flop(slices: int, grid: int) -> float:
    """Return the operations, forward and backward, of so many slices."""
    return slices * GFLOP_PER_SLICE_AT_256 * (grid / 256) ** 2 * 1e9


def plain_step(
    engine: Engine, batch: Batch, *, channels_last: bool, compiled: bool = False
) -> Callable[[], object]:
    """Return a run of one step as one writes it first.

    ``compiled`` is the network by torch.compile, which `model.train` does not use.
    """
    network = new_network(seed=0).train().to(engine.device)
    optimizer = RAdam(network.parameters(), lr=1e-3)
    inputs, masks = _there(engine, batch)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last)
    called = torch.compile(network) if compiled else network

    def run() -> None:
        with engine.autocast():
            logits = called(inputs)
        loss = dice_loss(logits.float(), masks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _wait(engine)

    return run


def our_step(engine: Engine, batch: Batch) -> Callable[[], object]:
    """Return a run of one step as `model.train` takes it, after its first."""
    learner = new_learner(new_network(seed=0).train(), engine, learning_rate=1e-3)
    inputs, masks = _there(engine, batch)
    inputs = inputs.to(memory_format=torch.channels_last)
    learner.step(inputs, masks)

    def run() -> None:
        learner.step(inputs, masks)
        _wait(engine)

    return run


def _there(engine: Engine, batch: Batch) -> Batch:
    return batch[0].to(engine.device), batch[1].to(engine.device)


def _wait(engine: Engine) -> None:
    if engine.on_gpu:
        torch.cuda.synchronize()


def from_gzip(folder: Path, order: list[int]) -> np.ndarray:
    """Read one slice index at a time from .nii.gz, as a plain dataset class does."""
    paths = [folder / f"{name}.nii.gz" for name in ("pre", "post")]
    phases = [nib.Nifti1Image.from_filename(path) for path in paths]
    return np.stack([[np.asarray(p.dataobj[:, :, i]) for p in phases] for i in order])


def from_store(store: CaseStore, order: list[int]) -> np.ndarray:
    """Read the same slices from the memory-mapped stack."""
    stack = store.stack("a")
    return network_input(np.stack([stack[i] for i in order]))


def from_gpu(feed: Resident, order: list[int]) -> None:
    """Gather the same slices, and their masks, from the GPU's own memory."""
    feed.batch([("a", index) for index in order], [False] * len(order))
    torch.cuda.synchronize()


def fill(folder: Path, slices: int, grid: int) -> CaseStore:
    """Write one case as the store keeps it and as .nii.gz."""
    rng = np.random.default_rng(0)
    voxels = rng.gamma(2, 0.2, (slices, 2, grid, grid)).astype(np.float32)
    info = CaseInfo("a", "p", "s", "m", "human", slices, grid, 1.4, 2.0)
    store = CaseStore(folder / "store")
    store.put(info, voxels, voxels[:, 0] > 0.5)
    for channel, name in enumerate(("pre", "post")):
        image = nib.Nifti1Image(  # type: ignore[no-untyped-call]
            voxels[:, channel].transpose(2, 1, 0), np.eye(4)
        )
        nib.save(image, folder / f"{name}.nii.gz")
    return store


@click.command()
@count_option("--grid", 256, "Rows and columns of a slice.")
@count_option("--batch", 8, "Slices of a step.")
@click.option(
    "--compiled", is_flag=True, help="Also torch.compile; its first step takes minutes."
)
@repeats_option(3)
@device_option
@out_option
def main(
    grid: int,
    batch: int,
    compiled: bool,  # noqa: FBT001
    repeats: int,
    device: str,
    out: Path,
) -> None:
    """Time a step and the feeding of a batch."""
    best = choose_engine(device=device, training=True)
    stepping = compare_steps(best, grid, batch, compiled=compiled, repeats=repeats)
    publish(stepping, out, named(f"training-step-{grid}", best))
    step_s = stepping.timings[-1].median_s
    feeding = compare_feeds(best, grid, batch, step_s=step_s, repeats=repeats)
    publish(feeding, out, named(f"training-feed-{grid}", best))


def compare_steps(
    best: Engine, grid: int, batch: int, *, compiled: bool, repeats: int
) -> Result:
    """Time a step on a device, ``best`` being what brs trains with there."""
    torch.manual_seed(0)
    inputs = torch.rand(batch, 2, grid, grid)
    given = inputs, (torch.rand(batch, 1, grid, grid) > 0.7).float()
    plain = Engine(best.device, "fp32")
    ways = [
        Way("fp32, as it comes", plain_step(plain, given, channels_last=False)),
        Way("fp32, channels last", plain_step(plain, given, channels_last=True)),
    ]
    if best.on_gpu:
        run = plain_step(best, given, channels_last=True)
        ways.append(Way("bf16, channels last", run))
    if compiled:
        run = plain_step(best, given, channels_last=True, compiled=True)
        ways.append(Way(f"torch.compile ({best}), after its first step", run))
    ways.append(Way(f"brs ({best})", our_step(best, given)))
    flop = training_flop(batch, grid)
    result = compare(
        "one training step",
        ways,
        repeats=repeats,
        work=f"batch {batch} of {grid} x {grid} px, {flop / 1e9:.0f} GFLOP",
        limit=flop_limit(flop, best),
        notes=tf32_notes(best),
    )
    return replace(result, columns={"slices/s": rates(result.timings, batch)})


def compare_feeds(
    best: Engine, grid: int, batch: int, *, step_s: float, repeats: int
) -> Result:
    """Time the feeding of a batch, also from a GPU's own memory where there is one."""
    with TemporaryDirectory() as place:
        folder, slices = Path(place), 4 * batch
        store = fill(folder, slices, grid)
        order = list(np.random.default_rng(1).permutation(slices)[:batch])
        ways = [
            Way(".nii.gz, slice by slice", lambda: from_gzip(folder, order)),
            Way("brs: memory-mapped stack", lambda: from_store(store, order)),
        ]
        on_cpu = best.device == "cpu"
        if not on_cpu:
            there = Resident(store, ["a"], best)
            ways.append(Way("brs: cases on the GPU", lambda: from_gpu(there, order)))
        return compare(
            "feeding one batch",
            ways,
            repeats=repeats,
            work=f"{batch} slices of {grid} x {grid} px, 2 channels, page cache warm",
            limit=copy_limit(batch * 2 * grid * grid * 2) if on_cpu else None,
            notes=(_share(ways[-1], step_s),),
        )


def _share(feed: Way, step_s: float) -> str:
    feed.run()
    feed_s = min(timed(feed.run) for _ in range(3))
    return f"feeding is {feed_s / step_s:.1%} of the step above"


if __name__ == "__main__":
    main()
