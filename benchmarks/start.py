"""How long a command takes before it does anything.

python -m benchmarks.start
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.measure import Way, compare, publish
from benchmarks.options import out_option, repeats_option
from benchmarks.programs import brs

ROOT = Path(__file__).parents[1]
EVERYTHING = "import torch, torchvision, matplotlib.figure, highdicom, nibabel"


def eager() -> None:
    """Import what the commands use between them, as a plain program would."""
    subprocess.run([sys.executable, "-c", EVERYTHING], check=True)


@click.command()
@repeats_option(5)
@out_option
def main(repeats: int, out: Path) -> None:
    """Time the start of three commands against importing everything first."""
    with TemporaryDirectory() as folder:
        lint = ("command-lint", ROOT / "command.json")
        doctor = ("doctor", "--archive", folder, "--work", folder)
        result = compare(
            "the start of a command",
            [
                Way("importing everything", eager, lambda: None),
                Way("brs doctor", lambda: brs(*doctor), lambda: brs(*doctor)),
                Way("brs command-lint", lambda: brs(*lint), lambda: brs(*lint)),
                Way("brs --help", lambda: brs("--help"), lambda: brs("--help")),
            ],
            repeats=repeats,
            work="1 process, from its start to its end",
        )
    publish(result, out, "start")


if __name__ == "__main__":
    main()
