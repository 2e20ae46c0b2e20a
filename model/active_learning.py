"""A round of active learning as values: how it was opened, and what came of it.

Opened, a round knows whom to annotate; recorded, what was learned from it. Both are
files that are written once, so any machine can go on from them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from model.advice import Advice, Point
from model.carbon import Footprint, as_footprint
from model.effort import Effort, Minutes, Pace
from model.errors import StoreError
from model.ranking import Ranking
from model.statistics import Interval, paired

OPENING_FORMAT, RECORD_FORMAT = "brs-round-opening/1", "brs-round/1"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a round asks for, fixed when it begins."""

    number: int
    """From 1."""
    asked: tuple[str, ...]
    """Sessions to annotate, in the ranking's order."""
    test: tuple[str, ...]
    """Sessions that are only tested on, one a patient; the same in all rounds."""
    apart: tuple[str, ...]
    """Every session of the tested patients: none is learned from."""
    ranking: Ranking
    footprint: Footprint
    """Of the ranking."""

    def to_json(self) -> bytes:
        """Return the opening as JSON that ``from_json`` reads back."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return _text(values | {"format": OPENING_FORMAT})

    @classmethod
    def from_json(cls, text: bytes) -> "Opening":
        """Return the opening that ``to_json`` wrote; raises ``StoreError``."""
        return cls(**_read(text, OPENING_FORMAT, _opened))


@dataclass(frozen=True, slots=True)
class LearnedMask:
    """A mask that was learned from: whose it is, and what it took."""

    session: str
    patient_key: str
    uid: str
    state: str
    """``human`` or ``model-approved``."""
    reviewer_role: str | None = None
    reviewed_at: str | None = None
    effort: Effort | None = None
    """Of the sessions that the round asked for."""
    draft_weights_sha256: str | None = None
    """Of the network that drew the draft."""


@dataclass(frozen=True, slots=True)
class OnTest:
    """What the round's network does on the tested sessions."""

    dice: float
    """Mean over sessions, of whole volumes."""
    sessions: Mapping[str, float]
    """Session -> its Dice."""
    slice_dice: float | None
    hd95_mm: float | None
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the sessions that the round's network drew."""

    published: tuple[str, ...]
    review: tuple[str, ...]
    """Published, and marked for a person to look at."""
    held: tuple[str, ...]
    """Not published; they wait for annotation."""
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """``rounds/NNNN.json``: all that one round rests on and gave."""

    number: int
    version: str
    closed_at: str
    asked: tuple[str, ...]
    without: tuple[str, ...]
    """Sessions that were left out on request."""
    masks: tuple[LearnedMask, ...]
    test: tuple[str, ...]
    patients: int
    """That were learned from."""
    checkpoint_sha256: str
    start_sha256: str
    """Of the weights that the training began with; empty from scratch."""
    validation_dice: float
    """Mean over folds."""
    tested: OnTest | None
    """None without a test set."""
    delivered: Delivered
    footprints: Mapping[str, Footprint]
    """Of ``ranking``, ``training``, ``prediction``, and their ``total``."""
    minutes: Minutes
    """Of the sessions that were asked for."""
    advice: Advice
    ranking: Ranking
    """The selection manifest."""

    @property
    def point(self) -> Point:
        """The round on the learning curve: of the test set, else of validation."""
        dice = self.validation_dice if self.tested is None else self.tested.dice
        return Point(self.patients, dice)

    def to_json(self) -> bytes:
        """Return the record as JSON that ``from_json`` reads back."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return _text(values | {"format": RECORD_FORMAT})

    @classmethod
    def from_json(cls, text: bytes) -> "RoundRecord":
        """Return the record that ``to_json`` wrote; raises ``StoreError``."""
        return cls(**_read(text, RECORD_FORMAT, _recorded))


def gain(before: OnTest | None, now: OnTest | None) -> Interval | None:
    """Return the Dice gained on the sessions that both were tested on, paired."""
    if before is None or now is None:
        return None
    both = sorted(before.sessions.keys() & now.sessions.keys())
    ours, theirs = (
        np.array([tested.sessions[session] for session in both])
        for tested in (now, before)
    )
    return paired(ours, theirs).difference if both else None


def efforts_of(records: Sequence[RoundRecord]) -> dict[str, Effort]:
    """Return session -> what annotating it took, over all rounds."""
    masks = [mask for record in records for mask in record.masks]
    return {m.session: m.effort for m in masks if m.effort is not None}


def _text(values: Mapping[str, Any]) -> bytes:
    document = {name: _plain(value) for name, value in values.items()}
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Ranking):
        return json.loads(value.to_json())
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _read(text: bytes, wanted: str, build: Any) -> dict[str, Any]:
    try:
        document = json.loads(text)
        found = document.pop("format")
        if found != wanted:
            raise ValueError(f"format {found!r}")
        values: dict[str, Any] = build(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            "a round of the project",
            found=f"{type(error).__name__}: {error}",
            needed=f"JSON of format {wanted}",
            mend="use the version of brs that wrote it, or restore the file",
        ) from error
    return values


def _opened(values: dict[str, Any]) -> dict[str, Any]:
    lists = {name: tuple(values[name]) for name in ("asked", "test", "apart")}
    return {
        **values,
        **lists,
        "ranking": _ranking(values["ranking"]),
        "footprint": as_footprint(values["footprint"]),
    }


def _recorded(values: dict[str, Any]) -> dict[str, Any]:
    tested, spent = values["tested"], values["minutes"]
    delivered = {k: tuple(v) for k, v in values["delivered"].items() if k != "failures"}
    lists = {name: tuple(values[name]) for name in ("asked", "without", "test")}
    return {
        **values,
        **lists,
        "masks": tuple(_mask(mask) for mask in values["masks"]),
        "tested": None if tested is None else OnTest(**tested),
        "delivered": Delivered(**delivered, failures=values["delivered"]["failures"]),
        "footprints": {k: as_footprint(v) for k, v in values["footprints"].items()},
        "minutes": Minutes(**{**spent, "pace": Pace(**spent["pace"])}),
        "advice": Advice(**values["advice"]),
        "ranking": _ranking(values["ranking"]),
    }


def _mask(values: dict[str, Any]) -> LearnedMask:
    effort = values["effort"]
    return LearnedMask(**{**values, "effort": Effort(**effort) if effort else None})


def _ranking(document: Any) -> Ranking:
    return Ranking.from_json(json.dumps(document))
