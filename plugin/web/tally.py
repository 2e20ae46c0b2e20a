"""Counts what jobs went through since this process began.

Counters start at zero with the process, as Prometheus expects: the history on disk is
pruned, so a count of it would fall.
"""

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from plugin.jobs import Event, Kind, Listed, Moment, State
from plugin.queue.clock import elapsed_s
from plugin.queue.journal import OPENS
from plugin.web.records import RESULT, STAGES, Result, read_deliveries, read_result
from plugin.web.rows import VERDICTS
from plugin.web.source import StatusSource

STAGE_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
LATENCY_BOUNDS_S: Final = (5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600, 14400, 86400)
KWH_J: Final = 3.6e6
KG_G: Final = 1000.0
STOPS: Final = {Kind.PARKED, Kind.GAVE_UP}
DELIVERY_STATES: Final = ("waiting", "sent", "confirmed", "refused")
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Meters:
    """Everything that is counted."""

    finished: Counter
    stopped: Counter
    retried: Counter
    stages: Histogram
    waited: Histogram
    latency: Histogram
    energy: Counter
    carbon: Counter
    unmeasured: Counter
    deliveries: Counter


def meters_in(registry: CollectorRegistry) -> Meters:
    """Return the meters, registered."""

    def counter(name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="brs", registry=registry)

    def histogram(
        name: str, text: str, *labels: str, bounds: Sequence[float] = LATENCY_BOUNDS_S
    ) -> Histogram:
        return Histogram(
            name, text, labels, namespace="brs", registry=registry, buckets=bounds
        )

    return Meters(
        finished=counter("studies_finished", "Studies done, by verdict", "verdict"),
        stopped=counter("studies_parked", "Studies parked, by cause", "cause"),
        retried=counter("studies_retried", "Runs tried again, by cause", "cause"),
        stages=histogram(
            "stage_seconds", "Time of a stage", "stage", bounds=STAGE_BOUNDS_S
        ),
        waited=histogram("wait_seconds", "From the queue to a worker"),
        latency=histogram("study_seconds", "From the queue to done"),
        energy=counter("energy_joules", "Measured energy of segmentation"),
        carbon=counter("co2_grams", "CO2 of the measured energy"),
        unmeasured=counter("studies_unmeasured", "Studies of unknown energy"),
        deliveries=counter("deliveries", "Masks sent", "destination", "state"),
    )


class Tally:
    """Brings the meters up to date with the queue."""

    def __init__(self, source: StatusSource, registry: CollectorRegistry) -> None:
        self._source = source
        self._meters = meters_in(registry)
        self._start = source.clock()
        self._seen: dict[str, int] = {}
        self._results: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def update(self) -> None:
        """Count every event that is new since the last time."""
        with self._lock:
            listed = list(self._listed())
            for job in listed:
                self._count(job)
            present = {job.job_id for job in listed}
            for gone in self._seen.keys() - present:
                self._seen.pop(gone)
                self._results.pop(gone, None)

    def _listed(self) -> Iterable[Listed]:
        queue = self._source.queue
        for state in (State.QUEUED, State.RUNNING, State.DONE, State.FAILED):
            yield from queue.jobs(state, size=1_000_000).jobs

    def _count(self, job: Listed) -> None:
        events = job.journal.events if job.journal else ()
        seen = min(self._seen.get(job.job_id, 0), len(events))
        for at in range(seen, len(events)):
            if _is_later(events[at].moment, self._start):
                self._event(job, events[: at + 1])
        self._seen[job.job_id] = len(events)

    def _event(self, job: Listed, events: tuple[Event, ...]) -> None:
        event = events[-1]
        if event.kind is Kind.TAKEN:
            _observe(self._meters.waited, _since_queued(events))
        elif event.kind is Kind.RETRY:
            self._meters.retried.labels(event.cause).inc()
        elif event.kind in STOPS:
            self._meters.stopped.labels(event.cause).inc()
        elif event.kind is Kind.DONE:
            self._done(job, events)

    def _done(self, job: Listed, events: tuple[Event, ...]) -> None:
        self._meters.finished.labels(_known(events[-1].text, VERDICTS)).inc()
        _observe(self._meters.latency, _since_opened(events))
        self._delivered(job.folder)
        result = self._new_result(job)
        if result is not None:
            self._spent(result)

    def _new_result(self, job: Listed) -> Result | None:
        """Return the result of a job unless it is the one that was counted last.

        A run that found its result on disk has spent nothing.
        """
        try:
            found = (job.folder / RESULT).stat()
        except OSError:
            return None
        stamp = (found.st_ino, found.st_mtime_ns)
        if self._results.get(job.job_id) == stamp:
            return None
        self._results[job.job_id] = stamp
        return read_result(job.folder)

    def _spent(self, result: Result) -> None:
        for stage, seconds in result.stages_s.items():
            self._meters.stages.labels(_known(stage, STAGES)).observe(seconds)
        if result.energy_kwh is None:
            self._meters.unmeasured.inc()
        else:
            self._meters.energy.inc(max(0.0, result.energy_kwh) * KWH_J)
        if result.cfp_kg is not None:
            self._meters.carbon.inc(max(0.0, result.cfp_kg) * KG_G)

    def _delivered(self, folder: Path) -> None:
        for sent in read_deliveries(folder):
            name = _known(sent.destination, self._source.destinations)
            state = _known(sent.state, DELIVERY_STATES)
            self._meters.deliveries.labels(name, state).inc()


def _known(value: str, values: Collection[str]) -> str:
    """Return a label that is one of ours: no file's text becomes a label."""
    return value if value in values else OTHER


def _observe(meter: Histogram, seconds: float | None) -> None:
    if seconds is not None:
        meter.observe(seconds)


def _is_later(moment: Moment, start: Moment) -> bool:
    """Tell whether a moment is after the start, by the boot's clock where it can be."""
    if start.boot is not None and start.boot == moment.boot:
        return moment.monotonic_s >= start.monotonic_s
    return moment.at >= start.at


def _since_queued(events: tuple[Event, ...]) -> float | None:
    """Return how long a taken job had waited, since whatever queued it."""
    before = [e for e in events[:-1] if e.kind is not Kind.DUPLICATE]
    return elapsed_s(before[-1].moment, events[-1].moment) if before else None


def _since_opened(events: tuple[Event, ...]) -> float | None:
    opened = next((e for e in reversed(events) if e.kind in OPENS), None)
    return elapsed_s(opened.moment, events[-1].moment) if opened else None
