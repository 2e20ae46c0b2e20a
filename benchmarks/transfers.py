"""How fast a scan comes from XNAT: as one zip, file by file, and as `brs` pulls it.

    python -m benchmarks.transfers --files 160 --kib 512

The server is the tests' stand-in, in a process of its own, once as XNAT compresses its
zips and once with zips that are only stored. A real server is another program: what
carries over is which way is taken, and that it is not the slow one.
"""

import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks.measure import Way, compare, copy_limit, publish
from benchmarks.options import count_option, out_option, repeats_option
from plugin.xnat.client import XnatClient
from plugin.xnat.download import Wanted, _pull_file, _pull_zip, local_name, pull
from plugin.xnat.listing import RemoteFile, scan_files
from plugin.xnat.target import XnatTarget
from plugin.xnat_archive import XnatArchive

TESTS = Path(__file__).parents[1] / "tests"
USER = "alice"


def serve(folder: Path, files: int, size: int, method: int, told: Connection) -> None:
    """Run the stand-in with one scan of noise until the other end is closed."""
    sys.path.insert(0, str(TESTS))
    from standin import zips
    from standin.server import StandIn

    zips.COMPRESSION = method
    rng = np.random.default_rng(0)
    pixels = rng.normal(400, 60, size // 2).astype(np.uint16).tobytes()
    image = bytes(128) + b"DICM" + pixels
    with StandIn.start(folder) as server:
        server.add_user(USER, f"{USER}-secret")
        server.add_project("BREAST", owners=(USER,))
        session = server.add_session("BREAST", subject="S", label="M")
        scan = {f"{number}.dcm": image for number in range(files)}
        server.add_scan(session, "5", xsi_type="xnat:mrScanData", files=scan, uid="1.2")
        told.send((server.url, session))
        told.recv()


@contextmanager
def server(
    folder: Path, files: int, size: int, method: int
) -> Iterator[tuple[XnatClient, list[RemoteFile]]]:
    """Yield a client of a server in another process, and the files of its scan."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(
        target=serve, args=(folder, files, size, method, there)
    )
    process.start()
    try:
        url, session = here.recv()
        archive = XnatArchive(XnatTarget(url, "BREAST", USER, f"{USER}-secret"))
        yield archive.client, list(scan_files(archive.client, session))
    finally:
        here.send(None)
        process.join()


def pulled(how: str, client: XnatClient, files: list[RemoteFile]) -> None:
    """Pull the scan once, into a folder that is gone afterwards."""
    with TemporaryDirectory() as place:
        wanted = [Wanted(file, Path(place) / local_name(file)) for file in files]
        if how == "files":
            for item in wanted:
                _pull_file(client, item)
        elif how == "zip":
            _pull_zip(client, wanted, files_bytes_per_s=0.0)
        else:
            pull(client, files, Path(place))
        if sum(item.path.is_file() for item in wanted) < len(files):
            raise RuntimeError(f"{how}: not all files came")


@click.command()
@count_option("--files", 160, "Files of the scan.")
@count_option("--kib", 512, "Size of a file.")
@repeats_option(3)
@out_option
def main(files: int, kib: int, repeats: int, out: Path) -> None:
    """Time the pulling of one scan, from a server that compresses and one that not."""
    size = kib << 10
    with TemporaryDirectory() as place:
        for name, method in (
            ("compressed", zipfile.ZIP_DEFLATED),
            ("stored", zipfile.ZIP_STORED),
        ):
            with server(Path(place) / name, files, size, method) as (client, listed):
                result = compare(
                    f"a scan from XNAT, whose zips are {name}",
                    [
                        Way(
                            "file by file, one at a time",
                            partial(pulled, "files", client, listed),
                        ),
                        Way("one zip", partial(pulled, "zip", client, listed)),
                        Way("brs", partial(pulled, "brs", client, listed)),
                    ],
                    repeats=repeats,
                    work=f"{files} files of {kib} KiB, verified and stored",
                    limit=copy_limit(files * size),
                )
            publish(result, out, f"transfer-{name}")


if __name__ == "__main__":
    main()
