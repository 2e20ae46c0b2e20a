"""Annotated sessions of an archive -> the case store that training reads."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from model.bag import BagFeatures
from model.checkpoint import PREPROCESSING
from model.dataset import CaseInfo, CaseStore
from model.errors import BrsError
from model.preprocess import mask_to_stack, to_stack
from plugin.archive import Archive
from plugin.bag_grid import bag_features
from plugin.dce import DceRules
from plugin.errors import LoginError, MaskError
from plugin.masks import SessionMask, has_trainable_mask, trainable_mask
from plugin.session import (
    OpenSession,
    find_pair,
    load_session,
    patient_key,
    patient_secret,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The annotated cases now in the store, and the sessions that could not be."""

    infos: tuple[CaseInfo, ...]
    features: Mapping[str, BagFeatures]
    failures: Mapping[str, str]


def gather(
    archive: Archive,
    store: CaseStore,
    work: Path,
    *,
    grid_px: int,
    rules: DceRules,
    sessions: Sequence[str] | None = None,
) -> Gathered:
    """Store each of ``sessions`` (all by default) with a human or approved mask.

    Raises
    ------
    MaskError
        If there is none.
    """
    secret = patient_secret(archive)
    infos, features, failures = [], {}, {}
    wanted = archive.sessions() if sessions is None else sessions
    for session_id in tqdm(wanted, desc="gathering", disable=None):
        try:
            if not has_trainable_mask(archive, session_id, work):
                continue
            pair = find_pair(archive, session_id, work, rules)
            session = load_session(session_id, pair)
            mask = trainable_mask(archive, session, work)
            patient = patient_key(session_id, pair.pre, secret)
            infos.append(_stored(session, mask, patient, store, grid_px))
            measured = bag_features(mask.volume, source="annotation")
        except LoginError:
            raise
        except BrsError as error:
            logger.warning("session %s is not used: %s", session_id, error)
            failures[session_id] = str(error)
            continue
        finally:
            archive.release(session_id, work)
        if measured is not None:
            features[session_id] = measured
    if not infos:
        raise _nothing_annotated(failures)
    return Gathered(tuple(infos), features, failures)


def _stored(
    session: OpenSession,
    mask: SessionMask,
    patient: str,
    store: CaseStore,
    grid_px: int,
) -> CaseInfo:
    """Put a session into the store unless the same is there; return its record."""
    key = _content_key(session, mask, grid_px)
    known = store.find(session.session_id)
    if known is not None and known.source_key == key:
        return known
    stack = to_stack(session.pre, session.post, grid_px=grid_px)
    info = CaseInfo(
        case_id=session.session_id,
        patient_key=patient,
        source_key=key,
        mask_uid=mask.uid,
        mask_state=mask.state,
        slices=len(stack.voxels),
        grid_px=grid_px,
        mm_per_px=stack.placement.mm_per_px,
        slice_mm=stack.placement.slice_mm,
    )
    store.put(info, stack.voxels, mask_to_stack(mask.volume, stack))
    return info


def _content_key(session: OpenSession, mask: SessionMask, grid_px: int) -> str:
    voxels = hashlib.sha256(mask.volume.array.tobytes()).hexdigest()
    parts = (session.source_key, mask.uid, voxels, str(grid_px))
    text = "\n".join((*parts, json.dumps(dict(PREPROCESSING), sort_keys=True)))
    return hashlib.sha256(text.encode()).hexdigest()


def _nothing_annotated(failures: Mapping[str, str]) -> MaskError:
    first = next(iter(failures.values()), "no session holds a mask")
    return MaskError(
        "archive",
        found=f"no annotated session ({first})",
        needed="sessions with a human or approved mask",
        mend="annotate the first sessions of the ranking, then run again",
    )
