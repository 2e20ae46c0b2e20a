"""From a study's first image to its mask in the PACS, stage by stage, by `brs serve`.

    python -m benchmarks.service

The PACS is an Orthanc. The stages are read from the journal that the service keeps of
each study. The weights must draw a plausible mask: any other is held back, not sent.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import pydicom

from benchmarks.machine import load, machine
from benchmarks.measure import Result, Timing, publish
from benchmarks.options import (
    count_option,
    out_option,
    repeats_option,
    weights_option,
)
from benchmarks.receivers import AE_TITLE, Receiver, free_port, orthanc
from benchmarks.receiving import copies, send
from benchmarks.study import write_study
from benchmarks.study_to_seg import weights_for
from plugin.jobs import Event, Kind, Queue, State
from plugin.pipeline import RESULT_FILE
from plugin.receiving.identity import key
from plugin.service.handling import RESULT, SEGMENTED
from plugin.service.outbox import SENDING

SETTLE_S: Final = 1.0
PATIENCE_S: Final = 600.0
POLL_S: Final = 0.05
SETTINGS: Final = """work = "{work}"
checkpoint = "{checkpoint}"
[listen]
ae_title = "{title}"
port = {port}
any_caller = true
min_free_bytes = 0
[study]
settle_s = {settle_s}
[[destinations]]
name = "pacs"
ae_title = "{title}"
host = "127.0.0.1"
port = {pacs}
"""
WHOLE: Final = "first image sent to mask confirmed"


@dataclass(frozen=True, slots=True)
class Service:
    """A running `brs serve` with its queue."""

    queue: Queue
    port: int

    def pass_through(self, files: Sequence[Path]) -> dict[str, float]:
        """Send a study, wait for its mask at the PACS; return seconds by stage."""
        header = pydicom.dcmread(files[0], specific_tags=["StudyInstanceUID"])
        job_id = key(str(header.StudyInstanceUID))
        began = datetime.now(UTC)
        send(self.port, files)
        sent = datetime.now(UTC)
        events = self._events_of(job_id)
        found = self.queue.find(job_id)
        if found is None:
            raise RuntimeError("the job is gone")
        laps = json.loads((found.folder / RESULT / RESULT_FILE).read_bytes())
        return stages(began, sent, events, laps["timings_s"])

    def _events_of(self, job_id: str) -> tuple[Event, ...]:
        """Return a done job's journal."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            job = self.queue.find(job_id)
            if job is not None and job.state is State.DONE and job.journal is not None:
                return job.journal.events
            if job is not None and job.state is State.FAILED:
                raise RuntimeError(f"the study was parked: {job.journal}")
            time.sleep(POLL_S)
        raise RuntimeError(f"no mask after {PATIENCE_S:g} s")


def stages(
    began: datetime,
    sent: datetime,
    events: Sequence[Event],
    laps: Mapping[str, float],
) -> dict[str, float]:
    """Return the seconds of the whole and of its stages, in their order."""
    at = {(e.kind, e.cause): e.moment.at for e in events}
    enqueued, taken = at[Kind.ENQUEUED, ""], at[Kind.TAKEN, ""]
    segmented = at[Kind.PROGRESS, SEGMENTED]
    sending, done = at[Kind.PROGRESS, SENDING], at[Kind.DONE, ""]

    def between(start: datetime, end: datetime) -> float:
        return (end - start).total_seconds()

    computed = {f"compute: {name}": seconds for name, seconds in laps.items()}
    others_s = between(taken, segmented) - sum(laps.values())
    return {
        WHOLE: between(began, done),
        "receive": between(began, sent),
        f"settle ({SETTLE_S:g} s set)": between(sent, enqueued),
        "wait in the queue": between(enqueued, taken),
        "compute: find the pair, and the rest": others_s,
        **computed,
        "record": between(segmented, sending),
        "store at the PACS and find it there": between(sending, done),
    }


@contextmanager
def serving(folder: Path, checkpoint: Path, pacs: Receiver) -> Iterator[Service]:
    """Yield a service that is ready."""
    work, port, config = folder / "work", free_port(), folder / "brs.toml"
    config.write_text(
        SETTINGS.format(
            work=work,
            checkpoint=checkpoint,
            title=AE_TITLE,
            port=port,
            settle_s=SETTLE_S,
            pacs=pacs.port,
        )
    )
    log = folder / "log"
    words = [sys.executable, "-m", "plugin.cli", "serve", "--config", str(config)]
    with log.open("wb") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said)
        try:
            _await_ready(log, process)
            yield Service(Queue(work), port)
        finally:
            process.terminate()
            process.wait()


def _await_ready(log: Path, process: "subprocess.Popen[bytes]") -> None:
    end_s = time.monotonic() + PATIENCE_S
    while "ready: " not in log.read_text():
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"the service did not start: {log.read_text()}")
        time.sleep(POLL_S)


@click.command()
@weights_option
@count_option("--grid", 128, "Rows and columns of the network's input.")
@count_option("--slices", 80, "Slices of a series.")
@count_option("--matrix", 512, "Rows and columns of the study.")
@repeats_option(5)
@out_option
def main(
    checkpoint: Path,
    grid: int,
    slices: int,
    matrix: int,
    repeats: int,
    out: Path,
) -> None:
    """Time studies on their way through the service."""
    before = load()
    with TemporaryDirectory() as place:
        folder = Path(place)
        study = write_study(folder / "study", slices=slices, matrix_px=matrix)
        (folder / "sent").mkdir()
        files = sorted(study.rglob("*.dcm"))
        studies = copies(files, folder / "sent", repeats + 1)
        weights = weights_for(grid, checkpoint, folder)
        with (
            orthanc(folder / "pacs") as pacs,
            serving(folder, weights, pacs) as service,
        ):
            found = [service.pass_through(each) for each in studies][1:]
    timings = [
        Timing(name, tuple(times[name] for times in found), None) for name in found[0]
    ]
    result = Result(
        question="study in to DICOM-SEG in the PACS, by stage of `brs serve`",
        work=f"2 x {slices} files of {matrix} x {matrix} px, network grid {grid}",
        timings=tuple(timings),
        limit=None,
        machine=machine(before),
        notes=("One study after the other, after one that is not counted",),
        are_parts=True,
    )
    publish(result, out, f"service-{grid}")


if __name__ == "__main__":
    main()
