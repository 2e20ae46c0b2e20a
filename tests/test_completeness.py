"""When a study goes to the workers, and when it is parked with what is missing."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from arrivals import accept, pair, receipt, series, service_config, study_key
from pydicom import Dataset
from queue_case import taken
from synthetic import post_plan, pre_plan

from plugin.jobs import Queue, State
from plugin.queue.journal import Event
from plugin.reading import headers
from plugin.receiving.landing import IMAGES
from plugin.service import completeness
from plugin.service.completeness import Arrivals
from plugin.service.study import read_study

SETTLE_S, QUIET_S = 10, 100


class Desk:
    """A queue with its arrivals, and a clock to turn by hand."""

    def __init__(self, work: Path) -> None:
        self.now_s = 1000.0
        self.queue = Queue(work)
        self.handed_on: list[str] = []
        self.config = service_config(work)
        self.arrivals = self.started()

    def started(self) -> Arrivals:
        """Return arrivals that know nothing of what came before."""
        return Arrivals(
            self.queue,
            self.config,
            ready=self.handed_on.append,
            clock=lambda: self.now_s,
        )

    def send(
        self, datasets: Sequence[Dataset], association: str = "one", *, end: bool = True
    ) -> None:
        for dataset in datasets:
            accept(self.queue, dataset)
            self.arrivals.received(receipt(dataset, association=association))
        if end:
            self.arrivals.released(association)

    def after(self, seconds: float) -> None:
        self.now_s += seconds
        self.arrivals.sweep()

    def state(self, job_id: str) -> State:
        found = self.queue.find(job_id)
        assert found is not None
        return found.state

    def last(self, job_id: str) -> Event:
        found = self.queue.find(job_id)
        assert found is not None
        assert found.journal is not None
        return found.journal.events[-1]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "work")


def test_a_pair_that_stopped_growing_goes_to_the_workers(desk: Desk) -> None:
    pre, post = pair()
    desk.send([*pre, *post])
    desk.after(SETTLE_S - 1)
    assert desk.state(study_key(pre)) is State.INCOMING
    desk.after(1)
    assert desk.state(study_key(pre)) is State.QUEUED
    assert desk.handed_on == [study_key(pre)]


def test_a_study_that_still_grows_is_waited_for(desk: Desk) -> None:
    pre, post = pair()
    desk.send([*pre, *post])
    later = series(post_plan(number=7, phase=2))
    for dataset in later:
        desk.after(SETTLE_S - 1)
        desk.send([dataset], "two")
    assert desk.state(study_key(pre)) is State.INCOMING


def test_a_sender_that_broke_off_is_given_the_quiet_time(desk: Desk) -> None:
    pre, post = pair()
    desk.send([*pre, *post], end=False)
    desk.after(QUIET_S - 1)
    assert desk.state(study_key(pre)) is State.INCOMING
    desk.after(1)
    assert desk.state(study_key(pre)) is State.QUEUED


def test_two_half_sent_series_of_equal_length_are_not_taken_for_a_pair(
    desk: Desk,
) -> None:
    pre, post = pair()
    interleaved = [d for both in zip(pre, post, strict=True) for d in both]
    desk.send(interleaved[:22], "one", end=False)
    desk.after(SETTLE_S + 1)
    assert desk.state(study_key(pre)) is State.INCOMING
    desk.send(interleaved, "two")
    desk.after(SETTLE_S + 1)
    assert desk.state(study_key(pre)) is State.INCOMING
    desk.after(QUIET_S)
    images = taken(desk.queue).folder / IMAGES
    assert len(list(images.iterdir())) == 12 + 12


def test_after_a_restart_nobody_knows_who_broke_off(desk: Desk) -> None:
    pre, post = pair()
    desk.send([*pre, *post])
    desk.arrivals = desk.started()
    desk.after(0)
    desk.after(QUIET_S - 1)
    assert desk.state(study_key(pre)) is State.INCOMING
    desk.after(1)
    assert desk.state(study_key(pre)) is State.QUEUED


def test_a_study_without_its_post_contrast_series_is_parked_with_what_is_missing(
    desk: Desk,
) -> None:
    pre, _ = pair()
    desk.send(pre)
    desk.after(QUIET_S - 1)
    assert desk.state(study_key(pre)) is State.INCOMING
    desk.after(1)
    assert desk.state(study_key(pre)) is State.FAILED
    event = desk.last(study_key(pre))
    assert event.cause == "one-series"
    assert event.text.startswith("missing: only one time point on its grid")
    assert "12 slices" in event.text
    assert desk.handed_on == []


def test_an_incomplete_series_is_named(desk: Desk) -> None:
    pre, post = pair()
    desk.send([*pre, *post[:7], *post[8:]])
    desk.after(QUIET_S)
    event = desk.last(study_key(pre))
    assert event.cause == "no-pair"
    assert "post" in event.text


def test_what_is_missing_re_opens_the_study(desk: Desk) -> None:
    pre, post = pair()
    desk.send(pre)
    desk.after(QUIET_S)
    desk.send(post, "two")
    desk.after(SETTLE_S)
    assert desk.state(study_key(pre)) is State.QUEUED
    assert len(list((taken(desk.queue).folder / IMAGES).iterdir())) == 24


def test_a_late_series_re_opens_a_done_study(desk: Desk) -> None:
    pre, post = pair()
    desk.send([*pre, *post])
    desk.after(SETTLE_S)
    taken(desk.queue).done("publish")
    desk.send(series(post_plan(number=7, phase=2)), "two")
    desk.after(SETTLE_S)
    assert desk.state(study_key(pre)) is State.QUEUED
    assert len(list((taken(desk.queue).folder / IMAGES).iterdir())) == 36


def test_a_study_that_is_sent_again_stays_done(desk: Desk) -> None:
    pre, post = pair()
    desk.send([*pre, *post])
    desk.after(SETTLE_S)
    taken(desk.queue).done("publish")
    desk.send([*pre, *post], "two")
    desk.after(QUIET_S)
    assert desk.state(study_key(pre)) is State.DONE


def test_studies_that_come_interleaved_are_told_apart(desk: Desk) -> None:
    one, two = pair("one"), pair("two")
    mixed = zip([*one[0], *one[1]], [*two[0], *two[1]], strict=True)
    desk.send([dataset for both in mixed for dataset in both])
    desk.after(SETTLE_S)
    assert sorted(desk.handed_on) == sorted([study_key(one[0]), study_key(two[0])])


def test_another_examination_is_parked_and_others_flow(desk: Desk) -> None:
    knee = series(pre_plan(study="knee", description="pd_tse_sag"))
    pre, post = pair()
    desk.send([*knee, *pre, *post])
    desk.after(QUIET_S)
    assert desk.state(study_key(knee)) is State.FAILED
    assert desk.state(study_key(pre)) is State.QUEUED


def test_no_header_is_read_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> headers.FileReport:
        read.append(path.name)
        return headers.read_file(path)

    monkeypatch.setattr(completeness, "read_file", counted)
    pre, post = pair()
    desk.send(pre)
    for _ in range(3):
        desk.after(SETTLE_S)
    assert len(read) == 12
    desk.send(post, "two")
    desk.after(SETTLE_S)
    assert desk.state(study_key(pre)) is State.QUEUED
    assert len(set(read)) == len(read) == 24


def test_a_study_whose_headers_nobody_foresaw_costs_only_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("Doe^Jane")

    pre, post = pair()
    desk.send([*pre, *post])
    monkeypatch.setattr(completeness, "choose_among", broken)
    desk.after(QUIET_S)
    assert desk.last(study_key(pre)).cause == "zero-division-error"
    assert "Doe" not in desk.last(study_key(pre)).text


def test_a_study_with_a_damaged_journal_is_handed_on_to_be_parked(desk: Desk) -> None:
    pre, post = pair()
    desk.send([*pre, *post])
    (desk.queue.root / "incoming" / study_key(pre) / "job.json").write_text("{")
    desk.after(SETTLE_S)
    assert desk.state(study_key(pre)) is State.FAILED
    assert desk.last(study_key(pre)).cause == "journal-damaged"


def test_a_full_disk_is_said_once_and_the_study_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    pre, post = pair()
    desk.send([*pre, *post])
    with monkeypatch.context() as patch:
        patch.setattr(completeness, "write_study", full)
        desk.after(SETTLE_S)
        desk.after(1)
    assert caplog.text.count("No space left") == 1
    desk.after(1)
    assert desk.state(study_key(pre)) is State.QUEUED


def test_the_study_is_recorded_without_its_patient(desk: Desk) -> None:
    pre, post = pair()
    desk.send(pre)
    for dataset in post:
        accept(desk.queue, dataset, source="ROUTER")
        desk.arrivals.received(receipt(dataset, association="two"))
    desk.arrivals.released("two")
    desk.after(SETTLE_S)
    folder = desk.queue.root / "queued" / study_key(pre)
    record = read_study(folder)
    assert record.study_instance_uid == pre[0].StudyInstanceUID
    assert record.source_aes == ("PACS", "ROUTER")
    assert (record.called_ae, record.instances) == ("BRS", 24)
    assert record.first_received[-6:] == "+00:00"
    text = (folder / "study.json").read_text()
    assert set(json.loads(text)) == {
        "study_instance_uid",
        "source_aes",
        "called_ae",
        "first_received",
        "instances",
    }
    assert "PLANTED" not in text
