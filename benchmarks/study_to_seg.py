"""From a study's folder to its DICOM-SEG, cold and warm, against plain fp32 PyTorch.

    python -m benchmarks.study_to_seg --grid 256 [--checkpoint FILE]

Cold is a new process per study, warm one process that keeps its network. Engines and
scopes are proven before, as `brs engine` does when a checkpoint is installed; a scope
that changes the masks of these weights runs as `whole`, and its line says so.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.measure import Way, compare, flop_limit, named, publish
from benchmarks.options import (
    count_option,
    out_option,
    repeats_option,
    weights_option,
)
from benchmarks.programs import brs
from benchmarks.study import write_study
from model.checkpoint import read_checkpoint, write_checkpoint
from model.refine import FLIP_STEP
from model.scope import SCOPES
from plugin.engines import Choice, Wish, open_checkpoint
from plugin.pipeline import Segmenter, segment_session
from plugin.proofs import Proofs
from plugin.scope_proof import proven_scope

GFLOP_AT_256 = 69.06
PLAIN = ("--engine", "torch", "--device", "cpu", "--precision", "fp32")
BEST = ("--engine", "auto")


def weights_for(grid: int, given: Path, folder: Path) -> Path:
    """Return the given weights as a checkpoint for this grid."""
    path = folder / "weights.safetensors"
    checkpoint = read_checkpoint(given)
    write_checkpoint(
        checkpoint.network, replace(checkpoint.manifest, grid_px=grid), path
    )
    return path


def cold_ways(study: Path, weights: Path, folder: Path) -> list[Way]:
    """Return one process per study: plain PyTorch, then ours with every scope."""
    common = (
        *("segment", "--input", study, "--checkpoint", weights),
        *("--output", folder / "out", "--cache", folder / "cache"),
    )
    proofs = Proofs(folder / "cache")
    best = open_checkpoint(weights, Wish(), proofs)
    ways: dict[str, tuple[object, ...]] = {"torch fp32": (*common, *PLAIN)}
    for scope in SCOPES:
        ways[shown(scope, best, proofs)] = (*common, *BEST, "--scope", scope)
    return [
        Way(name, partial(brs, *arguments), partial(brs, *arguments))
        for name, arguments in ways.items()
    ]


def warm_ways(study: Path, weights: Path, folder: Path) -> list[Way]:
    """Return one process that stays: the same ways, with the network in memory."""
    proofs, ways = Proofs(folder / "cache"), []
    plain = open_checkpoint(weights, Wish("torch", "cpu", "fp32"), proofs)
    best = open_checkpoint(weights, Wish(), proofs)
    plans = [("torch fp32", plain, "whole")]
    plans += [(shown(scope, best, proofs), best, scope) for scope in SCOPES]
    for name, choice, scope in plans:
        proven = proven_scope(scope, choice, proofs)
        segmenter = Segmenter(choice.checkpoint, choice.engine, scope=proven)
        ways.append(Way(name, partial(_segment, study, folder / "warm", segmenter)))
    return ways


def shown(scope: str, choice: Choice, proofs: Proofs) -> str:
    """Return a scope's name, and what runs in its place where it is not proven."""
    proven = proven_scope(scope, choice, proofs)
    more = "" if proven == scope else f" (not proven: {proven})"
    return f"{choice.engine}, scope {scope}{more}"


def _segment(study: Path, output: Path, segmenter: Segmenter) -> None:
    segment_session("bench", study, output, segmenter)


@click.command()
@weights_option
@count_option("--grid", 256, "Rows and columns of the network's input.")
@count_option("--slices", 160, "Slices of a series.")
@count_option("--matrix", 512, "Rows and columns of the study.")
@repeats_option(3)
@out_option
def main(
    checkpoint: Path,
    grid: int,
    slices: int,
    matrix: int,
    repeats: int,
    out: Path,
) -> None:
    """Time a study from its folder to its DICOM-SEG."""
    work = f"2 x {slices} files of {matrix} x {matrix} px, network grid {grid}"
    seen = slices + len(range(0, slices, FLIP_STEP))
    with TemporaryDirectory() as place:
        folder = Path(place)
        study = write_study(folder / "study", slices=slices, matrix_px=matrix)
        weights = weights_for(grid, checkpoint, folder)
        best = open_checkpoint(weights, Wish(), Proofs(folder / "cache"))
        flop = seen * GFLOP_AT_256 * (grid / 256) ** 2 * 1e9
        limit = flop_limit(flop, best.engine)
        for name, make in (("cold", cold_ways), ("warm", warm_ways)):
            result = compare(
                f"study in to DICOM-SEG out, {name}",
                make(study, weights, folder),
                repeats=repeats,
                work=work,
                limit=limit,
                notes=(
                    f"The limit is of {seen} whole slices: some are seen twice,"
                    " mirrored; scope breast crops them",
                ),
            )
            publish(result, out, named(f"study-{grid}-{name}", best.engine))


if __name__ == "__main__":
    main()
