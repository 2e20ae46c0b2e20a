"""No patient on both sides of a split: told by the patient's key and by the images.

A copy of an examination under another name has another key and the same images.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from model.dataset import CaseInfo, CaseStore
from model.errors import LeakageError


@dataclass(frozen=True, slots=True)
class Member:
    """One case of a split."""

    case_id: str
    patient_key: str
    images: str
    """Digest of the images as the network sees them."""


def members(infos: Iterable[CaseInfo], store: CaseStore) -> list[Member]:
    """Return stored cases with the digests of their images."""
    return [Member(i.case_id, i.patient_key, store.images(i.case_id)) for i in infos]


def check_apart(learned: Sequence[Member], tested: Sequence[Member] = ()) -> None:
    """Raise unless nothing that is learned from is of a tested patient.

    Among what is learned from, the same images may not go by two patients either:
    folds are by patient.

    Raises
    ------
    LeakageError
        Names the sessions.
    """
    keys = {member.patient_key for member in tested}
    shared = [member for member in learned if member.patient_key in keys]
    if shared:
        held_out = {m.patient_key: m.case_id for m in tested}
        names = [f"{m.case_id} with {held_out[m.patient_key]}" for m in shared]
        raise _leak(f"one patient on both sides: {', '.join(sorted(names))}")
    twins = [same for same in _by_images([*learned, *tested]) if _patients(same) > 1]
    if twins:
        names = [" and ".join(sorted(m.case_id for m in same)) for same in twins]
        raise _leak(f"equal images of two patients: {'; '.join(sorted(names))}")


def check_start(learned: Collection[str], tested: Iterable[CaseInfo]) -> None:
    """Raise if weights to begin with learned from a tested case, by source key.

    A case whose mask was drawn anew, or on another grid, has another key and is not
    found.

    Raises
    ------
    LeakageError
        Names the sessions.
    """
    known = sorted(info.case_id for info in tested if info.source_key in learned)
    if known:
        raise LeakageError(
            "the checkpoint to begin with",
            found=f"weights that learned from tested patients: {', '.join(known)}",
            needed="weights that never saw them",
            mend="give another --checkpoint, or none",
        )


def _by_images(members: Iterable[Member]) -> list[list[Member]]:
    found: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        found[member.images].append(member)
    return list(found.values())


def _patients(members: Iterable[Member]) -> int:
    return len({member.patient_key for member in members})


def _leak(found: str) -> LeakageError:
    return LeakageError(
        "training and test",
        found=found,
        needed="each patient on one side only",
        mend="correct the PatientID (XNAT: the subject), take the mask of one away, or "
        "leave the session out of brs loop (--without)",
    )
