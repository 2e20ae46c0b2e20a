"""One job from images to its destinations, and every way in which that can go wrong."""

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pydicom
import pytest
from arrivals import accept, series, service_config, study_key
from destinations import Peers, away, destination, refusing
from pydicom import Dataset
from queue_case import HandClock, queue_in, state_of, taken
from sessions import untrained_segmenter
from synthetic import Plan, enhanced, phases, post_plan, pre_plan

from model.engine import Engine
from model.errors import BrsError
from plugin import worker
from plugin.jobs import Job, Policy, State
from plugin.pipeline import Segmenter, SessionResult, segment_pair
from plugin.queue.disk import beside
from plugin.rules import DceRules
from plugin.series import DcePair
from plugin.service import handling, orders
from plugin.service.deliveries import Deliveries
from plugin.service.handling import Means, stored_mask
from plugin.service.orders import Orders
from plugin.service.states import BUSY, ENDING, IDLE, Said
from plugin.service.suitability import UNSUITABLE
from plugin.weights import packaged_weights
from plugin.worker import Worker, prepare

SMALL: dict[str, Any] = {"shape": (3, 16, 24)}
RULES = DceRules(minimum_slices=3)
DAY_S = 86400.0


def small(plan: Plan, **changes: Any) -> list[Dataset]:
    return series(replace(plan, **SMALL | changes))


PRE, POST = small(pre_plan()), small(post_plan())
STUDY = study_key(PRE)


class Bench:
    """A queue with one worker in this process, and what it segments by."""

    def __init__(self, root: Path, segmenter: Segmenter) -> None:
        self.clock = HandClock()
        policy = Policy(attempts=3, crashes=3, unsuitable=UNSUITABLE)
        self.queue = queue_in(root, self.clock, policy)
        self.peers = Peers()
        self.said: list[Said] = []
        means = Means(
            segmenters=(replace(segmenter, rules=RULES),),
            ae_title="BRS",
            destinations=(destination("pacs"), destination("research", "ROUTER")),
            deliver=self.peers,
        )
        self.orders = Orders(Pipe()[0])
        self.worker = Worker(
            "worker-1", self.queue, means, self.orders, self.said.append
        )

    def receive(self, datasets: Sequence[Dataset], source: str = "PACS") -> None:
        for dataset in datasets:
            accept(self.queue, dataset, source=source)
        self.queue.enqueue(study_key(datasets))

    def run(self) -> Job:
        """Run the next job, and return it as it was settled."""
        job = taken(self.queue, "worker-1")
        self.worker.attend(job)
        return job

    @property
    def last(self) -> tuple[str, str, str]:
        """Kind, cause and text of the last event."""
        found = self.queue.find(STUDY)
        assert found is not None
        assert found.journal is not None
        event = found.journal.events[-1]
        return event.kind.value, event.cause, event.text


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return untrained_segmenter()


@pytest.fixture
def bench(tmp_path: Path, segmenter: Segmenter) -> Bench:
    return Bench(tmp_path, segmenter)


