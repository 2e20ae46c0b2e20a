import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from queue_case import (
    STUDY,
    HandClock,
    images_in,
    kinds,
    queue_in,
    queued,
    send,
    spool,
    state_of,
    taken,
)

from plugin.errors import ConfigError, InputError
from plugin.jobs import (
    Arrival,
    Cause,
    JournalError,
    LastingError,
    PassingError,
    Policy,
    Queue,
    QueueError,
    State,
    StorageError,
    cause_of,
)
from plugin.queue.disk import beside

BUSY = Cause("pacs-busy", "the PACS refuses associations", passing=True)
DAY_S = 86400.0


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def queue(tmp_path: Path, clock: HandClock) -> Queue:
    return queue_in(tmp_path, clock)


def test_a_job_goes_from_incoming_to_done_with_its_files(
    queue: Queue, tmp_path: Path
) -> None:
    send(queue, tmp_path, {"a": b"1", "b": b"2"})
    assert state_of(queue) is State.INCOMING
    assert queue.enqueue(STUDY) is State.QUEUED
    job = taken(queue)
    assert images_in(job.folder) == {"a": b"1", "b": b"2"}
    assert state_of(queue) is State.RUNNING
    job.progress("segmented")
    job.done("publish")
    assert state_of(queue) is State.DONE
    assert images_in(job.folder) == {"a": b"1", "b": b"2"}
    assert kinds(queue) == ["received", "enqueued", "taken", "progress", "done"]
    assert queue.take("gpu-0") is None


def test_importing_the_queue_loads_neither_torch_nor_numpy_nor_dicom() -> None:
    heavy = "{'torch', 'numpy', 'pydicom', 'highdicom', 'pynetdicom'}"
    code = f"import sys, plugin.jobs; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"set()"


def test_several_workers_never_take_one_job_twice(queue: Queue, tmp_path: Path) -> None:
    names = [f"job-{i:02d}" for i in range(12)]
    for name in names:
        queued(queue, tmp_path, name)
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()

    def work(worker: str) -> None:
        mine = queue_in(tmp_path)
        while (job := mine.take(worker)) is not None:
            results.put(job.job_id)
            job.done("ok")

    workers = [context.Process(target=work, args=(f"cpu-{i}",)) for i in range(4)]
    for worker in workers:
        worker.start()
    took = [results.get(timeout=20) for _ in names]
    for worker in workers:
        worker.join()
    assert sorted(took) == names
    assert results.empty()
    assert queue.depth().done == 12


def test_higher_priority_is_taken_first_then_the_older(
    queue: Queue, tmp_path: Path, clock: HandClock
) -> None:
    for name, priority in (("old-1", 0), ("new-2", 0), ("urgent", 5)):
        queued(queue, tmp_path, name, priority)
        clock.tick(1)
    assert [taken(queue).job_id for _ in range(3)] == ["urgent", "old-1", "new-2"]


def test_a_passing_cause_waits_longer_each_time_then_gives_up(
    queue: Queue, tmp_path: Path, clock: HandClock
) -> None:
    queued(queue, tmp_path)
    waits = []
    for _ in range(queue.policy.attempts):
        taken(queue).retry(BUSY)
        listed = queue.find(STUDY)
        assert listed is not None
        waits.append(listed.wait_s)
        if listed.state is State.QUEUED:
            assert queue.take("gpu-0") is None
            clock.tick(listed.wait_s + 0.01)
    assert state_of(queue) is State.FAILED
    nominal = [30.0 * 2**n for n in range(7)]
    for wait, bound in zip(waits[:-1], nominal, strict=True):
        assert bound / 2 <= wait <= bound


