"""Rank an archive's sessions for annotation by Breast Anatomy Geometry."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.atomic import write_atomically
from model.carbon import write_carbon_csv
from model.dataset import folder_name
from model.energy_log import EnergyLog
from model.errors import BrsError, SelectionError
from model.power import find_meters, gpu_uuids
from model.rank_change import RankChange, rank_change
from model.ranking import Candidate, Ranking, candidate_from, candidate_record
from model.selection import rank
from plugin.archive import Archive
from plugin.dce import DceRules
from plugin.errors import InputError, LoginError
from plugin.measuring import measure_session, method_of
from plugin.pipeline import Segmenter
from plugin.report import ranking_report
from plugin.series import DcePair
from plugin.session import (
    find_pair,
    load_session,
    patient_key,
    patient_secret,
    source_key,
)
from plugin.spread import in_turn

if TYPE_CHECKING:
    from plugin.looking import Looker

logger = logging.getLogger(__name__)

LABEL = "measuring"
RANKING_FILE = "ranking.json"
CHANGE_FILE = "rank_change.csv"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A session's features, and the map of its mask."""

    candidate: Candidate
    overlay: NDArray[np.int32]


Each = Callable[[Sequence[str]], Iterator[tuple[str, Measured | BrsError]]]
"""Measures sessions, and yields what was found in each."""


@dataclass(frozen=True, slots=True)
class RankOptions:
    """How the pool is ranked."""

    strategy: str = "bag"
    seed: int = 0
    rules: DceRules = field(default_factory=DceRules)
    segmenter: Segmenter | None = None
    """Whose masks are measured; None reads the body's boundary instead."""
    looker: "Looker | None" = None
    """Whom the strategy asks; None for those that ask nobody."""
    elsewhere: Each | None = None
    """Who measures, by a network or a looker of its own; None measures here."""


@dataclass(frozen=True, slots=True, eq=False)
class RankOutcome:
    """The ranking, each ranked session's overlay map, and why others are missing."""

    ranking: Ranking
    overlays: Mapping[str, NDArray[np.int32]]
    failures: Mapping[str, str]


def rank_archive(
    archive: Archive, output: Path, work: Path, options: RankOptions
) -> RankOutcome:
    """Rank every readable session; write ranking.csv, ranking.json and report.html.

    Features are kept under ``work`` and reused while the session's images are the
    same, so an interrupted ranking continues.

    Raises
    ------
    InputError
        If not one session could be measured.
    """
    with ranking_log(options) as log:
        outcome = _rank(archive, work, options)
    keep_ranking(archive, outcome, output)
    write_carbon_csv(output / "carbon.csv", {"ranking": log.footprint()})
    return outcome


def ranking_log(options: RankOptions) -> EnergyLog:
    """Return what measures the energy of a ranking; elsewhere it is unknown."""
    if options.elsewhere:
        return EnergyLog(())
    return EnergyLog(find_meters(gpus=_gpus(options)))


def _rank(archive: Archive, work: Path, options: RankOptions) -> RankOutcome:
    archive.prepare(None)
    pool = measure_pool(archive, archive.sessions(), work, options)
    if not pool.candidates:
        raise _nothing_to_rank(pool.failures)
    ranking = rank(pool.candidates, strategy=options.strategy, seed=options.seed)
    return RankOutcome(ranking, pool.overlays, pool.failures)


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredPool:
    """Measured sessions, their maps, and why others were not."""

    candidates: Sequence[Candidate]
    overlays: Mapping[str, NDArray[np.int32]]
    failures: Mapping[str, str]


def measure_pool(
    archive: Archive, session_ids: Sequence[str], work: Path, options: RankOptions
) -> MeasuredPool:
    """Return sessions' features, from ``work`` while their images are the same."""
    patient_secret(archive)
    here = partial(measure_stored, archive, work, options)
    each = options.elsewhere or partial(in_turn, here, label=LABEL)
    answers: dict[str, Measured | BrsError] = {}
    for session_id, answer in each(session_ids):
        if isinstance(answer, LoginError):
            raise answer
        if isinstance(answer, BrsError):
            logger.warning("session %s is not ranked: %s", session_id, answer)
        answers[session_id] = answer
    found = {s: answers[s] for s in session_ids}
    measured = {s: m for s, m in found.items() if isinstance(m, Measured)}
    return MeasuredPool(
        [m.candidate for m in measured.values()],
        {s: m.overlay for s, m in measured.items()},
        {s: str(e) for s, e in found.items() if isinstance(e, BrsError)},
    )


