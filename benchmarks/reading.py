"""How fast two DICOM series become two volumes, against pydicom's pixel arrays.

python -m benchmarks.reading --slices 160 --matrix 512
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pydicom
from pydicom.uid import JPEG2000Lossless

from benchmarks.measure import Limit, Way, compare, publish, timed
from benchmarks.options import count_option, out_option, repeats_option
from benchmarks.study import write_study
from plugin.dce import choose
from plugin.reading import decoding
from plugin.volumes import load_pair


def plain(folder: Path) -> None:
    """Read as one does first: sort by position, stack the pixel arrays."""
    for series in sorted(folder.iterdir()):
        datasets = [pydicom.dcmread(path) for path in series.iterdir()]
        datasets.sort(key=lambda d: float(d.ImagePositionPatient[2]))
        np.stack([dataset.pixel_array for dataset in datasets])


def parsed_twice(folder: Path) -> None:
    """Choose the pair, then read every file of it anew, in one process."""
    pair = choose(folder)
    for phase in (pair.pre, pair.post):
        for frame in phase.frames:
            pydicom.dcmread(frame.path).pixel_array  # noqa: B018


def ours(folder: Path) -> Callable[[], object]:
    """Return a run of what the pipeline does: choose the pair, load it on one grid."""
    return lambda: load_pair(choose(folder))


def raw_limit(folder: Path) -> Limit:
    """Return the time in which the files' bytes are read, from the page cache."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    best_s = min(timed(lambda: [path.read_bytes() for path in paths]) for _ in range(3))
    return Limit("reading the files' bytes", best_s)


def compress(folder: Path) -> None:
    """Compress every file of a study as JPEG 2000, lossless."""
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.save_as(path)


@click.command()
@count_option("--slices", 160, "Slices of a series.")
@count_option("--matrix", 512, "Rows and columns.")
@repeats_option(5)
@out_option
def main(slices: int, matrix: int, repeats: int, out: Path) -> None:
    """Time the reading of a study, native and compressed."""
    work = f"2 x {slices} files of {matrix} x {matrix} px, page cache warm"
    with TemporaryDirectory() as place:
        folder = write_study(Path(place), slices=slices, matrix_px=matrix)
        result = compare(
            "study folder to two volumes",
            [
                Way("pydicom, sorted and stacked", lambda: plain(folder)),
                Way("pair chosen, then pydicom", lambda: parsed_twice(folder)),
                Way("brs: pair chosen and loaded", ours(folder)),
            ],
            repeats=repeats,
            work=work,
            limit=raw_limit(folder),
        )
        publish(result, out, "reading")
        compress(folder)
        result = compare(
            "JPEG 2000 study to two volumes",
            [
                Way("pydicom, sorted and stacked", lambda: plain(folder)),
                Way("pair chosen, then pydicom", lambda: parsed_twice(folder)),
                Way("brs: pair chosen and loaded", ours(folder)),
            ],
            repeats=max(1, repeats // 2),
            work=f"{work}, JPEG 2000 lossless, by {decoding._processes()} processes",
        )
        publish(result, out, "reading-jpeg2000")


if __name__ == "__main__":
    main()
