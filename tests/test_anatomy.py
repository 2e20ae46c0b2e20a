from dataclasses import fields, replace

import numpy as np
import pytest
from phantoms import clean, painted, patient_for, site_for

from model.phantom import Patient, Side, build_body, image_lattice
from model.synthetic.anatomy import build_anatomy, chest_front_mm
from model.synthetic.organs import lesion_centre
from model.synthetic.patient import (
    Arms,
    Implant,
    ImplantPlane,
    Kinetics,
    Lesion,
)
from model.synthetic.tissues import Tissue

SEEDS = range(6)
INSIDE_CHEST = (Tissue.LUNG, Tissue.BLOOD, Tissue.LIVER, Tissue.MYOCARDIUM)
LESION = Lesion(
    Side.LEFT, 0.5, 0.0, 0.0, 12.0, 0.0, rim=False, kinetics=Kinetics.PLATEAU
)


def upright(patient: Patient) -> Patient:
    """Return the patient square on the table."""
    return replace(patient, shift_x_mm=0.0, shift_z_mm=0.0, roll_deg=0.0, pitch_deg=0.0)


def whole(patient: Patient) -> Patient:
    """Return the patient with two breasts and nothing inserted."""
    return replace(patient, mastectomy=None, implants=(), lesion=None)


def test_the_sternal_skin_at_breast_height_is_the_origin() -> None:
    for seed in SEEDS:
        assert chest_front_mm(patient_for(seed).chest, 0.0, 0.0) == pytest.approx(0.0)


def test_an_elliptic_chest_falls_back_as_an_ellipse() -> None:
    chest = replace(patient_for(1).chest, squareness=2.0, depth_mm=200.0)
    lateral_mm = 0.6 * chest.half_width_mm
    # (1 - sqrt(1 - 0.6^2)) of half the depth
    assert chest_front_mm(chest, lateral_mm, 0.0) == pytest.approx(0.2 * 100)
    assert chest_front_mm(chest, -lateral_mm, 0.0) == pytest.approx(0.2 * 100)


def test_every_field_is_float32_on_the_coarse_lattice() -> None:
    patient, site = patient_for(2), site_for(2)
    body = build_body(patient, image_lattice(patient, site), np.random.default_rng(0))
    shape = body.anatomy.lattice.shape
    for part in (body.anatomy, body.thorax, body.contents, body.anatomy.point):
        for field in fields(part):
            values = getattr(part, field.name)
            arrays = values.values() if isinstance(values, dict) else [values]
            for array in arrays:
                if isinstance(array, np.ndarray):
                    assert (array.dtype, array.shape) == (np.float32, shape), field.name


@pytest.mark.parametrize("seed", SEEDS)
def test_the_breast_reaches_as_far_forward_as_its_projection(seed: int) -> None:
    patient = upright(whole(patient_for(seed)))
    site = site_for(seed, slices=40, matrix_px=96)
    _, masks = painted(patient, site, seed)
    grid = image_lattice(patient, site)
    for side in Side:
        breast = patient.breast(side)
        front = grid.y_mm[np.flatnonzero(masks[side].any(axis=(0, 2)))[0]]
        # the bend of space moves the tip; the nipple adds at most 1.4 of its radius
        reach = breast.projection_mm + 0.7 * breast.nipple_mm
        assert -front == pytest.approx(reach, abs=14), side


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_hold_body_in_front_of_the_muscle_and_never_overlap(seed: int) -> None:
    patient = patient_for(seed)
    labels, masks = painted(patient, site_for(seed), seed)
    right, left = masks[Side.RIGHT], masks[Side.LEFT]
    assert not (right & left).any()
    inside = labels[right | left]
    assert inside.size > 0
    assert not (inside == Tissue.AIR).any()
    assert not np.isin(inside, INSIDE_CHEST).any()
    assert np.isin(inside, (Tissue.BONE, Tissue.MARROW)).mean() < 0.002


def test_right_lies_on_the_patients_right() -> None:
    patient = upright(whole(patient_for(3)))
    site = site_for(3)
    _, masks = painted(patient, site, 3)
    columns = [np.flatnonzero(masks[s].any(axis=(0, 1))) for s in Side]
    assert columns[0].mean() < site.columns / 2 < columns[1].mean()
    assert columns[0].max() <= columns[1].min() + 3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_mask_tapers_at_both_ends_instead_of_jumping(seed: int) -> None:
    patient = whole(patient_for(seed))
    site = site_for(seed, slices=60, matrix_px=96)
    _, masks = painted(patient, site, seed)
    area = (masks[Side.RIGHT] | masks[Side.LEFT]).sum(axis=(1, 2)) / 1.0
    steps = np.abs(np.diff(area)) * (3.0 / site.slice_mm)
    assert steps.max() < 0.12 * area.max()
    ends = np.flatnonzero(area)[[0, -1]]
    for end in ends:
        if 0 < end < site.slices - 1:
            assert area[end] < 0.05 * area.max()


