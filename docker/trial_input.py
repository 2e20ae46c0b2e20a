"""Write what a trial of the image needs: one synthetic session, untrained weights.

Run in the image: ``python trial_input.py FOLDER`` writes ``FOLDER/session`` (DICOM)
and ``FOLDER/weights/checkpoint.safetensors``. The weights say breast everywhere, so
that every kind of result file is written.
"""

import sys
from pathlib import Path

from torch import nn

from model.checkpoint import Manifest, write_checkpoint
from model.network import new_network
from plugin.demo import DemoOptions, make_cohort

OPTIONS = DemoOptions(cases=1, slices=24, matrix_px=128)
GRID_PX = 64


def write(folder: Path) -> None:
    """Write both below ``folder``."""
    archive = make_cohort(folder / "cohort", OPTIONS).archive
    (archive.root / archive.sessions()[0]).rename(folder / "session")
    network = new_network(seed=0)
    nn.init.constant_(network.fcn.classifier[-1].bias, 9.0)
    manifest = Manifest(
        package_version="trial",
        grid_px=GRID_PX,
        fold=0,
        seed=0,
        training_cases=(),
        config={},
        metrics={},
        footprint={},
    )
    write_checkpoint(network, manifest, folder / "weights" / "checkpoint.safetensors")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
