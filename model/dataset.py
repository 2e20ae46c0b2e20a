"""The case store: annotated stacks on disk, memory-mapped, and who trains on what.

One folder a case holds ``stack.npy`` (float16, slices x 2 x rows x columns),
``mask.npy`` (bool, slices x rows x columns) and ``case.json`` (a ``CaseInfo``). A
case is written beside and renamed into place, so a store is never half a case.
"""

import hashlib
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import StoreError, TrainingError

TEST_SEED = 303
SliceIndex = tuple[str, int]
"""A case id and a slice number in its stack."""


@dataclass(frozen=True, slots=True)
class CaseInfo:
    """What a stored case is made of; equal infos mean equal arrays."""

    case_id: str
    patient_key: str
    source_key: str
    """Hash of the source instances, the mask and the preprocessing."""
    mask_uid: str
    mask_state: str
    slices: int
    grid_px: int
    mm_per_px: float
    slice_mm: float


class CaseStore:
    """Annotated cases under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(
        self,
        info: CaseInfo,
        voxels: NDArray[np.floating],
        mask: NDArray[np.bool_],
    ) -> None:
        """Store one case, replacing an older version of it."""
        folder = self._folder(info.case_id)
        beside = folder.with_name(folder.name + ".part")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        np.save(beside / "stack.npy", voxels.astype(np.float16))
        np.save(beside / "mask.npy", mask)
        (beside / "case.json").write_text(json.dumps(asdict(info), indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)

    def find(self, case_id: str) -> CaseInfo | None:
        """Return what is stored for a case, None when nothing is."""
        path = self._folder(case_id) / "case.json"
        if not path.exists():
            return None
        try:
            return CaseInfo(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise StoreError(
                str(path),
                found=f"an unreadable record ({type(error).__name__})",
                needed="a case record of this version",
                mend="delete the case's folder; it is built again from the archive",
            ) from error

    def info(self, case_id: str) -> CaseInfo:
        """Return what is stored for a case; raise ``StoreError`` when nothing is."""
        found = self.find(case_id)
        if found is None:
            raise StoreError(
                case_id,
                found="no such case in the store",
                needed="a stored case",
                mend="run the command that gathers annotated sessions again",
            )
        return found

    def stack(self, case_id: str) -> NDArray[np.float16]:
        """Return the case's stack, memory-mapped: (slices, 2, rows, columns)."""
        array: NDArray[np.float16] = _map(self._folder(case_id) / "stack.npy")
        return array

    def mask(self, case_id: str) -> NDArray[np.bool_]:
        """Return the case's mask, memory-mapped: (slices, rows, columns)."""
        array: NDArray[np.bool_] = _map(self._folder(case_id) / "mask.npy")
        return array

    def images(self, case_id: str) -> str:
        """Return a digest of the case's stack, whatever its name and its mask."""
        return hashlib.sha256(self.stack(case_id).tobytes()).hexdigest()

    def _folder(self, case_id: str) -> Path:
        return self.root / folder_name(case_id)


def _map(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def folder_name(case_id: str) -> str:
    """Return a case id as one safe and unique folder name."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", case_id)[:80]
    if plain == case_id:
        return plain
    return f"{plain}-{hashlib.sha256(case_id.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Fold:
    """One split of the annotated cases; a patient is on one side only."""

    number: int
    train: tuple[str, ...]
    validation: tuple[str, ...]


def kept_apart(patient_keys: Collection[str], share: float) -> frozenset[str]:
    """Return the patients that are only tested on: drawn from all, always the same."""
    keys = sorted(set(patient_keys))
    order = np.random.default_rng([0, TEST_SEED]).permutation(len(keys))
    return frozenset(keys[at] for at in order[: round(share * len(keys))])


def patient_folds(
    patients: Mapping[str, str], *, folds: int, seed: int
) -> tuple[Fold, ...]:
    """Split cases (case id -> patient key) into seeded folds by patient.

    With fewer patients than ``folds`` every patient is a fold of its own.

    Raises
    ------
    TrainingError
        With fewer than two patients, because nothing would be left to validate on.
    """
    keys = sorted(set(patients.values()))
    if len(keys) < 2:
        raise TrainingError(
            "annotated cases",
            found=f"{len(keys)} patient(s)",
            needed="at least 2, so that one can be held out for validation",
            mend="have more sessions annotated (brs rank names the next ones)",
        )
    count = min(folds, len(keys))
    shuffled = np.random.default_rng([seed, 101]).permutation(keys)
    fold_of = {str(key): index % count for index, key in enumerate(shuffled)}
    return tuple(_fold(number, patients, fold_of) for number in range(count))


def _fold(number: int, patients: Mapping[str, str], fold_of: Mapping[str, int]) -> Fold:
    cases = sorted(patients)
    held_out = {case for case in cases if fold_of[patients[case]] == number}
    train = tuple(case for case in cases if case not in held_out)
    return Fold(number, train, tuple(sorted(held_out)))


def epoch_order(
    infos: Sequence[CaseInfo], *, seed: int, epoch: int
) -> list[SliceIndex]:
    """Return one epoch's slices, shuffled; every patient gives the same number.

    The patient with the most slices gives each once; the others repeat some of
    their own (the paper's oversampling), other ones every epoch.
    """
    rng = np.random.default_rng([seed, 202, epoch])
    pools: dict[str, list[SliceIndex]] = defaultdict(list)
    for info in sorted(infos, key=lambda i: i.case_id):
        pools[info.patient_key] += [(info.case_id, s) for s in range(info.slices)]
    longest = max(len(pool) for pool in pools.values())
    order: list[SliceIndex] = []
    for key in sorted(pools):
        order += _stretch(pools[key], longest, rng)
    return [order[i] for i in rng.permutation(len(order))]


def _stretch(
    pool: list[SliceIndex], length: int, rng: np.random.Generator
) -> list[SliceIndex]:
    whole, rest = divmod(length, len(pool))
    extra = rng.choice(len(pool), size=rest, replace=False)
    return pool * whole + [pool[i] for i in extra]
