"""A bank of synthetic anatomies on disk: labels and masks of many patients.

Painting a patient in three dimensions takes seconds, drawing a slice from one
milliseconds. So pretraining paints each patient once, whole from liver to axilla, and
images it anew whenever it draws a slice. One byte a voxel: the tissue, and ``BREAST``
where the mask is. Patient ``n`` of a seed is always the same.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.atomic import write_atomically
from model.errors import TrainingError
from model.phantom import VERSION, build_body
from model.synthetic.families import draw_training_patient
from model.synthetic.lattice import Lattice, centred_axis
from model.synthetic.patient import Patient
from model.synthetic.tissues import Labels, paint

BREAST = np.uint8(128)
TISSUE = np.uint8(127)
SLICE_MM, PIXEL_MM = 3.5, 1.5
SHAPE = 74, 270, 268
MIDDLE_Y_MM = 27.0
"""The lattice reaches from 175 mm in front of the sternal skin to 229 mm behind it."""


def bank_lattice() -> Lattice:
    """Return where the voxels of every patient of a bank lie."""
    slices, rows, columns = SHAPE
    return Lattice(
        centred_axis(slices, SLICE_MM, 0.0),
        centred_axis(rows, PIXEL_MM, MIDDLE_Y_MM),
        centred_axis(columns, PIXEL_MM, 0.0),
    )


@dataclass(frozen=True, slots=True)
class BankPlan:
    """What decides the contents of a bank."""

    patients: int
    seed: int
    phantom_version: int = VERSION


@dataclass(frozen=True, slots=True)
class Bank:
    """The painted patients under ``folder``, read where they lie."""

    folder: Path
    plan: BankPlan

    def patient(self, number: int) -> Labels:
        """Return one patient's bytes (slices, rows, columns), mapped, not read."""
        mapped = np.load(_path(self.folder, number), mmap_mode="r")
        labels: Labels = mapped.view(np.ndarray)
        return labels


def drawn_patient(plan: BankPlan, number: int) -> Patient:
    """Return the parameters of one patient of a bank."""
    return draw_training_patient(np.random.default_rng([plan.seed, number, 0]))


def paint_patient(plan: BankPlan, number: int) -> Labels:
    """Return one patient's bytes: tissue, and ``BREAST`` inside the mask."""
    grid = bank_lattice()
    rng = np.random.default_rng([plan.seed, number, 1])
    body = build_body(drawn_patient(plan, number), grid, rng)
    labels, masks = paint(body, grid)
    for mask in masks.values():
        labels[mask] |= BREAST
    return labels


def open_bank(folder: Path, plan: BankPlan, *, workers: int = 1) -> Bank:
    """Return the bank of ``plan``, painting the patients that ``folder`` lacks.

    Raises
    ------
    TrainingError
        If the folder holds a bank of another seed or phantom version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_plan(folder / "bank.json", plan)
    missing = [n for n in range(plan.patients) if not _path(folder, n).exists()]
    for _ in tqdm(_painted(folder, plan, missing, workers), total=len(missing)):
        pass
    return Bank(folder, plan)


def _painted(
    folder: Path, plan: BankPlan, numbers: list[int], workers: int
) -> Iterable[None]:
    jobs = [(folder, plan, number) for number in numbers]
    if workers <= 1 or len(jobs) <= 1:
        yield from map(_store, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_store, jobs)


def _store(job: tuple[Path, BankPlan, int]) -> None:
    folder, plan, number = job
    path = _path(folder, number)
    beside = path.with_suffix(".part")
    with beside.open("wb") as file:
        np.save(file, paint_patient(plan, number))
    beside.replace(path)


def _check_plan(path: Path, plan: BankPlan) -> None:
    wanted = {k: v for k, v in asdict(plan).items() if k != "patients"}
    if not path.exists():
        write_atomically(path, json.dumps(wanted).encode())
        return
    found = json.loads(path.read_text())
    if found != wanted:
        raise TrainingError(
            str(path),
            found=f"anatomies of {found}",
            needed=f"anatomies of {wanted}",
            mend="delete the folder, or choose another work folder",
        )


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npy"


def breast_slices(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the slices that hold breast."""
    return np.flatnonzero((labels & BREAST).any(axis=(1, 2)))