def measure_stored(
    archive: Archive, work: Path, options: RankOptions, session_id: str
) -> Measured:
    """Return the features of one session of an archive, and release its images."""
    try:
        pair = find_pair(archive, session_id, work, options.rules)
        cache = _Cache(work, patient_secret(archive))
        return _measured(session_id, pair, options, cache)
    finally:
        archive.release(session_id, work)


@dataclass(frozen=True, slots=True)
class _Cache:
    """Measurements that are kept while images and method are the same."""

    work: Path
    secret: bytes
    """Of the archive's patient keys."""

    def record(self, session_id: str) -> Path:
        return self.work / "features" / f"{folder_name(session_id)}.json"


def _measured(
    session_id: str, pair: DcePair, options: RankOptions, cache: _Cache
) -> Measured:
    """Return a session's features and overlay, from the cache when still true."""
    truth = _truth(pair, options)
    record = cache.record(session_id)
    stored = json.loads(record.read_text()) if record.exists() else {}
    if truth.items() <= stored.items():
        overlay = np.load(record.with_suffix(".npy"), allow_pickle=False)
        return Measured(candidate_from({**stored, "case_id": session_id}), overlay)
    session = load_session(session_id, pair)
    measured = measure_session(session, options.segmenter)
    candidate = Candidate(
        session_id,
        patient_key(session_id, pair.pre, cache.secret),
        measured.features,
        options.looker.evidence(session) if options.looker else None,
    )
    _remember(record, truth | candidate_record(candidate), measured.overlay)
    return Measured(candidate, measured.overlay)


def _truth(pair: DcePair, options: RankOptions) -> dict[str, str]:
    """Return what a measurement is of; a stored one of anything else is not used."""
    return {
        "source_key": source_key(pair),
        "method": method_of(options.segmenter),
        "looked": options.looker.key if options.looker else "",
    }


def _remember(
    record: Path, values: Mapping[str, Any], overlay: NDArray[np.int32]
) -> None:
    """Store a measurement, its record last, so that a record is never without map."""
    record.parent.mkdir(parents=True, exist_ok=True)
    np.save(record.with_suffix(".npy"), overlay)
    write_atomically(record, json.dumps(values, indent=1).encode())


def _gpus(options: RankOptions) -> tuple[str, ...]:
    """Return the GPUs that a ranking computes on."""
    engines = [options.segmenter.engine] if options.segmenter else []
    engines += [m.engine for m in options.looker.members] if options.looker else []
    return tuple(gpu_uuids([engine.device for engine in engines])) if engines else ()


def keep_ranking(archive: Archive, outcome: RankOutcome, output: Path) -> None:
    """Write ranking.csv, ranking.json and report.html, here and into the project.

    Where the project has another ranking, also rank_change.csv: what is different now.
    """
    ranking = outcome.ranking
    change = change_since(archive, ranking)
    files = {
        RANKING_FILE: ranking.to_json().encode(),
        "ranking.csv": ranking.to_csv().encode(),
        "failures.json": json.dumps(dict(outcome.failures), indent=1).encode(),
    }
    if change is not None:
        files[CHANGE_FILE] = change.to_csv().encode()
    for name, data in files.items():
        write_atomically(output / name, data)
    ranking_report(
        ranking,
        outcome.overlays,
        failures=outcome.failures,
        path=output / "report.html",
        change=change,
    )
    changed = () if change is None else (CHANGE_FILE,)
    for name in (RANKING_FILE, "ranking.csv", "report.html", *changed):
        archive.write(None, name, (output / name).read_bytes())


def change_since(archive: Archive, ranking: Ranking) -> RankChange | None:
    """Return what differs from the project's ranking, None where nothing can."""
    stored = archive.read(None, RANKING_FILE)
    if stored is None:
        return None
    try:
        before = Ranking.from_json(stored.decode(errors="replace"))
    except SelectionError as error:
        logger.warning("what changed in the order is not known: %s", error)
        return None
    return None if before == ranking else rank_change(ranking, before)


def _nothing_to_rank(failures: Mapping[str, str]) -> InputError:
    first = next(iter(failures.values()), "the archive has no session")
    return InputError(
        "archive",
        found=f"no rankable session among {len(failures)}; the first: {first}",
        needed="at least one bilateral breast DCE session",
        mend="run `brs segment --dry-run` on one session to see what is read",
    )
