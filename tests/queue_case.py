"""A clock to turn by hand, and jobs with files in them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from plugin.jobs import Job, Moment, Policy, Queue, State

STUDY = "5f3a9c"


class HandClock:
    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.monotonic_s = 1000.0
        self.boot: str | None = "boot-1"

    def __call__(self) -> Moment:
        return Moment(self.at, self.monotonic_s, self.boot)

    def tick(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def reboot(self) -> None:
        self.boot, self.monotonic_s = "boot-2", 5.0


def queue_in(
    root: Path,
    clock: HandClock | None = None,
    policy: Policy | None = None,
    between: Callable[[str], None] = lambda _step: None,
) -> Queue:
    clock = clock or HandClock()
    return Queue(root / "work", clock, policy, rng=Random(7), between=between)


def spool(root: Path, data: bytes) -> Path:
    folder = root / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}-{len(data)}.part"
    path.write_bytes(data)
    return path


def send(
    queue: Queue, root: Path, files: dict[str, bytes], job_id: str = STUDY
) -> None:
    for name, data in files.items():
        queue.accept(job_id, spool(root, data), f"images/{name}")


def queued(queue: Queue, root: Path, job_id: str = STUDY, priority: int = 0) -> None:
    send(queue, root, {"a": b"1"}, job_id)
    queue.enqueue(job_id, priority=priority)


def taken(queue: Queue, worker: str = "gpu-0") -> Job:
    job = queue.take(worker)
    assert job is not None
    return job


def state_of(queue: Queue, job_id: str = STUDY) -> State:
    listed = queue.find(job_id)
    assert listed is not None
    return listed.state


def images_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


def kinds(queue: Queue, job_id: str = STUDY) -> list[str]:
    listed = queue.find(job_id)
    assert listed is not None
    assert listed.journal is not None
    return [event.kind.value for event in listed.journal.events]
