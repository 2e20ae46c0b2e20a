"""From masks to a network: gathered, checked that nobody is on both sides, trained."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from model.active_learning import LearnedMask, Opening
from model.dataset import CaseInfo, CaseStore
from model.effort import Effort, effort
from model.leakage import check_apart, check_start, members
from model.preprocess import ORIENTATION
from plugin.archive import Archive
from plugin.errors import MaskError
from plugin.evaluate import predicted_mask
from plugin.gather import Gathered, gather
from plugin.masks import read_record, trainable_mask
from plugin.pipeline import NIFTI_FILE, RESULT_FILE
from plugin.rounds.place import LoopOptions, Place
from plugin.session import find_pair, load_session
from plugin.train import TrainOutcome, case_store, train_gathered


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What a round learned from, and the training."""

    masks: tuple[LearnedMask, ...]
    patients: frozenset[str]
    trained: TrainOutcome


def learn(
    archive: Archive, opening: Opening, place: Place, options: LoopOptions
) -> Learned:
    """Train on every usable mask of the archive but those of tested patients.

    Raises
    ------
    LeakageError
        If a patient is on both sides, or the weights to begin with learned from a
        tested one; nothing is trained then.
    MaskError
        If a session of the round has a mask that cannot be used.
    """
    store = case_store(place.work, options.train)
    gathered = _gathered(archive, opening, store, place, options)
    learned = [info for info in gathered.infos if info.case_id not in opening.test]
    tested = [info for info in gathered.infos if info.case_id in opening.test]
    check_apart(members(learned, store), members(tested, store))
    if options.train.start is not None:
        check_start(options.train.start.manifest.learned, tested)
    masks = [_mask(archive, info, opening, place, options) for info in learned]
    trained = train_gathered(
        archive,
        place.output / "training",
        store,
        replace(gathered, infos=tuple(learned)),
        replace(options.train, deploys=False),
    )
    keys = frozenset(info.patient_key for info in learned)
    return Learned(tuple(masks), keys, trained)


def _gathered(
    archive: Archive,
    opening: Opening,
    store: CaseStore,
    place: Place,
    options: LoopOptions,
) -> Gathered:
    unused = options.without | (set(opening.apart) - set(opening.test))
    gathered = gather(
        archive,
        store,
        place.work,
        grid_px=options.train.config.grid_px,
        rules=options.train.rules,
        sessions=[s for s in archive.sessions() if s not in unused],
    )
    for session_id in (*opening.asked, *opening.test):
        if session_id in gathered.failures:
            raise _unusable(session_id, gathered.failures[session_id])
    return gathered


def _mask(
    archive: Archive,
    info: CaseInfo,
    opening: Opening,
    place: Place,
    options: LoopOptions,
) -> LearnedMask:
    """Return whose mask it is and, of a session that was asked for, what it took."""
    mask = LearnedMask(info.case_id, info.patient_key, info.mask_uid, info.mask_state)
    record = read_record(archive, info.case_id)
    if record is not None and record.sop_instance_uid == info.mask_uid:
        mask = replace(
            mask, reviewer_role=record.reviewer_role, reviewed_at=record.reviewed_at
        )
    if info.case_id not in opening.asked:
        return mask
    drawn = _effort(archive, info.case_id, place, options)
    weights = None if drawn.changed_mm is None else _draft_weights(archive, info)
    return replace(mask, effort=drawn, draft_weights_sha256=weights)


def _effort(
    archive: Archive, session_id: str, place: Place, options: LoopOptions
) -> Effort:
    """Return how far the settled mask is from the draft that lies with the session."""
    pair = find_pair(archive, session_id, place.work, options.train.rules)
    session = load_session(session_id, pair)
    volumes = [trainable_mask(archive, session, place.work).volume]
    if archive.read(session_id, NIFTI_FILE) is not None:
        volumes.append(predicted_mask(archive, session, place.work))
    archive.release(session_id, place.work)
    canonical = [volume.to_patient_orientation(ORIENTATION) for volume in volumes]
    settled, *draft = [np.asarray(volume.array) > 0 for volume in canonical]
    return effort(settled, draft[0] if draft else None, spacing_mm=canonical[0].spacing)


def _draft_weights(archive: Archive, info: CaseInfo) -> str | None:
    result: Mapping[str, Mapping[str, str]] = json.loads(
        archive.read(info.case_id, RESULT_FILE) or b"{}"
    )
    return result.get("algorithm", {}).get("weights_sha256")


def _unusable(session_id: str, reason: str) -> MaskError:
    return MaskError(
        f"session {session_id}",
        found=f"a mask that cannot be used ({reason})",
        needed="a mask on the session's own grid",
        mend="have it drawn again, or leave the session out (--without)",
    )
