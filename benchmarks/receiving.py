"""How fast studies are received: ours beside DCMTK's storescp and Orthanc.

    python -m benchmarks.receiving --slices 80 --matrix 512

Every receiver is sent the same studies by DCMTK's storescu, all of them with
TCP_NODELAY=1: without it a Debian build of theirs waits 40 ms per instance, and the
comparison would flatter us. What one run sends, no receiver has seen before.
"""

import os
import re
import socket
import statistics
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final

import click
import pydicom
from pydicom.uid import generate_uid

from benchmarks.measure import Limit, Result, Timing, Way, compare, publish, timed
from benchmarks.options import count_option, out_option, repeats_option
from benchmarks.receivers import (
    AE_TITLE,
    Receiver,
    orthanc,
    ours,
    program,
    quick,
    storescp,
)
from benchmarks.study import write_study

Files = Sequence[Path]

LEVELS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
STAMPED: Final = """log4cplus.rootLogger = INFO, out
log4cplus.appender.out = log4cplus::ConsoleAppender
log4cplus.appender.out.layout = log4cplus::PatternLayout
log4cplus.appender.out.layout.ConversionPattern = %D{%s %Q} %m%n
"""
"""Has storescu say when, in seconds and milliseconds with decimals (log4cplus)."""
SENDING: Final = "Sending Store Request"
ANSWER: Final = "Received Store Response (Success)"
NOTES: Final = (
    "A run begins with the start of storescu and ends with its end",
    "storescp does not wait for the disk; Orthanc flushes each file"
    " (SyncStorageArea), brs each file and its name",
)


def copies(study: Files, folder: Path, count: int) -> list[list[Path]]:
    """Write a study under so many different UIDs; return the files of each."""
    made: list[list[Path]] = [[] for _ in range(count)]
    for at, path in enumerate(study):
        dataset = pydicom.dcmread(path)
        before = {level: str(dataset[level].value) for level in LEVELS}
        for number, files in enumerate(made):
            for level, uid in before.items():
                value = generate_uid(entropy_srcs=[uid, str(number)])
                setattr(dataset, level, value)
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            files.append(folder / f"{number}-{at:04}.dcm")
            dataset.save_as(files[-1], enforce_file_format=True)
    return made


def send(port: int, files: Files, associations: int = 1) -> None:
    """Send files over so many associations at once.

    Raises
    ------
    RuntimeError
        If a sender fails.
    """
    words = [program("storescu"), "-R", "-aec", AE_TITLE, "127.0.0.1", str(port)]
    senders = [
        subprocess.Popen([*words, *map(str, files[part::associations])], env=quick())
        for part in range(associations)
    ]
    codes = [sender.wait() for sender in senders]
    if any(codes):
        raise RuntimeError(f"storescu failed to send to port {port}")


def latencies(port: int, files: Files, folder: Path) -> tuple[float, ...]:
    """Return the seconds from each instance's request to its success."""
    config = folder / "stamped.cfg"
    config.write_text(STAMPED)
    words = [program("storescu"), "-R", "-lc", config, "-aec", AE_TITLE, "127.0.0.1"]
    run = subprocess.run(
        [str(word) for word in (*words, port, *files)],
        env=quick(),
        capture_output=True,
        text=True,
        check=True,
    )
    return answered_after(run.stdout + run.stderr)


def answered_after(said: str) -> tuple[float, ...]:
    """Return the seconds between requests and answers in a sender's stamped log."""
    began, ended = _moments(said, SENDING), _moments(said, ANSWER)
    return tuple(round(e - b, 6) for b, e in zip(began, ended, strict=True))


def _moments(said: str, event: str) -> list[float]:
    found = re.findall(rf"^(\d+) (\d+\.\d+) {re.escape(event)}", said, re.MULTILINE)
    return [int(whole_s) + float(rest_ms) / 1000 for whole_s, rest_ms in found]


def ways(
    receivers: Sequence[Receiver], studies: Sequence[Files], associations: int
) -> list[Way]:
    """Return one way per receiver; each run of it sends the next study."""
    return [_way(receiver, iter(studies), associations) for receiver in receivers]


