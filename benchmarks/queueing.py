"""What the durable queue costs a study, beside the same flushes made bare.

python -m benchmarks.queueing
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

import click

from benchmarks.measure import Way, compare, publish
from benchmarks.options import count_option, out_option, repeats_option
from plugin.jobs import Queue
from plugin.queue.disk import sync, write

JOURNAL: Final = b"0" * 1024
LASTING: Final = (True, True, False, False, False, True)
"""Received, enqueued, taken, two stages, done: is the journal's name flushed too?"""
MOVES: Final = (1, 2, 0, 2)
"""Opened, queued, running, done: how many folders are flushed."""


def through(queue: Queue, names: Iterator[str], studies: int) -> None:
    """Bring studies without images from their arrival to their end."""
    for _ in range(studies):
        name = next(names)
        queue.receive(name)
        queue.enqueue(name)
        job = queue.take("worker")
        if job is None or job.job_id != name:
            raise RuntimeError("the queue did not hand out the job")
        for stage in ("segmented", "sending"):
            job.progress(stage)
        job.done("publish")


def unflushed(queue: Queue, names: Iterator[str], studies: int) -> None:
    """Do the same and wait for no disk."""
    with patch("os.fsync"):
        through(queue, names, studies)


def bare(folder: Path, names: Iterator[str], studies: int) -> None:
    """Write, rename and flush as often as the queue does."""
    places = [folder / str(number) for number in range(2)]
    for place in places:
        place.mkdir(exist_ok=True)
    for _ in range(studies):
        _bare(places, next(names))


def _bare(places: Sequence[Path], name: str) -> None:
    job = places[0] / name
    job.mkdir()
    for lasting in LASTING:
        write(job / "job.json", JOURNAL, lasting=lasting)
    for number, flushes in enumerate(MOVES):
        job = job.rename(places[(number + 1) % 2] / job.name)
        for place in places[:flushes]:
            sync(place)


@click.command()
@count_option("--studies", 20, "Studies of one run.")
@repeats_option(7)
@out_option
def main(studies: int, repeats: int, out: Path) -> None:
    """Time the queue without any work in it."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        names = (f"study-{number:06}" for number in count())
        queue = Queue(folder / "work")
        result = compare(
            "the queue's cost",
            [
                Way("the same flushes, bare", partial(bare, folder, names, studies)),
                Way("brs, nothing flushed", partial(unflushed, queue, names, studies)),
                Way("brs", partial(through, queue, names, studies)),
            ],
            repeats=repeats,
            work=f"{studies} studies from arrival to end, without images and work",
        )
    each = ", ".join(
        f"{t.name} {t.median_s / studies * 1000:.1f}" for t in result.timings
    )
    flushes = len(LASTING) + sum(LASTING) + sum(MOVES)
    notes = (f"ms per study: {each}", f"{flushes} flushes per study")
    publish(replace(result, notes=notes), out, "queueing")


if __name__ == "__main__":
    main()
