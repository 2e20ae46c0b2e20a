"""What the first page says: what runs, what waits, what was found, at what cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from plugin.jobs import Depth, Listed, State
from plugin.web.health import Check, Health, read_health, readiness
from plugin.web.pictures import stamp_of
from plugin.web.records import Progress, Result, read_progress, read_result
from plugin.web.source import StatusSource

RECENT: Final = 7
"""The latest, shown large, and two rows of three."""
RUNNING: Final = 20
ATTENTION: Final = 5
MEASURED: Final = 50
"""Studies that the medians are made from."""


@dataclass(frozen=True, slots=True)
class Running:
    """A job that a worker holds."""

    listed: Listed
    progress: Progress | None
    worker: str | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A done job; ``picture`` names the present state of its preview, if it has one."""

    listed: Listed
    result: Result | None
    picture: str | None


@dataclass(frozen=True, slots=True)
class Costs:
    """Medians over the last studies; None where nothing was measured."""

    studies: int
    stages_s: Mapping[str, float]
    total_s: float | None
    energy_kwh: float | None
    cfp_kg: float | None
    energy_unknown: int
    devices: tuple[str, ...]
    engines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the first page."""

    depth: Depth
    running: tuple[Running, ...]
    recent: tuple[Finished, ...]
    attention: tuple[Listed, ...]
    costs: Costs
    health: Health
    checks: tuple[Check, ...]


def overview(source: StatusSource) -> Overview:
    """Return the present state of the service."""
    queue, health = source.queue, read_health(source)
    done = queue.jobs(State.DONE, size=MEASURED).jobs
    finished = [_finished(job) for job in done]
    return Overview(
        depth=queue.depth(),
        running=tuple(
            _running(job, health)
            for job in queue.jobs(State.RUNNING, size=RUNNING).jobs
        ),
        recent=tuple(finished[:RECENT]),
        attention=queue.jobs(State.FAILED, size=ATTENTION).jobs,
        costs=costs_of([f.result for f in finished if f.result is not None]),
        health=health,
        checks=readiness(source),
    )


def costs_of(results: Sequence[Result]) -> Costs:
    """Return the medians of what was measured; what was not is counted, never 0."""
    names = dict.fromkeys(name for result in results for name in result.stages_s)
    energies = [r.energy_kwh for r in results if r.energy_kwh is not None]
    emitted = [r.cfp_kg for r in results if r.cfp_kg is not None]
    timed = [r.total_s for r in results if r.stages_s]
    return Costs(
        studies=len(results),
        stages_s={
            name: median(r.stages_s[name] for r in results if name in r.stages_s)
            for name in names
        },
        total_s=median(timed) if timed else None,
        energy_kwh=median(energies) if energies else None,
        cfp_kg=median(emitted) if emitted else None,
        energy_unknown=len(results) - len(energies),
        devices=tuple(dict.fromkeys(d for r in results for d in r.devices)),
        engines=tuple(dict.fromkeys(r.engine for r in results if r.engine)),
    )


def _running(listed: Listed, health: Health) -> Running:
    workers = (w.name for w in health.workers if w.job_id == listed.job_id)
    return Running(listed, read_progress(listed.folder), next(workers, None))


def _finished(listed: Listed) -> Finished:
    return Finished(listed, read_result(listed.folder), stamp_of(listed.folder))
