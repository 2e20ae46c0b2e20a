"""A mask reaches every destination once, whatever the others do."""

import json
from pathlib import Path

import pytest
from destinations import Peers, away, destination, refusing
from pydicom.uid import ExplicitVRLittleEndian
from queue_case import STUDY, HandClock, queue_in, queued, send, taken
from scp_peers import instance, with_meta

from plugin.jobs import Cause, Job, LastingError, PassingError, Queue
from plugin.sending.destination import Verify
from plugin.service.deliveries import Deliveries, Sent
from plugin.service.outbox import Outbox
from plugin.stages import unheard

UID = "1.2.3.4"
BUSY = Cause("unreachable", "", passing=True)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    dataset = instance("1.2", "1.2.3")
    dataset.SOPInstanceUID = UID
    path = tmp_path / "mask.dcm"
    with_meta(dataset, ExplicitVRLittleEndian).save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def queue(tmp_path: Path, clock: HandClock) -> Queue:
    queue = queue_in(tmp_path, clock)
    queued(queue, tmp_path)
    return queue


def outbox(job: Job, mask: Path, uid: str = UID) -> Outbox:
    return Outbox(job, mask, uid, calling_ae="BRS")


def state(job: Job, name: str) -> Sent:
    known = Deliveries(job.folder).of(name, UID)
    assert known is not None
    return known.state


BOTH = (destination("pacs"), destination("research"))


def test_every_destination_gets_the_mask_and_says_so(queue: Queue, mask: Path) -> None:
    job, peers = taken(queue), Peers()
    outbox(job, mask).send(BOTH, peers, unheard)
    assert peers.stored == [("pacs", UID), ("research", UID)]
    assert [state(job, d.name) for d in BOTH] == [Sent.CONFIRMED, Sent.CONFIRMED]


def test_one_that_cannot_be_asked_is_sent_and_not_confirmed(
    queue: Queue, mask: Path
) -> None:
    job = taken(queue)
    outbox(job, mask).send([destination("old", verify=Verify.NONE)], Peers(), unheard)
    assert state(job, "old") is Sent.SENT


def test_one_that_is_away_holds_up_no_other_and_alone_is_tried_again(
    queue: Queue, mask: Path, clock: HandClock
) -> None:
    job, peers = taken(queue), Peers({"pacs": away()})
    with pytest.raises(PassingError, match="no answer"):
        outbox(job, mask).send(BOTH, peers, unheard)
    assert [state(job, d.name) for d in BOTH] == [Sent.WAITING, Sent.CONFIRMED]
    job.retry(BUSY)
    clock.tick(100)
    peers.failing.clear()
    peers.asked.clear()
    job = taken(queue)
    outbox(job, mask).send(BOTH, peers, unheard)
    assert peers.asked == ["pacs"]
    known = Deliveries(job.folder).of("pacs", UID)
    assert known is not None
    assert (known.state, known.attempts) == (Sent.CONFIRMED, 1 + 1)


def test_a_refusal_is_recorded_and_not_tried_again_by_itself(
    queue: Queue, mask: Path, clock: HandClock
) -> None:
    job, peers = taken(queue), Peers({"pacs": refusing(), "research": away()})
    with pytest.raises(PassingError):
        outbox(job, mask).send(BOTH, peers, unheard)
    job.retry(BUSY)
    clock.tick(100)
    del peers.failing["research"]
    peers.asked.clear()
    job = taken(queue)
    with pytest.raises(LastingError, match="0xA900"):
        outbox(job, mask).send(BOTH, peers, unheard)
    assert peers.asked == ["research"]
    values = json.loads((job.folder / "deliveries.json").read_text())
    assert values["pacs"]["state"] == "refused"
    assert values["pacs"]["cause"] == "refused"
    assert "0xA900" in values["pacs"]["text"]


def test_a_refusal_alone_is_a_lasting_error(queue: Queue, mask: Path) -> None:
    job = taken(queue)
    with pytest.raises(LastingError):
        outbox(job, mask).send(BOTH, Peers({"pacs": refusing()}), unheard)
    assert state(job, "research") is Sent.CONFIRMED


def test_a_persons_re_run_asks_every_destination_again(
    queue: Queue, mask: Path
) -> None:
    job, peers = taken(queue), Peers({"pacs": refusing()})
    with pytest.raises(LastingError):
        outbox(job, mask).send(BOTH, peers, unheard)
    job.park(Cause("refused", "", passing=False))
    queue.rerun(STUDY)
    peers.failing.clear()
    peers.asked.clear()
    job = taken(queue)
    outbox(job, mask).send(BOTH, peers, unheard)
    assert peers.asked == ["pacs", "research"]
    assert peers.stored == [("research", UID), ("pacs", UID)]


def test_late_images_ask_only_who_does_not_have_the_mask(
    queue: Queue, mask: Path, tmp_path: Path
) -> None:
    job, peers = taken(queue), Peers({"pacs": refusing()})
    with pytest.raises(LastingError):
        outbox(job, mask).send(BOTH, peers, unheard)
    job.park(Cause("refused", "", passing=False))
    send(queue, tmp_path, {"late": b"2"})
    queue.enqueue(STUDY)
    peers.failing.clear()
    peers.asked.clear()
    outbox(taken(queue), mask).send(BOTH, peers, unheard)
    assert peers.asked == ["pacs"]


def test_an_attempt_is_on_record_before_it_begins(queue: Queue, mask: Path) -> None:
    job, seen = taken(queue), list[str]()
    path = job.folder / "deliveries.json"
    peers = Peers(meanwhile=lambda: seen.append(path.read_text()))
    outbox(job, mask).send(BOTH[:1], peers, unheard)
    (before,) = seen
    values = json.loads(before)["pacs"]
    assert (values["state"], values["attempts"]) == ("waiting", 1)


def test_another_mask_begins_anew(queue: Queue, mask: Path) -> None:
    job, peers = taken(queue), Peers()
    outbox(job, mask).send(BOTH[:1], peers, unheard)
    outbox(job, mask, uid="1.2.3.5").send(BOTH[:1], peers, unheard)
    assert peers.asked == ["pacs", "pacs"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"pacs": {"state": "lost"}}'])
def test_a_damaged_record_costs_a_question_and_no_second_mask(
    queue: Queue, mask: Path, damage: str
) -> None:
    job, peers = taken(queue), Peers()
    outbox(job, mask).send(BOTH, peers, unheard)
    (job.folder / "deliveries.json").write_text(damage)
    outbox(job, mask).send(BOTH, peers, unheard)
    assert peers.asked == ["pacs", "research"] * 2
    assert len(peers.stored) == 2


def test_the_share_that_is_sent_is_told(queue: Queue, mask: Path) -> None:
    heard: list[tuple[str, float]] = []
    outbox(taken(queue), mask).send(
        BOTH, Peers(), lambda stage, share: heard.append((stage, share))
    )
    assert heard == [("send", 0.0), ("send", 0.5), ("send", 1.0)]
