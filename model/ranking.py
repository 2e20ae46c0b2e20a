"""A ranking as a value: the pool's rounded features, the picks, and their files.

Features are rounded before they are used, and no file holds a time, so the same feature
table, strategy and seed give the same bytes and can be replayed from the file alone.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from model.bag import BagFeatures, TouchRule
from model.errors import SelectionError

FORMAT = "brs-ranking/1"
DECIMALS = {"_mm": 1, "_px": 1, "_mm2": 0, "_ml": 1, "confidence": 2}
"""By the end of a feature's name; 0.1 mm is far below what a mask can tell."""
SCALE_DECIMALS = 4
"""``mm_per_px`` is a scale, not a length."""
SHARE_DECIMALS = 4
EMBEDDING_DECIMALS = 3
SEEN_COLUMNS = ("disagreement", "entropy", "members")
"""Columns of ``ranking.csv`` where a checkpoint has looked at the pool."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a checkpoint makes of one session: how unsure it is, and what it sees."""

    disagreement: float
    """1 - mean Dice between its masks (folds, flips), 0 to 1; 1 where all are empty."""
    entropy: float | None
    """Mean binary entropy per predicted pixel, nats, calibrated; None without that."""
    embedding: tuple[float, ...]
    """Features of its encoder, projected; empty where they were not asked for."""
    members: int
    """How many masks were compared."""
    checkpoints: tuple[str, ...]
    """SHA-256 of the weights, or the keys of the trainings."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One session of the pool; ``patient_key`` is equal for a patient's sessions."""

    case_id: str
    patient_key: str
    features: BagFeatures
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """One place in the order, from 1, and why this session holds it."""

    rank: int
    case_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """The selection manifest: everything that is needed to rank again."""

    strategy: str
    seed: int
    engine: str
    """Name and revision of the algorithm; it changes when an order would."""
    version: str
    candidates: tuple[Candidate, ...]
    """By case id, features rounded."""
    picks: tuple[Pick, ...]
    first: tuple[str, ...] = ()
    """Sessions that were annotated already, in the order that they lead."""

    def to_json(self) -> str:
        """Return the manifest as JSON text that ``from_json`` reads back."""
        document = {"format": FORMAT, **asdict(self)}
        document["candidates"] = list(map(candidate_record, self.candidates))
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Ranking":
        """Return the ranking written by ``to_json``.

        Raises
        ------
        SelectionError
            If the text is no ranking of this format.
        """
        try:
            return _from_document(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SelectionError(
                "ranking",
                found=f"{type(error).__name__}: {error}",
                needed=f"JSON of format {FORMAT}",
                mend="rank the pool again",
            ) from error

    def to_csv(self) -> str:
        """Return one line per pick in order: rank, session, reason, features."""
        by_id = {candidate.case_id: candidate for candidate in self.candidates}
        seen = any(candidate.evidence for candidate in self.candidates)
        more = SEEN_COLUMNS if seen else ()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            ["rank", "case_id", "patient_key", "reason", *_columns(), *more]
        )
        for pick in self.picks:
            found = by_id[pick.case_id]
            row = [pick.rank, pick.case_id, found.patient_key, pick.reason]
            writer.writerow([*row, *_cells(found.features), *_seen(found, more)])
        return text.getvalue()


def rounded(candidate: Candidate) -> Candidate:
    """Return the candidate as ranking uses and writes it (``DECIMALS``)."""
    changes = {
        name: round(value, _decimals(name))
        for name, value in _values(candidate.features).items()
        if isinstance(value, float)
    }
    features = replace(candidate.features, **changes)  # type: ignore[arg-type]  # floats only
    return replace(candidate, features=features, evidence=_kept(candidate.evidence))


def _kept(evidence: Evidence | None) -> Evidence | None:
    if evidence is None:
        return None
    entropy = evidence.entropy
    return replace(
        evidence,
        disagreement=round(evidence.disagreement, SHARE_DECIMALS),
        entropy=None if entropy is None else round(entropy, SHARE_DECIMALS),
        embedding=tuple(round(v, EMBEDDING_DECIMALS) for v in evidence.embedding),
    )


def _decimals(name: str) -> int:
    if name == "mm_per_px":
        return SCALE_DECIMALS
    return next(n for end, n in DECIMALS.items() if name.endswith(end))


def _values(features: BagFeatures) -> dict[str, Any]:
    return {f.name: getattr(features, f.name) for f in fields(features)}


def _columns() -> list[str]:
    names = [f.name for f in fields(BagFeatures) if f.name != "rule"]
    return [*names, *(f.name for f in fields(TouchRule))]


def _cells(features: BagFeatures) -> list[object]:
    values = {**_values(features), **asdict(features.rule)}
    return ["" if values[name] is None else values[name] for name in _columns()]


def _seen(candidate: Candidate, columns: Sequence[str]) -> list[object]:
    values = [getattr(candidate.evidence, name, None) for name in columns]
    return ["" if value is None else value for value in values]


def candidate_record(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate ready for JSON."""
    record = asdict(candidate)
    if candidate.evidence is None:
        del record["evidence"]
    return record


def _from_document(document: Mapping[str, Any]) -> Ranking:
    found = document["format"]
    if found != FORMAT:
        raise ValueError(f"format {found!r}")
    values = {f.name: document[f.name] for f in fields(Ranking) if f.name != "first"}
    values["candidates"] = tuple(map(candidate_from, document["candidates"]))
    values["picks"] = tuple(Pick(**pick) for pick in document["picks"])
    return Ranking(**values, first=tuple(document.get("first", ())))


def candidate_from(values: Mapping[str, Any]) -> Candidate:
    """Return the candidate that ``candidate_record`` made a record of."""
    features = dict(values["features"])
    features["rule"] = TouchRule(**features["rule"])
    return Candidate(
        values["case_id"],
        values["patient_key"],
        BagFeatures(**features),
        _evidence(values.get("evidence")),
    )


def _evidence(values: Mapping[str, Any] | None) -> Evidence | None:
    if values is None:
        return None
    lists = {name: tuple(values[name]) for name in ("embedding", "checkpoints")}
    return Evidence(**{**values, **lists})
