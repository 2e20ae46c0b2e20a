"""The finished trainings of a study on disk: one folder a cell, one file a result.

``cell.json`` is written when a training has ended, and one file for each case that it
was tested on or made to look at. Every file is whole or absent, so a study that was
killed goes on with what is missing.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from model.atomic import write_atomically
from model.calibration import Calibration
from model.carbon import Footprint, as_footprint
from model.dataset import folder_name
from model.ensemble import Look, Mask
from model.evaluate import CaseScore, SliceScore
from model.hold import held

RECORD_FILE, WEIGHTS_FILE = "cell.json", "weights.safetensors"
HISTORY_FILE, POWER_FILE = "history.csv", "power.csv"
TESTS, LOOKS = "tests", "looks"


@dataclass(frozen=True, slots=True)
class CellRecord:
    """What ``cell.json`` holds: how the training went."""

    key: str
    fold: int
    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    epochs: int
    best_epoch: int
    stopped_by: str
    validation_dice: float
    calibration: Calibration
    footprint: Footprint
    engine: str


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A cell's scores on one case, and the mask that it predicted."""

    slices: tuple[SliceScore, ...]
    case: CaseScore
    mask: Mask


class CellStore:
    """Cells under one folder, which machines may share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """Return the folder of a cell."""
        return self.root / key

    def held(self, key: str) -> AbstractContextManager[None]:
        """Hold a cell alone: a worker given up for lost may still be at it."""
        return held(self.folder(key) / "lock", wait=True)

    def record(self, key: str) -> CellRecord | None:
        """Return how a cell's training went, None when it has not ended."""
        path = self.folder(key) / RECORD_FILE
        if not path.exists():
            return None
        values = json.loads(path.read_text())
        return CellRecord(
            **{
                **values,
                "train": tuple(values["train"]),
                "validation": tuple(values["validation"]),
                "calibration": Calibration(**values["calibration"]),
                "footprint": as_footprint(values["footprint"]),
            }
        )

    def keep_record(self, record: CellRecord) -> None:
        """Say that a cell's training has ended."""
        text = json.dumps(asdict(record), indent=1)
        write_atomically(self.folder(record.key) / RECORD_FILE, text.encode())

    def test(self, key: str, case_id: str) -> Scored:
        """Return a cell's result on a case that it was tested on."""
        masks, record = _read(self._path(key, TESTS, case_id))
        slices = tuple(SliceScore(**row) for row in record["slices"])
        return Scored(slices, CaseScore(**record["case"]), masks["mask"])

    def keep_test(self, key: str, tested: Scored, source_key: str) -> None:
        """Keep a cell's result on one case of these images and this mask."""
        record = {
            "source_key": source_key,
            "slices": [asdict(score) for score in tested.slices],
            "case": asdict(tested.case),
        }
        path = self._path(key, TESTS, tested.case.case_id)
        _write(path, {"mask": tested.mask}, record)

    def look(self, key: str, case_id: str) -> Look:
        """Return what a cell made of a case that it was made to look at."""
        masks, record = _read(self._path(key, LOOKS, case_id))
        both = (masks["plain"], masks["turned"])
        return Look(both, record["entropy"], tuple(record["embedding"]))

    def keep_look(self, key: str, case_id: str, seen: Look, source_key: str) -> None:
        """Keep what a cell made of one case of these images and this mask."""
        record = {
            "source_key": source_key,
            "entropy": seen.entropy,
            "embedding": list(seen.embedding),
        }
        masks = {"plain": seen.masks[0], "turned": seen.masks[1]}
        _write(self._path(key, LOOKS, case_id), masks, record)

    def missing(self, key: str, kind: str, sources: Mapping[str, str]) -> list[str]:
        """Return the cases (id -> source key) without a result of this kind."""
        return [
            case_id
            for case_id, source in sources.items()
            if _source_of(self._path(key, kind, case_id)) != source
        ]

    def _path(self, key: str, kind: str, case_id: str) -> Path:
        return self.folder(key) / kind / f"{folder_name(case_id)}.safetensors"


def _write(path: Path, masks: Mapping[str, Mask], record: Mapping[str, Any]) -> None:
    shape = next(iter(masks.values())).shape
    packed = {name: np.packbits(mask) for name, mask in masks.items()}
    text = json.dumps({**record, "shape": shape})
    write_atomically(path, save(packed, metadata={"record": text}))


def _read(path: Path) -> tuple[dict[str, Mask], dict[str, Any]]:
    with safe_open(path, framework="numpy") as file:
        record = json.loads(file.metadata()["record"])
        packed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {k: _unpacked(v, record["shape"]) for k, v in packed.items()}, record


def _source_of(path: Path) -> str | None:
    if not path.exists():
        return None
    with safe_open(path, framework="numpy") as file:
        source: str = json.loads(file.metadata()["record"])["source_key"]
    return source


def _unpacked(packed: NDArray[np.uint8], shape: Sequence[int]) -> Mask:
    mask: Mask = np.unpackbits(packed, count=int(np.prod(shape))).astype(bool)
    return mask.reshape(shape)