def test_density_sets_the_share_of_gland() -> None:
    patient = whole(patient_for(4))
    shares = []
    for density in (0.1, 0.3, 0.6):
        left = replace(patient.left, density=density)
        labels, masks = painted(replace(patient, left=left), site_for(4), 4)
        shares.append((labels[masks[Side.LEFT]] == Tissue.GLAND).mean())
    assert shares == pytest.approx([0.1, 0.3, 0.6], rel=0.35)
    assert shares == sorted(shares)


def test_a_mastectomy_removes_one_side_and_its_projection() -> None:
    patient = replace(whole(patient_for(5)), mastectomy=Side.LEFT)
    labels, masks = painted(patient, site_for(5), 5)
    assert not masks[Side.LEFT].any()
    assert masks[Side.RIGHT].any()
    grid = image_lattice(patient, site_for(5))
    forward = labels[:, grid.y_mm < -35][:, :, grid.x_mm > 30]
    assert not forward.any()


def test_a_lesion_is_a_ball_of_its_radius_inside_its_breast() -> None:
    patient = replace(upright(whole(patient_for(6))), lesion=LESION)
    site = site_for(6, slices=40, matrix_px=128)
    labels, masks = painted(patient, site, 6)
    found = labels == Tissue.LESION
    assert masks[Side.LEFT][found].all()
    voxel_mm3 = site.row_mm * site.column_mm * site.slice_mm
    ball_mm3 = 4 / 3 * np.pi * LESION.radius_mm**3
    assert found.sum() * voxel_mm3 == pytest.approx(ball_mm3, rel=0.35)
    grid = image_lattice(patient, site)
    axes = (grid.z_mm, grid.y_mm, grid.x_mm)
    middle = [a[i].mean() for a, i in zip(axes, np.nonzero(found), strict=True)]
    assert middle == pytest.approx(lesion_centre(patient, LESION), abs=14)


@pytest.mark.parametrize("plane", list(ImplantPlane))
def test_an_implant_lies_in_its_breast_alone(plane: ImplantPlane) -> None:
    implant = Implant(Side.RIGHT, plane, radius_mm=50.0, thickness_mm=35.0)
    patient = replace(whole(patient_for(7)), implants=(implant,))
    labels, masks = painted(patient, site_for(7), 7)
    found = labels == Tissue.IMPLANT
    assert found.sum() > 50
    assert not (found & masks[Side.LEFT]).any()
    assert (found & masks[Side.RIGHT]).sum() > 0.8 * found.sum()


def test_each_implant_has_the_cover_of_its_own_plane() -> None:
    planes = dict(zip(Side, ImplantPlane, strict=True))
    implants = tuple(Implant(side, p, 50.0, 35.0) for side, p in planes.items())
    patient = whole(patient_for(7))
    bare, _ = painted(patient, site_for(7), 7)
    labels, masks = painted(replace(patient, implants=implants), site_for(7), 7)
    new_muscle = (labels == Tissue.MUSCLE) & (bare != Tissue.MUSCLE)
    for side, plane in planes.items():
        covered = (new_muscle & masks[side]).any()
        assert covered == (plane is ImplantPlane.SUBPECTORAL)


@pytest.mark.parametrize("arms", list(Arms))
def test_arms_are_never_breast(arms: Arms) -> None:
    patient = replace(patient_for(8), arms=arms)
    site = clean(site_for(8))
    grid = image_lattice(patient, site)
    body = build_body(patient, grid, np.random.default_rng([8, 0]))
    _, masks = painted(patient, site, 8)
    inside_arms = body.on(body.anatomy.arms, grid) < 0
    assert inside_arms.any() == (arms is not Arms.OUTSIDE)
    assert not (inside_arms & (masks[Side.LEFT] | masks[Side.RIGHT])).any()


def test_the_same_generator_builds_the_same_anatomy() -> None:
    patient, site = patient_for(9), site_for(9)
    coarse = image_lattice(patient, site).coarse(3.0)
    first, again, other = (
        build_anatomy(patient, coarse, np.random.default_rng(s)).body for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
