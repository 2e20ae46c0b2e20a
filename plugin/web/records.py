"""The small JSON files of a job's folder as values; what is missing is None."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

BYTES_LIMIT: Final = 1 << 20
STUDY, PROGRESS, DELIVERIES = "study.json", "progress.json", "deliveries.json"
RESULT: Final = "result/result.json"
PREVIEW: Final = "result/preview.png"
STAGES: Final = ("find", "read", "infer", "judge", "write", "send")


@dataclass(frozen=True, slots=True)
class Study:
    """What was received, from whom."""

    uid: str | None
    source_aes: tuple[str, ...]
    called_ae: str | None
    first_received: datetime | None
    instances: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """The stage that runs, the share of it that is done, and since when."""

    stage: str
    share: float
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of sending a mask to one destination."""

    destination: str
    state: str
    attempts: int | None
    at: datetime | None
    cause: str
    text: str
    sop_instance_uid: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """What the pipeline found in one study, and what it cost."""

    verdict: str
    reasons: tuple[str, ...]
    right_ml: float | None
    left_ml: float | None
    nearest_point_mm: float | None
    breast_size_mm: float | None
    stages_s: Mapping[str, float]
    energy_kwh: float | None
    cfp_kg: float | None
    devices: tuple[str, ...]
    engine: str | None
    weights_sha256: str | None
    sop_instance_uid: str | None
    pair: Mapping[str, Any]

    @property
    def total_s(self) -> float:
        """Seconds of all stages."""
        return sum(self.stages_s.values())


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file; None where there is none, or it is damaged."""
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(BYTES_LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def read_study(folder: Path) -> Study | None:
    """Return what was received for the job in ``folder``."""
    values = read_json(folder / STUDY)
    if values is None:
        return None
    count = number(values.get("instances"))
    return Study(
        uid=text(values.get("study_instance_uid")),
        source_aes=texts(values.get("source_aes")),
        called_ae=text(values.get("called_ae")),
        first_received=moment(values.get("first_received")),
        instances=None if count is None else int(count),
    )


def read_progress(folder: Path) -> Progress | None:
    """Return how far the run of the job in ``folder`` is."""
    values = read_json(folder / PROGRESS)
    if values is None or values.get("stage") not in STAGES:
        return None
    share = number(values.get("share")) or 0.0
    return Progress(
        values["stage"], min(1.0, max(0.0, share)), moment(values.get("since"))
    )


def read_deliveries(folder: Path) -> tuple[Sent, ...]:
    """Return what was sent where, by destination."""
    values = read_json(folder / DELIVERIES) or {}
    entries = ((n, v) for n, v in sorted(values.items()) if isinstance(v, dict))
    return tuple(_sent(name, entry) for name, entry in entries)


def read_result(folder: Path) -> Result | None:
    """Return what the pipeline found in the job in ``folder``."""
    values = read_json(folder / RESULT)
    if values is None:
        return None
    bag, footprint = mapping(values.get("bag")), mapping(values.get("footprint"))
    algorithm = mapping(values.get("algorithm"))
    return Result(
        verdict=text(values.get("verdict")) or "unknown",
        reasons=texts(values.get("reasons")),
        right_ml=number(values.get("right_ml")),
        left_ml=number(values.get("left_ml")),
        nearest_point_mm=number(bag.get("nearest_point_mm")),
        breast_size_mm=number(bag.get("breast_size_mm")),
        stages_s=_numbers(mapping(values.get("timings_s"))),
        energy_kwh=number(footprint.get("energy_kwh")),
        cfp_kg=number(footprint.get("cfp_kg")),
        devices=texts(footprint.get("devices")),
        engine=_engine(algorithm),
        weights_sha256=text(algorithm.get("weights_sha256")),
        sop_instance_uid=text(values.get("sop_instance_uid")),
        pair=mapping(values.get("pair")),
    )


def text(value: Any) -> str | None:
    """Return a text that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def texts(value: Any) -> tuple[str, ...]:
    """Return the texts in a list; what is none is left out."""
    return (
        tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()
    )


def number(value: Any) -> float | None:
    """Return a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def moment(value: Any) -> datetime | None:
    """Return an ISO 8601 time with its offset, else None."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else None


def _sent(name: str, entry: Mapping[str, Any]) -> Sent:
    attempts = number(entry.get("attempts"))
    return Sent(
        destination=name,
        state=text(entry.get("state")) or "unknown",
        attempts=None if attempts is None else int(attempts),
        at=moment(entry.get("at")),
        cause=text(entry.get("cause")) or "",
        text=text(entry.get("text")) or "",
        sop_instance_uid=text(entry.get("sop_instance_uid")),
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    found = {name: number(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not None}


def _engine(algorithm: Mapping[str, Any]) -> str | None:
    """Return the engine in the algorithm's canonical configuration."""
    try:
        values = json.loads(str(algorithm.get("configuration")))
    except ValueError:
        return None
    return text(mapping(values).get("engine"))
