r"""The study on a synthetic cohort, of any size, to be interrupted and gone on with.

    python -m benchmarks.experiment --cases 58 --output study-58 -- --plan
    python -m benchmarks.experiment --cases 58 --output study-58 -- \
        --strategies random,nearest-point,breast-size,hybrid --proportions 0.1,0.3 \
        --seeds 0,1,2 --fold 0 --grid 96 --epochs 12 --schedule cosine --mirror \
        --coarse-epochs 5 --calibration-slices 64

images a cohort as ``brs demo`` does, annotates all of it with its known masks, and runs
``brs experiment`` with whatever stands behind ``--``. The second command is at most 24
trainings, about five hours on two cores without AMX (a step of eight slices of 96 px
takes 2.4 s there). Without ``--fold``, ``--grid`` and the rest it is the paper's own
protocol, for a GPU. Killed anywhere, the same command goes on. ``--small`` trains
another network, of which the files do not tell: give it an output of its own.
"""

from pathlib import Path
from typing import Any

import click

from benchmarks.small_network import small
from plugin.cli import cli
from plugin.commands import experiment
from plugin.demo import DemoOptions, annotate, make_cohort

DATA = "synthetic, one site"


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--cases", default=58, show_default=True, help="Synthetic patients.")
@click.option("--seed", default=0, show_default=True, help="Of the cohort.")
@click.option("--slices", default=24, show_default=True, help="Of every patient.")
@click.option(
    "--matrix", "matrix_px", default=128, show_default=True, help="Rows and columns."
)
@click.option("--small", "is_small", is_flag=True, help="Not the paper's network.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(
    output: Path,
    arguments: tuple[str, ...],
    is_small: bool,  # noqa: FBT001
    **sizes: Any,
) -> None:
    """Image and annotate a cohort, then compare strategies on it."""
    options = DemoOptions(**sizes)
    cohort = make_cohort(output, options)
    annotate(cohort, cohort.archive.sessions())
    if is_small:
        experiment.__dict__["fcn"] = small
    where = ("--archive", str(cohort.archive.root), "--output", str(output / "study"))
    cli.main(["-v", "experiment", *where, "--data", DATA, *arguments])


if __name__ == "__main__":
    main()
