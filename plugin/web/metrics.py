"""Metrics for Prometheus, in a registry of their own."""

from collections.abc import Iterator

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from plugin.jobs import State
from plugin.version import VERSION
from plugin.web.health import Health, free_bytes, read_health, readiness
from plugin.web.source import StatusSource
from plugin.web.tally import Tally


class Metrics:
    """The route; every scrape reads the queue anew."""

    def __init__(self, source: StatusSource) -> None:
        self._registry = CollectorRegistry()
        self._tally = Tally(source, self._registry)
        self._registry.register(Present(source))

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("metrics", __name__)
        routes.add_url_rule("/metrics", "metrics", self.metrics)
        return routes

    def metrics(self) -> ResponseReturnValue:
        """Send all metrics as text."""
        self._tally.update()
        text = generate_latest(self._registry)
        return Response(text, content_type=CONTENT_TYPE_LATEST)


class Present(Collector):
    """What is so now: depths, disk, workers, destinations, the listener's counts."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance, so that registering reads nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment; what is unknown is absent."""
        health = read_health(self._source)
        yield _labelled("brs_build_info", "The version", {VERSION: 1.0}, "version")
        yield self._depths()
        yield self._instances()
        yield from self._disk()
        yield _workers(health)
        yield _destinations(health)
        checks = {c.name: float(c.is_ok) for c in readiness(self._source)}
        yield _labelled("brs_ready", "Whether a need is met", checks, "check")

    def _depths(self) -> Metric:
        depth = self._source.queue.depth()
        counts = {state.value: float(getattr(depth, state.value)) for state in State}
        return _labelled("brs_jobs", "Jobs in the queue's folders", counts, "state")

    def _instances(self) -> Metric:
        family = CounterMetricFamily(
            "brs_instances", "DICOM instances received, by outcome", labels=["outcome"]
        )
        for outcome, count in sorted(self._source.counts().items()):
            family.add_metric([outcome.replace(" ", "-")], count)
        return family

    def _disk(self) -> Iterator[Metric]:
        free = free_bytes(self._source.work)
        if free is not None:
            text = "Free bytes beside the work folder"
            yield GaugeMetricFamily("brs_disk_free_bytes", text, value=free)


def _workers(health: Health) -> Metric:
    alive = sum(worker.is_alive for worker in health.workers)
    counts = {"alive": float(alive), "dead": float(len(health.workers) - alive)}
    return _labelled("brs_workers", "Worker processes", counts, "state")


def _destinations(health: Health) -> Metric:
    told = {
        peer.name: float(peer.is_reachable)
        for peer in health.destinations
        if peer.is_reachable is not None
    }
    text = "Whether a destination last answered"
    return _labelled("brs_destination_up", text, told, "destination")


def _labelled(name: str, text: str, values: dict[str, float], label: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
