from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from scp_peers import study

from benchmarks.measure import Result, Timing
from benchmarks.receiving import answered_after, copies, latency, send, started
from benchmarks.report import section
from benchmarks.service import SETTLE_S, WHOLE, stages
from plugin.jobs import Event, Kind, Moment

SAID = """1795677121 146.779 Sending file: a.dcm
1795677121 147.000 Sending Store Request (MsgID 1, MR)
XMIT: ...
1795677121 151.250 Received Store Response (Success)
1795677121 999.000 Sending Store Request (MsgID 2, MR)
1795677122 001.500 Received Store Response (Success)
"""
BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_sender_s_log_gives_the_time_from_each_request_to_its_success() -> None:
    assert answered_after(SAID) == (0.00425, 0.0025)


def test_a_request_without_a_success_is_no_latency() -> None:
    with pytest.raises(ValueError, match="shorter"):
        answered_after(SAID.replace("(Success)", "(OutOfResources)", 1))


def event(after_s: float, kind: Kind, cause: str = "") -> Event:
    return Event(Moment(BEGAN + timedelta(seconds=after_s), 0.0, None), kind, cause)


def test_the_stages_of_a_study_add_up_to_the_whole() -> None:
    events = [
        event(0.5, Kind.RECEIVED),
        event(3.5, Kind.ENQUEUED),
        event(3.75, Kind.TAKEN),
        event(8.0, Kind.PROGRESS, "segmented"),
        event(8.25, Kind.PROGRESS, "sending"),
        event(9.0, Kind.DONE),
    ]
    laps = {"read": 0.5, "infer": 3.0}
    found = stages(BEGAN, BEGAN + timedelta(seconds=2), events, laps)
    whole, *parts = found.values()
    assert whole == sum(parts) == 9.0
    assert found[f"settle ({SETTLE_S:g} s set)"] == 1.5
    assert found["compute: find the pair, and the rest"] == 4.25 - 3.5


def test_the_page_shows_a_part_as_its_share_of_the_whole() -> None:
    timings = (Timing(WHOLE, (8.0,), None), Timing("receive", (2.0,), None))
    shown = section(Result("by stage", "one study", timings, None, {}, are_parts=True))
    assert "| way | share of the whole |" in shown
    assert "| receive | 25% | 2 |" in shown


@pytest.mark.peer
@pytest.mark.slow
def test_every_receiver_keeps_what_the_same_sender_sends_it(tmp_path: Path) -> None:
    files = sorted(study(tmp_path / "study", slices=4).iterdir())
    (tmp_path / "sent").mkdir()
    first, second = copies(files, tmp_path / "sent", 2)
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in (*files, *first, *second)}
    assert len(uids) == 3 * 4
    with ExitStack() as stack:
        receivers = started(stack, tmp_path)
        for receiver in receivers:
            send(receiver.port, first)
            send(receiver.port, second, associations=2)
        timed = latency(receivers, files, tmp_path, {}).timings
        kept = {r.name: [*r.folder.rglob("*")] for r in receivers}
    assert sum(p.name.startswith("MR.") for p in kept["DCMTK storescp"]) == 3 * 4
    assert sum(p.suffix == ".dcm" for p in kept["brs"]) == 3 * 4
    assert [len(timing.seconds) for timing in timed] == [4, 4, 4, 4]
