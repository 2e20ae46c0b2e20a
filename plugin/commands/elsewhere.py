"""Sessions on a cluster: each worker opens archive and network for itself, once.

A task names things; it carries no login, no image and no weights. Workers read the
archive's login from their own environment.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.checkpoint import read_manifest
from model.dataset import folder_name
from model.engine import Engine
from model.errors import BrsError
from model.hold import held
from model.power import find_meters, gpu_uuids
from plugin import log
from plugin.archive import Archive, open_archive
from plugin.cluster import Crew, crew_at
from plugin.commands.asking import asked
from plugin.commands.segmenting import segmenter_with
from plugin.errors import ConfigError
from plugin.options import state_folder
from plugin.pacs.target import is_pacs
from plugin.pacs.target import parse_target as parse_pacs
from plugin.pipeline import Segmenter
from plugin.rank import LABEL as MEASURING
from plugin.rank import Each, Measured, RankOptions, measure_stored
from plugin.segment import LABEL as SEGMENTING
from plugin.segment import BatchItem, Delivery, segment_stored
from plugin.weights import check_same
from plugin.xnat.target import is_xnat

if TYPE_CHECKING:
    from plugin.looking import Looker


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker opens: names that mean the same on every machine."""

    uri: str
    state: Path | None
    work: Path
    weights: Path | None
    sha256: str
    """Of the weights, empty without."""
    settings: dict[str, Any]
    alone: bool
    """No two workers share a processor, so its energy is a session's own."""
    command: str = field(default_factory=lambda: uuid.uuid4().hex)
    """A worker keeps what it opened for one command: a login, the weights of a file."""

    @property
    def gpu(self) -> bool:
        """Say whether only workers with a GPU can do this."""
        return self.weights is not None and self.settings["device"].startswith("cuda")


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An archive and what computes, as one worker holds them."""

    archive: Archive
    segmenter: Segmenter | None
    looker: "Looker | None"


OPENED: dict[str, Opened] = {}
"""By command, one at a time."""


@contextmanager
def assigned(
    address: str, uri: str, weights: Path | None, settings: dict[str, Any]
) -> Iterator[tuple[Crew, Assignment]]:
    """Open a cluster, and let a worker choose the engine that all of them take.

    Raises
    ------
    ConfigError
        If the archive is a PACS that moves images to one address of ours.
    BrsError
        If a worker cannot open archive, weights or engine.
    """
    _check(uri)
    with crew_at(address) as crew:
        state, work = state_folder(), settings["work"].resolve()
        assignment = Assignment(
            uri=uri if is_xnat(uri) or is_pacs(uri) else str(Path(uri).resolve()),
            state=state.resolve() if state else None,
            work=work,
            weights=weights.resolve() if weights else None,
            sha256=read_manifest(weights).weights_sha256 if weights else "",
            settings={name: settings.get(name) for name in SETTINGS}
            | {"work": work, "cache": settings["cache"].resolve()},
            alone=crew.alone(),
        )
        assignment = _on_one_engine(crew, assignment)
        try:
            crew.everywhere(_get_ready, assignment, gpu=assignment.gpu)
            yield crew, assignment
        finally:
            crew.everywhere(_close, gpu=False)


SETTINGS = ("engine", "device", "precision", "scope", "rules", "strategy")


def _check(uri: str) -> None:
    if is_pacs(uri) and parse_pacs(uri, os.environ, state_folder()).doorstep:
        raise ConfigError(
            "--cluster",
            found="a PACS that sends images to one port of one machine (C-MOVE)",
            needed="C-GET, which every worker can ask for itself",
            mend="leave BRS_DICOM_PORT unset, or leave out --cluster",
        )


def measured_by(crew: Crew, assignment: Assignment) -> Each:
    """Return what measures sessions on the workers."""
    work = partial(measured_at, assignment)
    return partial(crew.map, work, label=MEASURING, gpu=assignment.gpu)


def segmented_by(
    crew: Crew, assignment: Assignment, delivery: Delivery, *, skip_annotated: bool
) -> Callable[[Sequence[str]], Iterator[tuple[str, BatchItem | BrsError]]]:
    """Return what segments sessions on the workers, into the same folders."""
    output, work = delivery.output.resolve(), delivery.work.resolve()
    there = replace(delivery, output=output, work=work)
    segment = partial(segmented_at, assignment, there, skip_annotated=skip_annotated)
    return partial(crew.map, segment, label=SEGMENTING, gpu=assignment.gpu)


def _on_one_engine(crew: Crew, assignment: Assignment) -> Assignment:
    """Return the assignment with the engine that one worker chose for the weights."""
    if assignment.weights is None:
        return assignment
    chosen = crew.ask(_engine, assignment)
    named = {
        "engine": chosen.runtime,
        "device": chosen.device,
        "precision": chosen.precision,
    }
    return replace(assignment, settings=assignment.settings | named)


def _engine(assignment: Assignment) -> Engine:
    return _drawing(assignment).engine


def measured_at(assignment: Assignment, session_id: str) -> Measured:
    """Measure a session in a worker."""
    opened, settings = _opened(assignment), assignment.settings
    options = RankOptions(
        rules=settings["rules"], segmenter=opened.segmenter, looker=opened.looker
    )
    with _held(assignment, session_id):
        return measure_stored(opened.archive, assignment.work, options, session_id)


def segmented_at(
    assignment: Assignment, delivery: Delivery, session_id: str, *, skip_annotated: bool
) -> BatchItem:
    """Segment a session in a worker."""
    with _held(assignment, session_id):
        return segment_stored(
            _opened(assignment).archive,
            _drawing(assignment),
            delivery,
            session_id,
            skip_annotated=skip_annotated,
        )


def _held(assignment: Assignment, session_id: str) -> Any:
    """Wait for a worker that was given up for lost and is at the session still."""
    return held(assignment.work / "held" / folder_name(session_id), wait=True)


def _get_ready(assignment: Assignment) -> None:
    """Fail before the first session where a worker cannot open what it needs."""
    _opened(assignment)


def _opened(assignment: Assignment) -> Opened:
    """Return what this process has open for the command, opened on first use."""
    if assignment.command not in OPENED:
        _close()
        OPENED[assignment.command] = _open(assignment)
    return OPENED[assignment.command]


def _drawing(assignment: Assignment) -> Segmenter:
    segmenter = _opened(assignment).segmenter
    if segmenter is None:
        raise TypeError("no weights were assigned")
    return segmenter


def _open(assignment: Assignment) -> Opened:
    log.configure(verbosity=0)
    archive = open_archive(assignment.uri, state=assignment.state)
    weights = assignment.weights
    return Opened(
        archive,
        _segmenter(weights, archive, assignment) if weights else None,
        asked(weights, archive, assignment.settings),
    )


def _segmenter(weights: Path, archive: Archive, assignment: Assignment) -> Segmenter:
    segmenter = segmenter_with(weights, assignment.settings, archive)
    check_same(weights, segmenter.checkpoint.manifest.weights_sha256, assignment.sha256)
    if assignment.alone:
        return segmenter
    gpus = gpu_uuids([segmenter.engine.device])
    return replace(segmenter, meters=find_meters(gpus=gpus, powercap=None))


def _close() -> None:
    for opened in OPENED.values():
        opened.archive.close()
    OPENED.clear()