def test_what_gave_up_is_revived_after_its_rest_and_what_is_parked_is_not(
    tmp_path: Path, clock: HandClock
) -> None:
    queue = queue_in(tmp_path, clock, Policy(attempts=1, revive_after_s=600))
    queued(queue, tmp_path, "gave-up")
    queued(queue, tmp_path, "parked")
    for _ in range(2):
        job = taken(queue)
        if job.job_id == "parked":
            job.park(Cause("no-pair", "one series only", passing=False))
        else:
            job.progress("segmented")
            job.retry(BUSY)
    clock.tick(599)
    assert queue.revive() == ()
    clock.tick(2)
    assert queue.revive() == ("gave-up",)
    job = taken(queue)
    assert job.journal.attempts == 1
    assert job.reached("segmented")
    assert queue.take("gpu-0") is None


def test_the_cause_of_an_error_decides_between_retry_and_parking(
    queue: Queue, tmp_path: Path, clock: HandClock
) -> None:
    passing = PassingError(
        "PACS", cause="unreachable", found="no answer", needed="one", mend="wait"
    )
    lasting = LastingError("s", cause="no-pair", found="x", needed="y", mend="z")
    refused = InputError("s", found="x", needed="y", mend="z")
    for error, expected in (
        (passing, State.QUEUED),
        (ConnectionResetError(), State.QUEUED),
        (MemoryError(), State.QUEUED),
        (OSError(28, "No space left on device"), State.QUEUED),
        (lasting, State.FAILED),
        (refused, State.FAILED),
        (ValueError("Doe^Jane"), State.FAILED),
    ):
        name = f"job-{cause_of(error).code}"
        queued(queue, tmp_path, name)
        taken(queue).fail(error)
        assert state_of(queue, name) is expected
    listed = queue.find("job-value-error")
    assert listed is not None
    assert "Doe" not in (listed.folder / "job.json").read_text()


@pytest.mark.parametrize("jump_s", [-10 * 365 * DAY_S, -3600.0, 3600.0])
def test_a_clock_jump_neither_stalls_nor_hastens_a_waiting_job(
    queue: Queue, tmp_path: Path, clock: HandClock, jump_s: float
) -> None:
    queued(queue, tmp_path)
    taken(queue).retry(BUSY, wait_s=60)
    clock.jump(jump_s)
    assert queue.take("gpu-0") is None
    clock.tick(61)
    assert queue.take("gpu-0") is not None


@pytest.mark.parametrize("jump_s", [-10 * 365 * DAY_S, -3600.0, 0.0])
def test_a_clock_that_is_wrong_after_a_reboot_holds_no_job_beyond_its_wait(
    queue: Queue, tmp_path: Path, clock: HandClock, jump_s: float
) -> None:
    queued(queue, tmp_path)
    taken(queue).retry(BUSY, wait_s=60)
    clock.reboot()
    clock.jump(jump_s)
    clock.tick(61)
    assert queue.take("gpu-0") is not None


