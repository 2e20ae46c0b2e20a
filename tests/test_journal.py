import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin.queue.causes import Cause, JournalError, QueueError, cause_of
from plugin.queue.clock import Moment, elapsed_s, machine_clock, remaining_s
from plugin.queue.journal import EVENTS_LIMIT, Event, Journal, Kind, dump, parse

NOON = Moment(datetime(2026, 3, 1, 12, tzinfo=UTC), 100.0, "boot-1")

moments = st.builds(
    Moment,
    st.datetimes(timezones=st.just(UTC)),
    st.floats(0, 1e9).map(lambda s: round(s, 3)),
    st.none() | st.sampled_from(["boot-1", "boot-2"]),
)
events = st.builds(
    Event,
    moments,
    st.sampled_from(Kind),
    st.sampled_from(["", "pacs-busy"]),
    st.sampled_from(["", "one line"]),
    st.none() | st.floats(0, 1e6),
    st.none() | st.integers(-9, 9),
)


@settings(max_examples=40)
@given(st.lists(events, max_size=6))
def test_a_journal_is_read_back_as_it_was_written(found: list[Event]) -> None:
    journal = Journal("job-1", tuple(found))
    assert parse(dump(journal), "job-1") == journal


@settings(max_examples=40)
@given(st.lists(events, min_size=1, max_size=3), st.data())
def test_a_cut_journal_is_damaged(found: list[Event], data: st.DataObject) -> None:
    whole = dump(Journal("job-1", tuple(found)))
    end = data.draw(st.integers(0, len(whole) - 2))
    with pytest.raises(JournalError):
        parse(whole[:end], "job-1")


@settings(max_examples=40)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_bytes_that_are_no_journal_are_damaged(data: bytes) -> None:
    with pytest.raises(JournalError):
        parse(data, "job-1")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=40)
@given(
    st.sampled_from(["at", "monotonic_s", "kind", "wait_s", "priority", "boot"]),
    json_values,
)
def test_a_field_of_another_kind_is_damaged_or_means_a_finite_value(
    field: str, value: object
) -> None:
    values = json.loads(dump(Journal("job-1", (Event(NOON, Kind.RETRY, wait_s=1.0),))))
    values["events"][0][field] = value
    try:
        (event,) = parse(json.dumps(values).encode(), "job-1").events
    except JournalError:
        return
    assert event.wait_s is None or 0 <= event.wait_s < float("inf")
    assert event.moment.at.tzinfo is not None


def test_the_journal_of_another_job_is_damaged() -> None:
    with pytest.raises(JournalError, match="another job"):
        parse(dump(Journal("job-2")), "job-1")


def test_a_text_is_one_short_printable_line() -> None:
    event = Event(NOON, Kind.DONE, text="a\n\tb\x1b[31m" + "x" * 999)
    text = event.to_json()["text"]
    assert text.startswith("a b[31mx")
    assert len(text) == 300


def test_an_endless_journal_keeps_its_first_event_and_the_latest() -> None:
    journal = Journal("job-1", (Event(NOON, Kind.RECEIVED),))
    for _ in range(EVENTS_LIMIT + 10):
        journal = journal.plus(Event(NOON, Kind.PROGRESS, "stage"))
    assert journal.events[0].kind is Kind.RECEIVED
    assert len(journal.events) <= EVENTS_LIMIT


def test_attempts_count_since_the_job_was_opened_or_revived() -> None:
    order = "enqueued taken retry taken released taken revived taken recovered"
    journal = Journal("j", tuple(Event(NOON, Kind(k)) for k in order.split()))
    assert Journal("j", journal.events[:6]).attempts == 2
    assert (journal.attempts, journal.crashes) == (1, 1)


@settings(max_examples=40)
@given(moments, moments, st.floats(0, 1e6))
def test_no_pair_of_clocks_waits_longer_than_asked(
    start: Moment, now: Moment, wait_s: float
) -> None:
    assert 0 <= remaining_s(start, now, wait_s) <= wait_s
    assert elapsed_s(start, now) >= 0


def test_the_machine_knows_its_boot_and_goes_forward() -> None:
    one, two = machine_clock(), machine_clock()
    assert one.boot == two.boot
    assert 0 <= elapsed_s(one, two) < 5


def test_a_cause_is_a_short_code() -> None:
    with pytest.raises(QueueError, match="code"):
        Cause("Doe^Jane", "", passing=True)
    assert cause_of(KeyError("Doe")) == Cause("key-error", "KeyError", passing=False)
