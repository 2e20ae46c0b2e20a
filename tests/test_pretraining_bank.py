from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import TrainingError
from model.pretraining.bank import (
    BREAST,
    TISSUE,
    BankPlan,
    bank_lattice,
    breast_slices,
    drawn_patient,
    open_bank,
    paint_patient,
)
from model.synthetic.band import END_MM, ends_mm
from model.synthetic.families import BOXY, HELD_OUT, TRAINING
from model.synthetic.patient import ImplantPlane
from model.synthetic.tissues import Tissue

PLAN = BankPlan(patients=2, seed=3)
DRAWS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    open_bank(folder, PLAN)
    return folder


@pytest.fixture(scope="module")
def patient(folder: Path) -> NDArray[np.uint8]:
    return np.array(open_bank(folder, PLAN).patient(0))


def test_every_breast_voxel_is_body(patient: NDArray[np.uint8]) -> None:
    inside = patient[patient >= BREAST] & TISSUE
    assert inside.size > 10_000
    assert not (inside == Tissue.AIR).any()
    assert inside.max() <= max(Tissue)


def test_breast_slices_follow_each_other_and_end_inside_the_lattice(
    patient: NDArray[np.uint8],
) -> None:
    slices = breast_slices(patient)
    assert np.array_equal(slices, np.arange(slices[0], slices[-1] + 1))
    assert slices[0] > 0
    assert slices[-1] < len(patient) - 1


def test_the_label_runs_on_from_slice_to_slice(patient: NDArray[np.uint8]) -> None:
    masks = patient >= BREAST
    whole = breast_slices(patient)[4:-4]  # 14 mm, the length of an end
    for below, above in zip(masks[whole], masks[whole[1:]], strict=False):
        assert 2 * (below & above).sum() / (below.sum() + above.sum()) > 0.85


def test_the_band_is_whole_within_an_ends_length_of_its_end() -> None:
    lower, upper = ends_mm(drawn_patient(PLAN, 0))
    assert upper - lower > 4 * END_MM


def test_a_bank_paints_only_the_patients_it_lacks(folder: Path) -> None:
    kept, lost = sorted(folder.glob("*.npy"))
    was = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    open_bank(folder, PLAN)
    assert (kept.stat().st_mtime_ns, lost.read_bytes()) == was


def test_a_bank_of_another_seed_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match="'seed': 3"):
        open_bank(folder, replace(PLAN, seed=4))


def test_a_patient_is_the_same_in_a_larger_bank(patient: NDArray[np.uint8]) -> None:
    assert np.array_equal(paint_patient(replace(PLAN, patients=99), 0), patient)


def test_training_never_draws_what_is_held_out() -> None:
    drawn = [drawn_patient(PLAN, number) for number in range(DRAWS)]
    assert max(p.chest.squareness for p in drawn) <= BOXY
    planes = {i.plane for p in drawn for i in p.implants}
    assert planes == {ImplantPlane.SUBGLANDULAR}


def test_held_out_families_are_beyond_training() -> None:
    rng = np.random.default_rng(0)
    boxy = HELD_OUT["boxy chest"](rng)
    under = HELD_OUT["implants under the muscle"](rng)
    assert boxy.chest.squareness > BOXY
    assert {i.plane for i in under.implants} == {ImplantPlane.SUBPECTORAL}


@pytest.mark.parametrize("family", TRAINING)
def test_every_family_keeps_to_its_name(family: str) -> None:
    patient = TRAINING[family](np.random.default_rng(1))
    right, left = patient.right, patient.left
    holds = {
        "small": max(right.projection_mm, left.projection_mm) <= 35,
        "lean": patient.chest.fat_mm <= 6,
        "large": min(right.projection_mm, left.projection_mm) >= 120,
        "ptotic": right.nipple_caudal_mm >= 0.25 * right.projection_mm,
        "asymmetric": right.projection_mm < left.projection_mm,
        "operated": right.density <= 0.3 and right.projection_mm < left.projection_mm,
        "one breast": len(patient.sides()) == 1,
        "implants": len(patient.implants) == 2,
        "ordinary": True,
    }
    assert holds[family]


def test_the_lattice_reaches_as_far_as_the_largest_breast() -> None:
    lattice = bank_lattice()
    # 190 mm are drawn at most, and the nipple stands on top
    assert lattice.y_mm[0] == pytest.approx(27 - 1.5 * 269 / 2)
    assert lattice.z_mm[-1] == pytest.approx(3.5 * 73 / 2)
