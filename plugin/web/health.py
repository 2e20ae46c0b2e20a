"""Is the process alive, and is the service ready; each failure by its name."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from plugin.web.records import mapping, moment, number, read_json, text
from plugin.web.source import StatusSource
from plugin.web.words import age, size

HEALTH: Final = "health.json"
DOWN: Final = "the listener is down"
STALE_AFTER_S: Final = 30.0
"""The supervisor writes every few seconds; after this it is taken for dead."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process and what it does."""

    name: str
    state: str
    job_id: str | None
    is_alive: bool


@dataclass(frozen=True, slots=True)
class Peer:
    """Whether a destination answered when it was last asked; None: not asked yet."""

    name: str
    is_reachable: bool | None
    at: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class Health:
    """What the supervisor last wrote."""

    workers: tuple[Worker, ...]
    destinations: tuple[Peer, ...]
    started: datetime | None
    version: str | None
    age_s: float | None
    """Seconds since it was written; None where it never was."""

    @property
    def is_fresh(self) -> bool:
        """Whether the supervisor still writes."""
        return self.age_s is not None and self.age_s <= STALE_AFTER_S


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the service needs, and what is wrong with it."""

    name: str
    is_ok: bool
    text: str


class HealthPages:
    """The two addresses that a supervisor of the service asks."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("health", __name__)
        routes.add_url_rule("/healthz", "healthz", self.healthz)
        routes.add_url_rule("/readyz", "readyz", self.readyz)
        return routes

    def healthz(self) -> ResponseReturnValue:
        """Say that this process answers."""
        return jsonify(alive=True)

    def readyz(self) -> ResponseReturnValue:
        """Say whether studies are taken and worked on, and if not, why."""
        checks = readiness(self._source)
        is_ready = all(check.is_ok for check in checks)
        said = {c.name: "ok" if c.is_ok else c.text for c in checks}
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return jsonify(ready=is_ready, checks=said), status


def readiness(source: StatusSource) -> tuple[Check, ...]:
    """Return every check, in the order in which a person would look."""
    return (
        _listener(source),
        _workers(read_health(source)),
        _disk(source),
        _queue(source),
    )


def read_health(source: StatusSource) -> Health:
    """Return what the supervisor wrote; destinations never written are unasked."""
    path = source.work / HEALTH
    values = read_json(path) or {}
    told = mapping(values.get("destinations"))
    workers = values.get("workers")
    return Health(
        workers=tuple(map(_worker, workers if isinstance(workers, list) else ())),
        destinations=tuple(_peer(n, mapping(told.get(n))) for n in source.destinations),
        started=moment(values.get("started")),
        version=text(values.get("version")),
        age_s=_age_s(path, source.clock().at),
    )


def free_bytes(work: Path) -> int | None:
    """Return the free bytes beside the work folder; None where it cannot be asked."""
    try:
        return shutil.disk_usage(work).free
    except OSError:
        return None


def _listener(source: StatusSource) -> Check:
    if source.listening is None:
        return Check("listener", is_ok=False, text="no DICOM listener in this process")
    is_up = source.listening()
    return Check("listener", is_ok=is_up, text="accepts studies" if is_up else DOWN)


def _workers(health: Health) -> Check:
    if not health.is_fresh:
        told = "never" if health.age_s is None else f"{age(health.age_s)} ago"
        return Check(
            "workers", is_ok=False, text=f"the supervisor last reported {told}"
        )
    alive = sum(worker.is_alive for worker in health.workers)
    total = len(health.workers)
    return Check("workers", is_ok=alive > 0, text=f"{alive} of {total} workers alive")


def _disk(source: StatusSource) -> Check:
    free = free_bytes(source.work)
    if free is None:
        return Check("disk", is_ok=False, text="the work folder cannot be read")
    said = f"{size(free)} free, {size(source.min_free_bytes)} needed"
    return Check("disk", is_ok=free >= source.min_free_bytes, text=said)


def _queue(source: StatusSource) -> Check:
    try:
        source.queue.depth()
    except OSError as error:
        return Check("queue", is_ok=False, text=error.strerror or "an I/O error")
    return Check("queue", is_ok=True, text="readable")


def _worker(value: Any) -> Worker:
    entry = mapping(value)
    return Worker(
        name=text(entry.get("name")) or "unnamed",
        state=text(entry.get("state")) or "unknown",
        job_id=text(entry.get("job")),
        is_alive=_is_alive(number(entry.get("pid"))),
    )


def _is_alive(pid: float | None) -> bool:
    """Tell whether a process of this machine runs (signal 0 asks and does nothing)."""
    if pid is None or pid < 1:
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _peer(name: str, entry: Mapping[str, Any]) -> Peer:
    reachable = entry.get("reachable")
    return Peer(
        name=name,
        is_reachable=reachable if isinstance(reachable, bool) else None,
        at=moment(entry.get("at")),
        text=text(entry.get("text")) or "",
    )


def _age_s(path: Path, now: datetime) -> float | None:
    """Return a file's age; a time of writing that is yet to come is as far off."""
    try:
        return abs(now.timestamp() - path.stat().st_mtime)
    except OSError:
        return None