def _way(receiver: Receiver, studies: Iterator[Files], associations: int) -> Way:
    def run() -> None:
        send(receiver.port, next(studies), associations)

    def peak() -> float | None:
        run()
        forks = receiver.name.startswith("DCMTK")
        return None if forks else receiver.peak_mib()

    return Way(receiver.name, run, peak)


def disk_limit(files: Files, folder: Path) -> Limit:
    """Return the time of writing and flushing each of the files, one by one."""
    data = [path.read_bytes() for path in files]
    best_s = min(timed(partial(_write, data, folder)) for _ in range(3))
    return Limit("writing and flushing each file", best_s)


def _write(data: Sequence[bytes], folder: Path) -> None:
    with TemporaryDirectory(dir=folder) as place:
        for number, each in enumerate(data):
            with (Path(place) / str(number)).open("wb") as file:
                file.write(each)
                file.flush()
                os.fsync(file.fileno())


def loopback_s(size: int) -> float:
    """Return the time in which so many bytes go through a loopback connection."""
    return min(timed(partial(_through, size)) for _ in range(3))


def _through(size: int, piece: int = 1 << 17) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = threading.Thread(target=_pour, args=(server.getsockname(), size))
        sender.start()
        line, _ = server.accept()
        with line:
            while line.recv(piece):
                pass
        sender.join()


def _pour(address: tuple[str, int], size: int) -> None:
    with socket.create_connection(address) as line:
        line.sendall(bytes(size))


def throughput(
    studies: Sequence[Files], folder: Path, associations: int, repeats: int
) -> Result:
    """Compare the receivers; the last one is ours."""
    size = sum(path.stat().st_size for path in studies[0])
    disk = disk_limit(studies[0], folder)
    loopback = f"Loopback alone takes {loopback_s(size):.3g} s for the same bytes"
    plural = "s at once" if associations > 1 else ""
    with ExitStack() as stack:
        return compare(
            f"receiving a study over {associations} association{plural}",
            ways(started(stack, folder), studies, associations),
            repeats=repeats,
            work=f"{len(studies[0])} MR instances, {size / 1e6:.0f} MB",
            limit=disk,
            notes=(*NOTES, loopback),
        )


def latency(
    receivers: Sequence[Receiver], study: Files, folder: Path, facts: Mapping[str, Any]
) -> Result:
    """Return how long each instance of a study waits for its success."""
    timings = [
        Timing(r.name, latencies(r.port, study, folder), r.peak_mib())
        for r in receivers
    ]
    slow = [
        f"{t.name} {statistics.quantiles(t.seconds, n=20)[-1]:.4f}" for t in timings
    ]
    return Result(
        question="success of one instance after its C-STORE request",
        work="one instance; those of a study follow each other on one association",
        timings=tuple(timings),
        limit=None,
        machine=facts,
        notes=(f"One of 20 took longer than, in s: {', '.join(slow)}",),
    )


def started(stack: ExitStack, folder: Path) -> list[Receiver]:
    """Start every receiver, each with an empty folder; ours come last."""
    starts = (storescp, orthanc, partial(ours, fsync=False), ours)
    return [
        stack.enter_context(start(Path(mkdtemp(dir=folder)) / "kept"))
        for start in starts
    ]


@click.command()
@count_option("--slices", 80, "Slices of a series.")
@count_option("--matrix", 512, "Rows and columns.")
@count_option("--associations", 4, "Senders at once in the second comparison.")
@repeats_option(5)
@out_option
def main(slices: int, matrix: int, associations: int, repeats: int, out: Path) -> None:
    """Time the receiving of studies."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        study = write_study(folder / "study", slices=slices, matrix_px=matrix)
        files = sorted(study.rglob("*.dcm"))
        (folder / "sent").mkdir()
        studies = copies(files, folder / "sent", repeats + 1)
        for number in (1, associations):
            result = throughput(studies, folder, number, repeats)
            publish(result, out, f"receiving-{number}")
        with ExitStack() as stack:
            receivers = started(stack, folder)
            result = latency(receivers, studies[0], folder, result.machine)
        publish(result, out, "receiving-latency")


if __name__ == "__main__":
    main()
