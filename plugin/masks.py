"""The mask of a session that a network may learn from or be measured on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from highdicom import Volume
from pydicom import Dataset

from model.preprocess import check_same_grid
from plugin.archive import Archive
from plugin.errors import MaskError
from plugin.provenance import (
    MaskRecord,
    MaskState,
    require_trainable,
    review,
    state_of,
)
from plugin.seg_read import read, read_header, referenced_series, shows_breast
from plugin.series import DcePair
from plugin.session import OpenSession
from plugin.volumes import read_nifti

RECORD_FILE = "mask.json"
NIFTI_UID_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True, eq=False)
class SessionMask:
    """A mask (0 or 1) on the session's source grid, and whose it is."""

    volume: Volume
    state: MaskState
    uid: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    path: Path
    uid: str
    state: MaskState | None
    saved_at: str
    series_uids: tuple[str, ...] = ()
    """Series that it says it was drawn on."""
    shows_breast: bool = True

    def is_of(self, pair: DcePair) -> bool:
        """Tell whether it can have been drawn on the pair; silence is no reason."""
        ours = {pair.pre.series_uid, pair.post.series_uid}
        return not self.series_uids or not ours.isdisjoint(self.series_uids)


def read_record(archive: Archive, session_id: str) -> MaskRecord | None:
    """Return the review record beside a session's masks, None without one."""
    text = archive.read(session_id, RECORD_FILE)
    return None if text is None else MaskRecord.from_json(text)


def review_draft(
    archive: Archive, session_id: str, *, accept: bool, role: str, now: datetime
) -> MaskRecord:
    """Accept or reject the session's draft in its record; return the new record.

    Raises
    ------
    MaskError
        If the session has no draft, or ``role`` is no role.
    """
    record = read_record(archive, session_id)
    if record is None:
        raise MaskError(
            f"session {session_id}",
            found="no draft mask",
            needed="a draft that `brs segment` pushed",
            mend="segment the session first",
        )
    reviewed = review(record, accept=accept, reviewer_role=role, reviewed_at=now)
    archive.write(session_id, RECORD_FILE, reviewed.to_json())
    return reviewed


def has_trainable_mask(archive: Archive, session_id: str, work: Path) -> bool:
    """Say whether the session holds a human or an approved mask."""
    candidates = _candidates(archive, session_id, work)
    return any(c.state in _PREFERENCE for c in candidates)


def has_human_mask(archive: Archive, session_id: str, work: Path) -> bool:
    """Say whether the session holds a mask that a person drew or corrected."""
    candidates = _candidates(archive, session_id, work)
    return any(c.state is MaskState.HUMAN for c in candidates)


def trainable_mask(archive: Archive, session: OpenSession, work: Path) -> SessionMask:
    """Return the newest human mask, else the approved one, on the session's grid.

    Raises
    ------
    MaskError
        If the session has no mask, only masks in other states, or one that lies on
        another grid.
    """
    candidates = _candidates(archive, session.session_id, work)
    if not candidates:
        raise MaskError(
            f"session {session.session_id}",
            found="no mask",
            needed="a DICOM-SEG, or mask.nii.gz with its record mask.json",
            mend="annotate the session in a viewer, or run `brs import`",
        )
    chosen = _preferred(_fitting(candidates, session.pair))
    subject = f"session {session.session_id}, mask {chosen.uid}"
    require_trainable(chosen.state, subject)
    volume = _load(chosen, session)
    state = chosen.state or MaskState.REJECTED
    return SessionMask(volume, state, chosen.uid)


_PREFERENCE = {MaskState.HUMAN: 2, MaskState.MODEL_APPROVED: 1}


def _fitting(candidates: Sequence[_Candidate], pair: DcePair) -> Sequence[_Candidate]:
    """Return the breasts on this pair among masks of all sorts; all when none fits.

    A study may hold a lesion, or a mask of another series, newer than the breasts.
    """
    on_pair = [each for each in candidates if each.is_of(pair)]
    breasts = [each for each in on_pair if each.shows_breast]
    for group in (breasts, on_pair):
        if any(each.state in _PREFERENCE for each in group):
            return group
    return candidates


def _preferred(candidates: Sequence[_Candidate]) -> _Candidate:
    """Return the newest of the most trusted; a person's mask beats an approved one."""
    return max(
        candidates,
        key=lambda c: (
            _PREFERENCE.get(c.state, 0) if c.state else 0,
            c.saved_at,
            c.uid,
        ),
    )


def _candidates(archive: Archive, session_id: str, work: Path) -> list[_Candidate]:
    record = read_record(archive, session_id)
    return [
        _nifti_candidate(path, record)
        if path.name.endswith(".nii.gz")
        else _seg_candidate(path, record)
        for path in archive.mask_paths(session_id, work)
    ]


def _seg_candidate(path: Path, record: MaskRecord | None) -> _Candidate:
    header = read_header(path)
    uid = str(header.SOPInstanceUID)
    return _Candidate(
        path,
        uid,
        state_of(header, record),
        _saved_at(header),
        referenced_series(header),
        shows_breast(header),
    )


def _saved_at(header: Dataset) -> str:
    """Return the moment a SEG was saved, as sortable text."""
    for kind in ("InstanceCreation", "Content", "Series"):
        date = str(header.get(f"{kind}Date") or "")
        if date:
            return date + str(header.get(f"{kind}Time") or "")
    return ""


def _nifti_candidate(path: Path, record: MaskRecord | None) -> _Candidate:
    """Return the candidate; only a record of these very bytes gives it a state."""
    uid = NIFTI_UID_PREFIX + hashlib.sha256(path.read_bytes()).hexdigest()
    known = record is not None and record.sop_instance_uid == uid
    return _Candidate(path, uid, record.state if record and known else None, "")


def _load(candidate: _Candidate, session: OpenSession) -> Volume:
    if candidate.uid.startswith(NIFTI_UID_PREFIX):
        mask = read_nifti(candidate.path)
        check_same_grid(session.pre, mask)
        return mask.with_array((mask.array > 0).astype(np.uint8))
    sides = _read_seg(candidate.path, session.pair)
    return session.pre.with_array(sides.astype(np.uint8))


def _read_seg(
    path: Path, pair: DcePair
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Read a SEG drawn on the pre- or, failing that, on the post-contrast series."""
    try:
        found = read(path, pair.pre)
    except MaskError:
        if pair.post.series_uid == pair.pre.series_uid:
            raise
        found = read(path, pair.post)
    union: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = (
        found.right.array | found.left.array
    )
    return union