def test_a_late_series_reopens_a_done_job_for_a_new_run(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    job = taken(queue)
    job.progress("sent")
    job.done("publish")
    send(queue, tmp_path, {"late": b"2"})
    assert queue.enqueue(STUDY) is State.QUEUED
    job = taken(queue)
    assert images_in(job.folder) == {"a": b"1", "late": b"2"}
    assert not job.reached("sent")
    assert list((job.folder / "late").iterdir()) == []
    job.done("publish")
    assert kinds(queue)[5:] == ["received", "enqueued", "late", "taken", "done"]


def test_a_series_that_comes_while_the_job_runs_gets_its_own_run_afterwards(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    job = taken(queue)
    send(queue, tmp_path, {"late": b"2"})
    assert queue.enqueue(STUDY) is State.RUNNING
    assert images_in(job.folder) == {"a": b"1"}
    job.done("publish")
    assert state_of(queue) is State.QUEUED
    assert images_in(taken(queue).folder) == {"a": b"1", "late": b"2"}


def test_a_study_that_is_sent_again_runs_no_second_time(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    taken(queue).done("publish")
    again = spool(tmp_path, b"1")
    assert queue.accept(STUDY, again, "images/a") is Arrival.DUPLICATE
    assert not again.exists()
    assert queue.enqueue(STUDY) is State.DONE


@pytest.mark.parametrize("settle", ["done", "park"])
def test_a_late_batch_of_copies_returns_the_job_to_where_it_was(
    queue: Queue, tmp_path: Path, settle: str
) -> None:
    send(queue, tmp_path, {"a": b"1"})
    queue.enqueue(STUDY)
    job = taken(queue)
    folder = queue.receive(STUDY)
    (folder / "images").mkdir()
    (folder / "images" / "a").write_bytes(b"1")
    queue.enqueue(STUDY)
    if settle == "done":
        job.done("publish")
    else:
        job.park(Cause("no-pair", "one series only", passing=False))
    assert state_of(queue) is State.QUEUED
    assert queue.take("gpu-0") is None
    assert state_of(queue) is (State.DONE if settle == "done" else State.FAILED)
    assert kinds(queue)[-1] == "duplicate"


def test_other_bytes_under_a_known_name_are_kept_aside_and_told(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    taken(queue).done("publish")
    send(queue, tmp_path, {"a": b"other", "b": b"2"})
    queue.enqueue(STUDY)
    job = taken(queue)
    assert images_in(job.folder) == {"a": b"1", "b": b"2"}
    (kept,) = (job.folder / "conflicts" / "images").iterdir()
    assert kept.read_bytes() == b"other"
    assert "other-bytes" in (job.folder / "job.json").read_text()


def test_the_first_of_two_conflicting_files_stays_while_receiving(
    queue: Queue, tmp_path: Path
) -> None:
    arrivals = [
        queue.accept(STUDY, spool(tmp_path, data), "images/a")
        for data in (b"1", b"1", b"other")
    ]
    assert arrivals == [Arrival.NEW, Arrival.DUPLICATE, Arrival.CONFLICT]
    assert images_in(queue.receive(STUDY)) == {"a": b"1"}


def sent_by(sender: bytes, dataset: bytes) -> bytes:
    """Return a DICOM file: preamble, mark, group length, meta information, dataset."""
    length = len(sender).to_bytes(4, "little")
    return bytes(128) + b"DICM" + bytes(8) + length + sender + dataset


def test_who_sent_an_instance_makes_no_other_bytes(
    queue: Queue, tmp_path: Path
) -> None:
    first, other = sent_by(b"PACS", b"pixels"), sent_by(b"ROUTER", b"pixels")
    changed = sent_by(b"PACS", b"pixelS")
    arrivals = [
        queue.accept(STUDY, spool(tmp_path, data), "images/a")
        for data in (first, other, changed)
    ]
    assert arrivals == [Arrival.NEW, Arrival.DUPLICATE, Arrival.CONFLICT]
    queue.enqueue(STUDY)
    taken(queue).done("publish")
    arrivals = [
        queue.accept(STUDY, spool(tmp_path, data), "images/a")
        for data in (other, changed)
    ]
    assert arrivals == [Arrival.DUPLICATE, Arrival.CONFLICT]


def test_a_meta_length_beyond_the_file_hides_no_difference(
    queue: Queue, tmp_path: Path
) -> None:
    lying = bytes(128) + b"DICM" + bytes(8) + b"\xff\xff\xff\x7f"
    arrivals = [
        queue.accept(STUDY, spool(tmp_path, lying + data), "images/a")
        for data in (b"1", b"2")
    ]
    assert arrivals == [Arrival.NEW, Arrival.CONFLICT]


def test_files_accepted_while_others_enqueue_are_never_lost(tmp_path: Path) -> None:
    queue = queue_in(tmp_path)
    spooled = [spool(tmp_path, f"{i}".encode()) for i in range(60)]

    def listen(mine: list[Path]) -> None:
        for path in mine:
            queue.accept(STUDY, path, f"images/{path.name}")
            queue.enqueue(STUDY)

    threads = [threading.Thread(target=listen, args=(spooled[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (job := queue.take("gpu-0")) is not None:
            job.done("publish")
    queue.enqueue(STUDY)
    while (job := queue.take("gpu-0")) is not None:
        job.done("publish")
    listed = queue.find(STUDY)
    assert listed is not None
    assert listed.state is State.DONE
    assert len(images_in(listed.folder)) == 60


@pytest.mark.parametrize("damage", [b"", b"{", b"[" * 100_000, b'{"schema": 1}', None])
def test_a_damaged_journal_parks_the_job_and_keeps_every_file(
    queue: Queue, tmp_path: Path, damage: bytes | None
) -> None:
    queued(queue, tmp_path)
    listed = queue.find(STUDY)
    assert listed is not None
    journal = listed.folder / "job.json"
    if damage is None:
        journal.unlink()
    else:
        journal.write_bytes(damage)
    (broken,) = queue.jobs(State.QUEUED).jobs
    assert broken.damage
    assert queue.take("gpu-0") is None
    parked = queue.find(STUDY)
    assert parked is not None
    assert parked.state is State.FAILED
    assert parked.journal is not None
    assert parked.journal.events[-1].cause == "journal-damaged"
    assert images_in(parked.folder) == {"a": b"1"}
    if damage is not None:
        assert (parked.folder / "job.json.damaged-1").read_bytes() == damage
    assert queue.rerun(STUDY) is State.QUEUED
    assert images_in(taken(queue).folder) == {"a": b"1"}


def test_a_damaged_journal_stops_a_rerun_with_its_reason(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    job = taken(queue)
    job.done("publish")
    (job.folder / "job.json").write_bytes(b"{")
    with pytest.raises(JournalError, match="re-run the job"):
        queue.rerun(STUDY)
    assert state_of(queue) is State.FAILED


def full(folder: Path) -> Path:
    """Make the next journal of this thread meet a full disk, the kernel's own."""
    link = beside(folder / "job.json")
    link.symlink_to("/dev/full")
    return link


def test_a_full_disk_while_enqueueing_leaves_the_job_incoming(
    queue: Queue, tmp_path: Path
) -> None:
    send(queue, tmp_path, {"a": b"1"})
    full(queue.receive(STUDY))
    with pytest.raises(StorageError, match="free disk space") as caught:
        queue.enqueue(STUDY)
    assert caught.value.cause == "disk-full"
    assert state_of(queue) is State.INCOMING
    assert queue.enqueue(STUDY) is State.QUEUED
    assert images_in(taken(queue).folder) == {"a": b"1"}


def test_a_full_disk_while_taking_leaves_the_job_queued(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    listed = queue.find(STUDY)
    assert listed is not None
    full(listed.folder)
    with pytest.raises(StorageError):
        queue.take("gpu-0")
    assert state_of(queue) is State.QUEUED
    assert taken(queue).journal.attempts == 1


@pytest.mark.parametrize("settle", ["done", "retry", "park", "release"])
def test_a_full_disk_while_settling_keeps_the_job_and_can_be_repeated(
    queue: Queue, tmp_path: Path, settle: str
) -> None:
    queued(queue, tmp_path)
    job = taken(queue)
    arguments = {"done": "publish", "retry": BUSY, "park": BUSY, "release": "stop"}
    full(job.folder)
    with pytest.raises(StorageError):
        getattr(job, settle)(arguments[settle])
    assert state_of(queue) is State.RUNNING
    getattr(job, settle)(arguments[settle])
    assert state_of(queue) is not State.RUNNING
    assert images_in(job.folder) == {"a": b"1"}


def test_a_full_disk_while_running_is_said_and_the_stage_is_written_later(
    queue: Queue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queued(queue, tmp_path)
    job = taken(queue)
    full(job.folder)
    with caplog.at_level(logging.WARNING):
        job.progress("segmented")
    assert "No space left" in caplog.text
    job.done("publish")
    assert kinds(queue)[-2:] == ["progress", "done"]


def test_a_full_disk_while_re_running_leaves_the_job_done(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    job = taken(queue)
    job.done("publish")
    full(job.folder)
    with pytest.raises(StorageError):
        queue.rerun(STUDY)
    assert state_of(queue) is State.DONE
    assert queue.rerun(STUDY) is State.QUEUED


def test_a_worker_that_is_told_to_stop_hands_its_job_back_at_no_cost(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    for _ in range(20):
        taken(queue).release("SIGTERM")
    assert taken(queue).journal.attempts == 1


def test_a_job_is_settled_once(queue: Queue, tmp_path: Path) -> None:
    queued(queue, tmp_path)
    job = taken(queue)
    job.done("publish")
    with pytest.raises(QueueError, match="is settled"):
        job.retry(BUSY)


def test_a_recovery_meanwhile_spares_a_job_that_is_being_opened(
    tmp_path: Path,
) -> None:
    other = queue_in(tmp_path)

    def meanwhile(step: str) -> None:
        if step == "after the journal":
            other.recover()

    queue = queue_in(tmp_path, between=meanwhile)
    send(queue, tmp_path, {"a": b"1"})
    assert kinds(queue) == ["received"]


def test_a_job_of_a_living_worker_is_not_recovered(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    job = taken(queue)
    assert queue_in(tmp_path).recover() == ()
    job.done("publish")
    assert state_of(queue) is State.DONE


def test_a_forked_child_does_not_keep_its_dead_parent_alive(
    queue: Queue, tmp_path: Path
) -> None:
    queued(queue, tmp_path)
    taken(queue)
    reader, writer = os.pipe()
    ready, forked = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.write(forked, b"1")
        os.read(reader, 1)
        os._exit(0)
    os.read(ready, 1)
    queue.close()
    assert queue_in(tmp_path).recover() == (STUDY,)
    for handle in (writer, reader, ready, forked):
        os.close(handle)
    os.waitpid(child, 0)


def test_a_job_that_ends_its_workers_is_parked_after_a_few(
    tmp_path: Path, clock: HandClock
) -> None:
    queued(queue_in(tmp_path, clock), tmp_path)
    for _ in range(Policy().crashes):
        queue = queue_in(tmp_path, clock)
        queue.recover()
        clock.tick(4000)
        taken(queue)
        queue.close()
    queue = queue_in(tmp_path, clock)
    assert queue.recover() == (STUDY,)
    listed = queue.find(STUDY)
    assert listed is not None
    assert listed.journal is not None
    assert listed.state is State.FAILED
    assert listed.journal.events[-1].cause == "worker-ended"


def test_an_operator_re_runs_and_parks(queue: Queue, tmp_path: Path) -> None:
    queued(queue, tmp_path)
    taken(queue).done("publish")
    assert queue.rerun(STUDY) is State.QUEUED
    taken(queue).retry(BUSY, wait_s=600)
    assert queue.take("gpu-0") is None
    assert queue.rerun(STUDY) is State.QUEUED
    job = taken(queue)
    assert queue.rerun(STUDY) is State.RUNNING
    job.retry(BUSY)
    cause = Cause("by-operator", "duplicate patient", passing=False)
    assert queue.park(STUDY, cause) is State.FAILED
    with pytest.raises(QueueError, match="no such job"):
        queue.rerun("unknown")


def test_an_incomplete_study_is_parked_and_reopened_by_what_was_missing(
    queue: Queue, tmp_path: Path
) -> None:
    send(queue, tmp_path, {"pre": b"1"})
    cause = Cause("incomplete", "no post-contrast series", passing=False)
    assert queue.park(STUDY, cause) is State.FAILED
    send(queue, tmp_path, {"post": b"2"})
    assert queue.enqueue(STUDY) is State.QUEUED
    assert images_in(taken(queue).folder) == {"pre": b"1", "post": b"2"}


def test_pruning_drops_images_then_jobs_and_never_unsent_work(
    tmp_path: Path, clock: HandClock
) -> None:
    queue = queue_in(tmp_path, clock, Policy(attempts=1))
    for name in ("sent", "parked", "gave-up"):
        queued(queue, tmp_path, name)
    for _ in range(3):
        job = taken(queue)
        if job.job_id == "sent":
            job.done("publish")
        elif job.job_id == "parked":
            job.park(Cause("no-pair", "", passing=False))
        else:
            job.retry(BUSY)
    queued(queue, tmp_path, "waiting")
    clock.tick(3 * DAY_S)
    assert queue.prune() == ()
    sent = queue.find("sent")
    assert sent is not None
    assert not (sent.folder / "images").exists()
    clock.tick(100 * DAY_S)
    assert queue.prune() == ("sent",)
    depth = queue.depth()
    assert (depth.queued, depth.done, depth.failed) == (1, 0, 2)
    assert list((tmp_path / "work" / ".trash").iterdir()) == []


def test_pruning_removes_what_was_parked_as_unsuitable_and_nothing_else_parked(
    tmp_path: Path, clock: HandClock
) -> None:
    policy = Policy(unsuitable=("one-series",), keep_parked_s=10 * DAY_S)
    queue = queue_in(tmp_path, clock, policy)
    for name, code in (("knee", "one-series"), ("refused", "pacs-refuses")):
        queued(queue, tmp_path, name)
        taken(queue).park(Cause(code, "", passing=False))
    clock.tick(9 * DAY_S)
    assert queue.prune() == ()
    clock.tick(2 * DAY_S)
    assert queue.prune() == ("knee",)
    assert state_of(queue, "refused") is State.FAILED


def test_pruning_keeps_the_latest_of_many(tmp_path: Path, clock: HandClock) -> None:
    queue = queue_in(tmp_path, clock, Policy(keep_done=2))
    for name in ("job-1", "job-2", "job-3"):
        queued(queue, tmp_path, name)
        taken(queue).done("publish")
        clock.tick(10)
    assert queue.prune() == ("job-1",)
    assert [job.job_id for job in queue.jobs(State.DONE).jobs] == ["job-3", "job-2"]


def test_a_batch_that_comes_just_before_its_job_is_removed_is_kept(
    tmp_path: Path, clock: HandClock
) -> None:
    other = queue_in(tmp_path, clock)
    queued(other, tmp_path)
    taken(other).done("publish")

    def come(step: str) -> None:
        if step == "in the trash":
            (gone,) = (tmp_path / "work" / ".trash").glob(f"*/{STUDY}")
            (gone / "late" / "0001" / "images").mkdir(parents=True)
            (gone / "late" / "0001" / "images" / "late").write_bytes(b"2")

    queue = queue_in(tmp_path, clock, between=come)
    queue.discard(STUDY)
    assert images_in(taken(queue).folder) == {"a": b"1", "late": b"2"}


def test_pages_are_counted_and_the_last_stands_for_those_beyond(
    queue: Queue, tmp_path: Path, clock: HandClock
) -> None:
    for i in range(5):
        queued(queue, tmp_path, f"job-{i}")
        clock.tick(1)
    page = queue.jobs(State.QUEUED, 2, size=2)
    assert [job.job_id for job in page.jobs] == ["job-2", "job-1"]
    assert (page.number, page.pages, page.total) == (2, 3, 5)
    assert queue.jobs(State.QUEUED, 99, size=2).number == 3
    assert queue.jobs(State.DONE).pages == 1


@pytest.mark.parametrize(
    "job_id", ["", "..", "a/b", "1.2.840.113619", "Doe^Jane", "A" * 9]
)
def test_ids_that_are_no_hash_are_refused(queue: Queue, job_id: str) -> None:
    with pytest.raises(QueueError, match="hash"):
        queue.receive(job_id)


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "job.json", "late/x", "a/../x"])
def test_files_stay_inside_their_job(queue: Queue, tmp_path: Path, name: str) -> None:
    with pytest.raises(QueueError, match="outside the job"):
        queue.accept(STUDY, spool(tmp_path, b"1"), name)


def test_a_file_that_was_never_written_is_refused(queue: Queue, tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="no such file"):
        queue.accept(STUDY, tmp_path / "nothing", "images/a")


def test_a_policy_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="attempts"):
        Policy(attempts=0)