@pytest.fixture
def inferences(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines by which pairs were really segmented."""
    engines: list[str] = []

    def counted(
        session_id: str, pair: DcePair, output: Path, segmenter: Segmenter, **more: Any
    ) -> SessionResult:
        engines.append(str(segmenter.engine))
        return segment_pair(session_id, pair, output, segmenter, **more)

    monkeypatch.setattr(handling, "segment_pair", counted)
    return engines


def failing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *errors: BaseException | None
) -> None:
    """Let the segmenting of one pair after the other fail so; None: it works."""
    rest = list(errors)

    def raises(*arguments: Any, **more: Any) -> SessionResult:
        error = rest.pop(0) if rest else None
        if error is not None:
            raise error
        return segment_pair(*arguments, **more)

    monkeypatch.setattr(handling, "segment_pair", raises)


def test_a_study_becomes_a_mask_at_its_destinations(bench: Bench) -> None:
    bench.receive([*PRE, *POST])
    job = bench.run()
    assert state_of(bench.queue, STUDY) is State.DONE
    result = json.loads((job.folder / "result" / "result.json").read_text())
    assert bench.last == ("done", "", result["verdict"])
    assert result["session_id"] == STUDY
    assert bench.peers.stored == [("pacs", result["sop_instance_uid"])]
    assert {path.name for path in (job.folder / "result").iterdir()} == {
        "result.json",
        "segmentation.dcm",
        "mask.nii.gz",
        "preview.png",
    }
    progress = json.loads((job.folder / "progress.json").read_text())
    assert (progress["stage"], progress["share"]) == ("send", 1.0)
    study = json.loads((job.folder / "study.json").read_text())
    assert (study["source_aes"], study["instances"]) == (["PACS"], 6)


def test_a_study_of_one_enhanced_instance_becomes_a_mask(bench: Bench) -> None:
    whole = enhanced([replace(plan, **SMALL) for plan in phases(2)])
    bench.receive([whole])
    job = bench.run()
    assert state_of(bench.queue, study_key([whole])) is State.DONE
    mask = pydicom.dcmread(job.folder / "result" / "segmentation.dcm")
    (series,) = mask.ReferencedSeriesSequence
    (source,) = series.ReferencedInstanceSequence
    assert source.ReferencedSOPInstanceUID == whole.SOPInstanceUID


def test_the_stages_are_told_in_their_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(
        handling,
        "ProgressFile",
        lambda _folder: lambda stage, _share: heard.append(stage),
    )
    bench.receive([*PRE, *POST])
    bench.run()
    assert list(dict.fromkeys(heard)) == [
        "find",
        "read",
        "infer",
        "judge",
        "write",
        "send",
    ]
    assert heard.count("infer") == 1 + 3


def test_a_destination_of_other_sources_gets_nothing(bench: Bench) -> None:
    bench.receive(PRE, source="ROUTER")
    bench.receive(POST, source="PACS")
    bench.run()
    assert [name for name, _ in bench.peers.stored] == ["pacs", "research"]


def test_what_was_segmented_is_not_segmented_again_for_a_retry(
    bench: Bench, inferences: list[str]
) -> None:
    bench.peers.failing["pacs"] = away()
    bench.receive([*PRE, *POST])
    bench.run()
    assert bench.last[:2] == ("retry", "unreachable")
    bench.clock.tick(100)
    bench.peers.failing.clear()
    job = bench.run()
    assert len(inferences) == 1
    assert len(bench.peers.stored) == 1
    known = Deliveries(job.folder).of("pacs", bench.peers.stored[0][1])
    assert known is not None
    assert known.attempts == 2


def test_a_destination_that_is_down_longer_than_all_retries_gets_it_later(
    bench: Bench,
) -> None:
    bench.peers.failing["pacs"] = away()
    bench.receive([*PRE, *POST])
    for _ in range(3):
        bench.run()
        bench.clock.tick(200)
    assert bench.last[:2] == ("gave-up", "unreachable")
    bench.peers.failing.clear()
    bench.clock.tick(3600)
    assert bench.queue.revive() == (STUDY,)
    bench.run()
    assert state_of(bench.queue, STUDY) is State.DONE
    assert len(bench.peers.stored) == 1


def test_a_refusal_parks_the_job_and_a_re_run_sends_the_stored_file(
    bench: Bench, inferences: list[str]
) -> None:
    bench.peers.failing["pacs"] = refusing()
    bench.receive([*PRE, *POST])
    bench.run()
    assert bench.last[:2] == ("parked", "refused")
    bench.peers.failing.clear()
    bench.queue.rerun(STUDY)
    bench.run()
    assert state_of(bench.queue, STUDY) is State.DONE
    assert (len(inferences), len(bench.peers.stored)) == (1, 1)


def test_a_late_series_that_changes_nothing_computes_and_sends_nothing(
    bench: Bench, inferences: list[str]
) -> None:
    bench.receive([*PRE, *POST])
    bench.run()
    bench.receive(small(post_plan(number=7, phase=2)))
    bench.run()
    assert state_of(bench.queue, STUDY) is State.DONE
    assert (len(inferences), len(bench.peers.asked)) == (1, 1)


def test_a_late_series_that_is_the_better_pair_gives_its_own_mask(
    bench: Bench, inferences: list[str]
) -> None:
    late = small(post_plan(number=7, phase=2))
    bench.receive([*PRE, *late])
    bench.run()
    bench.receive(POST)
    bench.run()
    assert len(inferences) == 2
    assert len({uid for _, uid in bench.peers.stored}) == 2


def test_a_mask_to_be_held_is_kept_and_not_sent(tmp_path: Path) -> None:
    bench = Bench(tmp_path, untrained_segmenter(says=False))
    bench.receive([*PRE, *POST])
    job = bench.run()
    assert bench.last == ("done", "", "hold")
    assert bench.peers.asked == []
    assert (job.folder / "result" / "mask.nii.gz").exists()


def test_a_study_without_a_pair_is_parked_with_what_is_missing(bench: Bench) -> None:
    bench.receive(PRE)
    bench.run()
    kind, cause, text = bench.last
    assert (kind, cause) == ("parked", "one-series")
    assert text.startswith("missing: only one time point")
    bench.receive(POST)
    bench.run()
    assert state_of(bench.queue, STUDY) is State.DONE


def test_late_images_of_a_study_whose_own_are_removed_leave_it_done(
    bench: Bench,
) -> None:
    bench.receive([*PRE, *POST])
    bench.run()
    bench.clock.tick(3 * DAY_S)
    bench.queue.prune()
    bench.receive(small(post_plan(number=7, phase=2)))
    bench.run()
    assert state_of(bench.queue, STUDY) is State.DONE
    assert len(bench.peers.stored) == 1


def test_a_study_that_is_sent_again_after_its_images_went_sends_no_second_mask(
    bench: Bench, inferences: list[str]
) -> None:
    bench.receive([*PRE, *POST])
    bench.run()
    bench.clock.tick(3 * DAY_S)
    bench.queue.prune()
    bench.receive([*PRE, *POST])
    bench.run()
    assert state_of(bench.queue, STUDY) is State.DONE
    assert (len(inferences), len(bench.peers.stored)) == (1, 1)


def test_a_result_that_is_not_whole_is_made_again(
    bench: Bench, inferences: list[str]
) -> None:
    bench.receive([*PRE, *POST])
    job = bench.run()
    mask = job.folder / "result" / "segmentation.dcm"
    whole = mask.read_bytes()
    mask.write_bytes(whole[:-1])
    assert stored_mask(job.folder / "result") is None
    bench.queue.rerun(STUDY)
    job = bench.run()
    assert len(inferences) == 2
    assert (job.folder / "result" / "segmentation.dcm").read_bytes() == whole


def test_a_gpu_without_room_leaves_the_study_to_the_cpu(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = bench.worker.means.segmenters[0]
    gpu = replace(cpu, engine=Engine("cuda", "bf16"))
    bench.worker.means = replace(bench.worker.means, segmenters=(gpu, cpu))
    failing(bench, monkeypatch, MemoryError("CUDA out of memory"))
    bench.receive([*PRE, *POST])
    job = bench.run()
    result = json.loads((job.folder / "result" / "result.json").read_text())
    assert json.loads(result["algorithm"]["configuration"])["engine"] == str(cpu.engine)
    # Images that change nothing find this mask again, and make none on the GPU.
    failing(bench, monkeypatch, AssertionError("segmented twice"))
    bench.receive(small(post_plan(number=7, phase=2)))
    bench.run()
    assert state_of(bench.queue, STUDY) is State.DONE


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("can't allocate memory"), ("retry", "out-of-memory")),
        (OSError(28, "No space left on device"), ("retry", "disk-full")),
        (MemoryError(), ("retry", "out-of-memory")),
        (ZeroDivisionError("Doe^Jane"), ("parked", "zero-division-error")),
    ],
)
def test_a_failed_run_ends_as_its_cause_says_and_the_worker_goes_on(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: tuple[str, str],
) -> None:
    failing(bench, monkeypatch, error)
    bench.receive([*PRE, *POST])
    assert bench.worker.attend(taken(bench.queue, "worker-1"))
    assert bench.last[:2] == expected
    assert "Doe" not in str(bench.last)


def test_a_broken_gpu_costs_a_retry_and_this_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(bench, monkeypatch, RuntimeError("CUDA error: device-side assert"))
    bench.receive([*PRE, *POST])
    bench.worker.run()
    assert bench.last[:2] == ("retry", "gpu-failed")
    assert bench.said == [Said(IDLE), Said(BUSY, STUDY), Said(ENDING)]


def test_a_job_is_settled_when_the_disk_has_room_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Orders, "wait", lambda _self, limit_s: waits.append(limit_s))
    bench.receive([*PRE, *POST])
    job = taken(bench.queue, "worker-1")

    def fill() -> None:
        beside(job.folder / "job.json").symlink_to("/dev/full")

    bench.peers.meanwhile = fill
    bench.worker.attend(job)
    assert waits == [5.0]
    assert state_of(bench.queue, STUDY) is State.DONE


def test_the_second_sigterm_hands_the_running_job_back_at_no_cost(
    bench: Bench,
) -> None:
    bench.receive([*PRE, *POST])

    def stop() -> None:
        bench.orders._told_to_stop()
        bench.orders._told_to_stop()

    bench.peers.meanwhile = stop
    bench.worker.run()
    assert bench.last == ("released", "", "the service stops")
    assert state_of(bench.queue, STUDY) is State.QUEUED
    assert bench.peers.stored == []


def test_the_first_sigterm_lets_the_running_job_end_and_takes_no_other(
    bench: Bench,
) -> None:
    other = small(pre_plan(study="other"))
    bench.receive([*PRE, *POST])
    bench.clock.tick(1)
    bench.receive(other)
    bench.peers.meanwhile = bench.orders._told_to_stop
    bench.worker.run()
    assert state_of(bench.queue, STUDY) is State.DONE
    assert state_of(bench.queue, study_key(other)) is State.QUEUED


def test_a_job_that_kills_its_workers_is_parked(bench: Bench) -> None:
    bench.receive([*PRE, *POST])
    for _ in range(3):
        bench.clock.tick(4000)
        taken(bench.queue, "worker-1")
        bench.queue.close()
        bench.queue.recover()
    assert bench.last[:2] == ("parked", "worker-ended")


def test_a_worker_that_lost_its_supervisor_ends_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = Pipe()
    told = Orders(theirs)
    done: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: done.append(number))
    monkeypatch.setattr(os, "_exit", done.append)
    monkeypatch.setattr(orders, "FAREWELL_S", 0.0)
    ours.send(orders.LOOK)
    ours.close()
    told._heed_line()
    assert told.is_stopping
    assert done == [signal.SIGTERM, 1]


def test_no_patient_is_in_any_file_beside_images_and_masks(bench: Bench) -> None:
    bench.peers.failing["pacs"] = refusing()
    bench.receive([*PRE, *POST])
    job = bench.run()
    for path in job.folder.rglob("*.json"):
        assert "PLANTED" not in path.read_text(), path.name


def test_weights_that_cannot_be_found_are_a_setting_to_mend(tmp_path: Path) -> None:
    config = service_config(tmp_path, checkpoint="nothing")
    with pytest.raises(BrsError, match="found no 'nothing'"):
        prepare(config)


def test_without_a_setting_the_packaged_weights_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path, *_more: Any) -> None:
        raise RuntimeError(str(path))

    monkeypatch.setattr(worker, "prove_apart", lambda *_: None)
    monkeypatch.setattr(worker, "open_checkpoint", opened)
    with pytest.raises(RuntimeError) as found:
        prepare(service_config(tmp_path))
    assert str(found.value) == str(packaged_weights())


def test_two_runs_of_a_worker_leave_no_owner_behind(bench: Bench) -> None:
    bench.receive([*PRE, *POST])
    bench.peers.meanwhile = bench.orders._told_to_stop
    bench.worker.run()
    assert list((bench.queue.root / "running").iterdir()) == []
