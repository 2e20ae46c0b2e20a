"""Whether a thread that prepares the rest while the network computes saves time.

    python -m benchmarks.overlap [--grid 256]

Prepared is what needs no mask: the headers that DICOM-SEG refers to, and the body's
boundary that a mask is judged by.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import click

from benchmarks.measure import Way, compare, publish
from benchmarks.options import count_option, out_option, repeats_option, weights_option
from benchmarks.study import write_study
from model.boundary import find_region
from model.inference import predict
from model.preprocess import SliceStack, to_stack
from plugin.dce import choose
from plugin.engines import Wish, open_checkpoint
from plugin.proofs import Proofs
from plugin.rules import DceRules
from plugin.seg_source import read_source, single_frame_headers
from plugin.series import DcePair
from plugin.session import load_session


def prepare(pair: DcePair, stack: SliceStack) -> None:
    """Do what the pipeline does after inference and could do before it."""
    single_frame_headers(read_source(pair.pre))
    find_region(stack.voxels[:, 0], stack.placement)


def ways_of(infer: Callable[[], object], prepare: Callable[[], object]) -> list[Way]:
    """Return both after each other, and at once."""

    def at_once() -> None:
        thread = Thread(target=prepare)
        thread.start()
        infer()
        thread.join()

    return [
        Way("one after the other", lambda: (infer(), prepare())),
        Way("of it: preparing", prepare),
        Way("at once", at_once),
    ]


@click.command()
@weights_option
@count_option("--grid", 256, "Rows and columns of the network's input.")
@count_option("--slices", 160, "Slices of a series.")
@count_option("--seen", 20, "Slices that the network sees.")
@repeats_option(5)
@out_option
def main(
    checkpoint: Path, grid: int, slices: int, seen: int, repeats: int, out: Path
) -> None:
    """Time inference and preparing, one after the other and at once."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        choice = open_checkpoint(checkpoint, Wish(device="cpu"), Proofs(folder))
        study = write_study(folder / "study", slices=slices, matrix_px=512)
        pair = choose(study, DceRules())
        session = load_session("bench", pair)
        stack = to_stack(session.pre, session.post, grid_px=grid)
        seen_voxels = stack.voxels[:seen]
        result = compare(
            "preparing what needs no mask, beside inference",
            ways_of(
                lambda: predict(seen_voxels, choice.checkpoint.network, choice.engine),
                lambda: prepare(pair, stack),
            ),
            repeats=repeats,
            work=f"{seen} slices of {grid} x {grid} px through {choice.engine}, headers"
            f" and boundary of {slices}",
            notes=("brs does one after the other: adr/0037-one-after-the-other.md",),
        )
    publish(result, out, f"overlap-{grid}")


if __name__ == "__main__":
    main()
