"""Whose mask is this, and may a network learn from it.

A mask is in exactly one of four states. The file itself tells a person's mask from a
program's; everything that happens later (a review) is in a record beside the file,
which speaks for one SOP instance only. A mask that was edited and saved in a viewer is
a new instance, so no older record speaks for it.
"""

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue

from plugin.errors import MaskError

MANUFACTURER = "xnat-brs"
SOFTWARE_PREFIX = "brs "
LABEL_PREFIX = "BRS_"
"""Of ContentLabel: unlike the series description, no viewer keeps it on saving."""

ROLE_PATTERN = re.compile(r"[a-z][a-z0-9 \-]{1,39}")
"""A role in lower case, such as ``radiologist``: names are not recorded.

The hyphen is escaped for browsers, which check a form by it.
"""


class MaskState(StrEnum):
    """Where a mask stands between a person and a network."""

    HUMAN = "human"
    MODEL_DRAFT = "model-draft"
    MODEL_APPROVED = "model-approved"
    REJECTED = "rejected"


TRAINABLE = frozenset({MaskState.HUMAN, MaskState.MODEL_APPROVED})
REVIEWED = frozenset({MaskState.MODEL_APPROVED, MaskState.REJECTED})


@dataclass(frozen=True, slots=True)
class MaskRecord:
    """The state of one mask instance, and who gave it that state and when."""

    state: MaskState
    sop_instance_uid: str
    referenced_series_uid: str
    reviewer_role: str | None = None
    reviewed_at: str | None = None
    """ISO 8601 with an offset from UTC."""
    parent_uid: str | None = None
    """SOP instance that this mask was corrected from."""
    weights_sha256: str | None = None
    verdict: str | None = None

    def __post_init__(self) -> None:
        if not self.sop_instance_uid:
            raise _bad_record(
                "mask record", found="no SOP instance", needed="the mask's UID"
            )
        if self.state in REVIEWED:
            self._check_review()

    def _check_review(self) -> None:
        if not self.reviewer_role or not ROLE_PATTERN.fullmatch(self.reviewer_role):
            raise _bad_record(
                self.sop_instance_uid,
                found="no role of the reviewer, or not a role",
                needed="a role in lower-case letters, such as 'radiologist'",
            )
        if not _is_moment(self.reviewed_at):
            raise _bad_record(
                self.sop_instance_uid,
                found="no time of review, or one without an offset from UTC",
                needed="an ISO 8601 time such as 2026-01-31T12:00:00+00:00",
            )

    def to_json(self) -> bytes:
        """Return the record as one JSON object with sorted keys."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes | str) -> "MaskRecord":
        """Return the record that `to_json` wrote; raises ``MaskError`` on any other."""
        try:
            values = json.loads(text)
            state = MaskState(values.pop("state"))
            return cls(state=state, **_strings(values))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _bad_record(
                "mask record",
                found=f"text that is no record ({type(error).__name__})",
                needed=f"JSON with {', '.join(f.name for f in fields(cls))}",
            ) from None


def review(
    record: MaskRecord, *, accept: bool, reviewer_role: str, reviewed_at: datetime
) -> MaskRecord:
    """Return the record after a person accepted or rejected a model's mask.

    Raises
    ------
    MaskError
        If a person drew the mask (there is nothing to accept), or the role or the
        time's offset from UTC is missing.
    """
    if record.state is MaskState.HUMAN:
        raise MaskError(
            f"mask {record.sop_instance_uid}",
            found="a mask drawn or corrected by a person",
            needed="a model's mask",
            mend="nothing to do: a person's mask is already training material",
        )
    return replace(
        record,
        state=MaskState.MODEL_APPROVED if accept else MaskState.REJECTED,
        reviewer_role=reviewer_role,
        reviewed_at=reviewed_at.isoformat(timespec="seconds"),
    )


def is_ours(dataset: Dataset) -> bool:
    """Return whether this program wrote the SEG, by any of its three marks."""
    return (
        str(dataset.get("Manufacturer", "")) == MANUFACTURER
        or any(v.startswith(SOFTWARE_PREFIX) for v in _software_versions(dataset))
        or str(dataset.get("ContentLabel", "")).startswith(LABEL_PREFIX)
    )


def state_of(dataset: Dataset, record: MaskRecord | None) -> MaskState:
    """Return the state of a SEG, given the record beside it if there is one.

    A record of another instance is ignored. Without one that speaks for this instance,
    a SEG of another program counts as a person's, ours as a draft, unless every segment
    says that it was drawn by hand (an imported annotation).
    """
    if record is not None and record.sop_instance_uid == dataset.get("SOPInstanceUID"):
        return record.state
    if is_ours(dataset) and not _drawn_by_hand(dataset):
        return MaskState.MODEL_DRAFT
    return MaskState.HUMAN


def require_trainable(state: MaskState | None, subject: str) -> None:
    """Raise ``MaskError`` unless a network may learn from, or be measured on, it."""
    if state in TRAINABLE:
        return
    raise MaskError(
        subject,
        found="a mask without a state" if state is None else f"a mask in state {state}",
        needed=" or ".join(sorted(TRAINABLE)),
        mend="correct it in a viewer and save, or run `brs review --accept`",
    )


def _drawn_by_hand(dataset: Dataset) -> bool:
    segments = dataset.get("SegmentSequence") or []
    kinds = [str(s.get("SegmentAlgorithmType", "")) for s in segments]
    return bool(kinds) and all(kind == "MANUAL" for kind in kinds)


def _software_versions(dataset: Dataset) -> list[str]:
    value = dataset.get("SoftwareVersions") or ""
    return [str(v) for v in value] if isinstance(value, MultiValue) else [str(value)]


def _strings(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values unchanged if each is text or null; raises ``TypeError``."""
    strings = {k: v for k, v in values.items() if v is None or isinstance(v, str)}
    if len(strings) != len(values):
        raise TypeError
    return strings


def _is_moment(text: str | None) -> bool:
    try:
        return datetime.fromisoformat(text or "").tzinfo is not None
    except ValueError:
        return False


def _bad_record(subject: str, *, found: str, needed: str) -> MaskError:
    return MaskError(subject, found=found, needed=needed, mend="review the mask again")
