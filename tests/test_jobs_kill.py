"""A queue whose processes are killed anywhere loses nothing and finishes."""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from queue_case import STUDY, HandClock, images_in, queue_in, send

from plugin.jobs import Cause, Job, Policy, Queue, State, machine_clock

BUSY = Cause("pacs-busy", "", passing=True)
FIRST = {"a": b"1", "b": b"2"}
LATE = {"b": b"2", "c": b"3"}
OFTEN = Policy(
    attempts=200, crashes=200, first_wait_s=0.001, longest_wait_s=0.002, keep_done=1
)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill, unlike a power cut, spares it."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=shared) as name:
        yield Path(name)


def a_life(queue: Queue, root: Path) -> None:
    """Receive, run, receive more meanwhile, run again, retry, re-run, prune."""
    send(queue, root, FIRST)
    queue.enqueue(STUDY)
    job = queue.take("gpu-0")
    send(queue, root, LATE)
    queue.enqueue(STUDY)
    if job is not None:
        job.progress("segmented")
        job.done("publish")
    job = queue.take("gpu-0")
    if job is not None:
        job.retry(BUSY, wait_s=0)
    job = queue.take("gpu-0")
    if job is not None:
        job.park(BUSY)
    queue.rerun(STUDY)
    run_all(queue)
    send(queue, root, FIRST, "other-1")
    queue.enqueue("other-1")
    run_all(queue)
    queue.prune()


def run_all(queue: Queue) -> None:
    while (job := queue.take("gpu-0")) is not None:
        job.progress("segmented")
        job.done("publish")


def killed_at(number: int) -> Callable[[str], None]:
    steps = itertools.count(1)

    def between(_step: str) -> None:
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return between


def dies(root: Path, number: int) -> bool:
    """Live in a child that is killed at its n-th step; False where it has fewer."""
    child = os.fork()
    if child == 0:
        queue = queue_in(root, policy=OFTEN, between=killed_at(number))
        a_life(queue, root)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def finish(root: Path) -> Queue:
    """Do what a service does at its next start, with a sender that sends again."""
    clock = HandClock()
    queue = queue_in(root, clock, policy=OFTEN)
    queue.recover()
    send(queue, root, FIRST | LATE)
    for job in queue.jobs(State.INCOMING).jobs:
        queue.enqueue(job.job_id)
    for job in queue.jobs(State.FAILED).jobs:
        queue.rerun(job.job_id)
    clock.tick(10)
    run_all(queue)
    return queue


def test_a_kill_between_any_two_steps_is_recovered(memory: Path) -> None:
    for number in itertools.count(1):
        root = memory / f"{number:03d}"
        died = dies(root, number)
        queue = finish(root)
        listed = queue.find(STUDY)
        assert listed is not None, number
        assert listed.state is State.DONE, number
        assert images_in(listed.folder) == FIRST | LATE, number
        assert listed.journal is not None, number
        depth = queue.depth()
        assert (depth.incoming, depth.queued, depth.running) == (0, 0, 0), number
        assert depth.failed == 0, number
        queue.close()
        assert list((root / "work" / "running").iterdir()) == [], number
        assert list((root / "work" / ".trash").iterdir()) == [], number
        if not died:
            break
    assert number > 50


def test_a_recovery_that_is_killed_itself_is_recovered(memory: Path) -> None:
    for number in range(1, 30):
        root = memory / f"{number:03d}"
        assert dies(root, 20)
        child = os.fork()
        if child == 0:
            queue_in(root, policy=OFTEN, between=killed_at(number)).recover()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        listed = finish(root).find(STUDY)
        assert listed is not None
        assert listed.state is State.DONE
        assert images_in(listed.folder) == FIRST | LATE
        if not os.WIFSIGNALED(status):
            break
    assert number > 3


def work_until_told(root: Path, worker: str, seed: int) -> None:
    """Run jobs, send each content once by its name, fail now and then."""
    rng = Random(seed)
    queue = Queue(root / "work", machine_clock, OFTEN, rng=rng)
    queue.recover()
    while not (root / "stop").exists():
        job = queue.take(worker)
        if job is None:
            queue.recover()
            time.sleep(0.005)
        else:
            run_one(job, root / "sent", rng)


def run_one(job: Job, sent: Path, rng: Random) -> None:
    time.sleep(rng.uniform(0, 0.01))
    if rng.random() < 0.1:
        job.retry(BUSY)
        return
    contents = b"".join(data for _, data in sorted(images_in(job.folder).items()))
    (sent / f"{job.job_id}.{contents.decode()}").touch()
    job.progress("sent")
    job.done("publish")


@pytest.mark.parametrize("seed", [1])
def test_twenty_jobs_survive_ten_kills_of_their_workers(
    tmp_path: Path, seed: int
) -> None:
    rng = Random(seed)
    context = multiprocessing.get_context("fork")
    seeds = itertools.count(seed)
    (tmp_path / "sent").mkdir()
    queue = Queue(tmp_path / "work", machine_clock, OFTEN, rng=rng)

    def started(worker: str) -> multiprocessing.process.BaseProcess:
        arguments = (tmp_path, worker, next(seeds))
        process = context.Process(target=work_until_told, args=arguments)
        process.start()
        return process

    workers = {name: started(name) for name in ("gpu-0", "cpu-0")}
    names = [f"job-{i:02d}" for i in range(20)]
    for i, name in enumerate(names):
        send(queue, tmp_path, FIRST, name)
        queue.enqueue(name)
        if i % 2:
            victim = rng.choice(sorted(workers))
            os.kill(workers[victim].pid or 0, signal.SIGKILL)
            workers[victim].join()
            workers[victim] = started(victim)
        send(queue, tmp_path, LATE, names[rng.randrange(i + 1)])
    for name in names:
        send(queue, tmp_path, LATE, name)
        queue.enqueue(name)
    deadline = time.monotonic() + 20
    while queue.depth().done < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    (tmp_path / "stop").touch()
    for process in workers.values():
        process.join()
    depth = queue.depth()
    assert (depth.done, depth.failed, depth.queued, depth.running) == (20, 0, 0, 0)
    for job in queue.jobs(State.DONE).jobs:
        assert images_in(job.folder) == FIRST | LATE
        assert (tmp_path / "sent" / f"{job.job_id}.123").exists()
