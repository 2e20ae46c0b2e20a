import json
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from highdicom.volume import VolumeGeometry
from phantoms import clean, coarsened, painted, patient_for, site_for

from model.bag import measure
from model.phantom import (
    Patient,
    PhantomCase,
    Side,
    Site,
    draw_patient,
    draw_site,
    image_affine,
    image_lattice,
    make_case,
)
from model.preprocess import place
from model.synthetic.anatomy import build_anatomy
from model.synthetic.patient import Arms, Implant, ImplantPlane, Kinetics, Lesion
from model.synthetic.site import FatSuppression, PhaseEncoding
from model.synthetic.tissues import Tissue, breast_regions

GRID_PX = 256
NEAR_SHARE_OF_GRID = 0.1
POPULATION = 60


def test_six_phases_share_one_canonical_grid_of_the_protocol() -> None:
    site = site_for(1)
    case = make_case(patient_for(1), site, seed=1)
    assert len(case.phases) == 6
    for volume in case.phases:
        assert volume.dtype == np.uint16
        assert volume.spatial_shape == (site.slices, site.rows, site.columns)
        assert [o.value for o in volume.get_closest_patient_orientation()] == [*"HPL"]
        assert volume.spacing == pytest.approx(
            (site.slice_mm, site.row_mm, site.column_mm)
        )
        assert np.array_equal(volume.affine, case.phases[0].affine)
    assert case.right.shape == case.left.shape == case.phases[0].spatial_shape


def test_the_same_arguments_give_the_same_voxels_and_another_seed_others() -> None:
    patient, site = patient_for(2), site_for(2)
    first, again, other = (make_case(patient, site, seed=s) for s in (5, 5, 6))
    for a, b in zip(first.phases, again.phases, strict=True):
        assert np.array_equal(a.array, b.array)
    assert np.array_equal(first.right, again.right)
    assert not np.array_equal(first.phases[0].array, other.phases[0].array)
    assert not np.array_equal(first.left, other.left)


def test_drawing_is_seeded_and_never_repeats_itself() -> None:
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    patients = [draw_patient(rng) for _ in range(5)]
    assert patients == [draw_patient(again) for _ in range(5)]
    assert len(set(patients)) == 5
    assert len({draw_site(rng) for _ in range(5)}) == 5


def test_masks_are_bright_disjoint_and_in_front() -> None:
    case = make_case(patient_for(4), clean(site_for(4)), seed=4)
    both = case.right | case.left
    pre = case.phases[0].array
    assert not (case.right & case.left).any()
    assert (pre[both] > 0).mean() > 0.97
    assert np.nonzero(both)[1].mean() < np.nonzero(~both & (pre > 0))[1].mean()


def test_leaving_the_skin_out_removes_the_rim_of_the_mask_alone() -> None:
    patient, site = patient_for(5), site_for(5, matrix_px=128)
    with_skin = make_case(patient, site, seed=5)
    without = make_case(patient, site, seed=5, include_skin=False)
    assert not (without.left & ~with_skin.left).any()
    assert 0.6 * with_skin.left.sum() < without.left.sum() < with_skin.left.sum()


def test_what_holds_blood_or_a_lesion_is_brighter_after_contrast() -> None:
    lesion = Lesion(
        Side.LEFT, 0.5, 0.0, 0.0, 14.0, 0.0, rim=False, kinetics=Kinetics.WASHOUT
    )
    patient = replace(
        patient_for(6), lesion=lesion, mastectomy=None, implants=(), motion_mm=0.0
    )
    site = clean(site_for(6, slices=30))
    labels, _ = painted(patient, site, 6)
    case = make_case(patient, site, seed=6)
    pre, post = (p.array.astype(float) for p in case.phases[:2])
    for tissue in (Tissue.BLOOD, Tissue.LESION):
        where = labels == tissue
        assert where.sum() > 20
        assert post[where].mean() > 1.2 * pre[where].mean(), tissue
    fat = labels == Tissue.FAT
    assert post[fat].mean() == pytest.approx(pre[fat].mean(), rel=0.1)


def test_a_mastectomy_leaves_one_side_empty() -> None:
    for side in Side:
        patient = replace(patient_for(7), mastectomy=side, lesion=None, implants=())
        case = make_case(patient, site_for(7), seed=7)
        masks = {Side.RIGHT: case.right, Side.LEFT: case.left}
        assert not masks.pop(side).any()
        assert next(iter(masks.values())).any()


def test_every_parameter_is_in_the_record_and_the_record_is_json() -> None:
    patient = replace(
        patient_for(8),
        implants=(Implant(Side.LEFT, ImplantPlane.SUBPECTORAL, 50.0, 30.0),),
    )
    case = make_case(patient, site_for(8), seed=8)
    record = case.record()
    assert json.loads(json.dumps(record)) == record
    assert leaves(record) == 2 + leaves(patient) + leaves(case.site)
    assert record["seed"] == 8
    assert record["patient"]["implants"][0]["side"] == "left"  # type: ignore[index]


def leaves(value: object) -> int:
    """Count the values a nested record or dataclass holds."""
    if hasattr(value, "__dataclass_fields__"):
        return sum(leaves(getattr(value, f)) for f in value.__dataclass_fields__)
    if isinstance(value, dict):
        return sum(leaves(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return sum(leaves(v) for v in value)
    return 1


def bag_of(number: int) -> tuple[int, int]:
    """Return nearest point and breast size of a drawn case, px of the 256 grid."""
    rng = np.random.default_rng([2008, number])
    patient, site = draw_patient(rng), coarsened(draw_site(rng), columns=64, slices=16)
    grid = image_lattice(patient, clean(site))
    anatomy = build_anatomy(patient, grid, np.random.default_rng(number))
    masks = breast_regions(anatomy, grid, anatomy.body)
    mask = np.logical_or.reduce(list(masks.values()))
    shape = (site.slices, site.rows, site.columns)
    geometry = VolumeGeometry(
        image_affine(patient, site), shape, coordinate_system="PATIENT"
    )
    placement = place(geometry, 64)
    bag = measure(mask, placement, source="annotation")
    scale = GRID_PX // 64
    return scale * bag.nearest_point_px, scale * bag.breast_size_px


def test_the_population_spreads_as_in_the_paper() -> None:
    nearest, size = np.array([bag_of(i) for i in range(POPULATION)]).T
    near = (nearest < NEAR_SHARE_OF_GRID * GRID_PX).mean()
    assert 0.10 <= near <= 0.35
    assert (nearest == 0).mean() <= 0.07
    assert 95 <= np.median(size) <= 145
    assert np.percentile(size, 5) < 100
    assert np.percentile(size, 95) > 145
    assert np.percentile(nearest, 90) - np.percentile(nearest, 10) > 25


def test_default_protocols_are_those_of_real_breast_mr() -> None:
    sites = [draw_site(np.random.default_rng(i)) for i in range(60)]
    assert {s.protocol.fat_suppression for s in sites} == set(FatSuppression)
    assert all(40 <= s.slices <= 150 for s in sites)
    assert all(1.0 <= s.slice_mm <= 4.5 for s in sites)
    assert all(0.5 <= s.column_mm <= 1.6 for s in sites)
    assert any(s.rows != s.columns for s in sites)
    assert all(160 <= s.slices * s.slice_mm <= 220 for s in sites)


def test_a_small_site_keeps_the_field_of_view() -> None:
    whole = draw_site(np.random.default_rng(9))
    small = draw_site(np.random.default_rng(9), slices=12, matrix_px=48)
    assert (small.slices, small.rows, small.columns) == (12, 48, 48)
    assert small.fov_columns_mm == whole.fov_columns_mm
    assert small.slices * small.slice_mm == pytest.approx(
        whole.slices * whole.slice_mm, rel=0.01
    )


OPTIONS: dict[str, tuple[object, ...]] = {
    "fat": tuple(FatSuppression),
    "encoding": tuple(PhaseEncoding),
    "arms": tuple(Arms),
    "mastectomy": (None, *Side),
    "implant": (None, *ImplantPlane),
    "lesion": (None, *Kinetics),
    "skin": (True, False),
    "faults": ("none", "all"),
}


def pairwise() -> list[dict[str, object]]:
    """Return few rows in which every pair of option values meets at least once."""
    names = list(OPTIONS)
    rows = [dict(zip(names, row, strict=True)) for row in product(*OPTIONS.values())]
    wanted = {
        ((a, x), (b, y))
        for a, b in combinations(names, 2)
        for x in OPTIONS[a]
        for y in OPTIONS[b]
    }
    chosen = []
    while wanted:
        best = max(rows[:: 1 + len(rows) // 400], key=lambda r: len(pairs(r) & wanted))
        if not pairs(best) & wanted:
            best = max(rows, key=lambda r: len(pairs(r) & wanted))
        chosen.append(best)
        wanted -= pairs(best)
    return chosen


def pairs(row: dict[str, object]) -> set[tuple[tuple[str, object], ...]]:
    return set(combinations(row.items(), 2))


def case_of(row: dict[str, object], seed: int) -> PhantomCase:
    base, site = patient_for(seed), site_for(seed, slices=6, matrix_px=48)
    rest = [s for s in Side if s is not row["mastectomy"]]
    kinetics, plane = row["lesion"], row["implant"]
    lesion = Lesion(
        rest[0], 0.4, 1.0, 0.3, 9.0, 0.3, rim=True, kinetics=Kinetics.PLATEAU
    )
    implant = Implant(rest[-1], ImplantPlane.SUBGLANDULAR, 48.0, 32.0)
    patient: Patient = replace(
        base,
        arms=row["arms"],  # type: ignore[arg-type]
        mastectomy=row["mastectomy"],  # type: ignore[arg-type]
        lesion=kinetics and replace(lesion, kinetics=kinetics),  # type: ignore[arg-type]
        implants=(replace(implant, plane=plane),) if plane else (),  # type: ignore[arg-type]
    )
    site = faulty(site) if row["faults"] == "all" else clean(site)
    protocol = replace(
        site.protocol,
        fat_suppression=row["fat"],  # type: ignore[arg-type]
        phase_encoding=row["encoding"],  # type: ignore[arg-type]
    )
    site = replace(site, protocol=protocol)
    return make_case(patient, site, seed=seed, include_skin=bool(row["skin"]))


def faulty(site: Site) -> Site:
    """Return the site with every fault at once."""
    return replace(
        site,
        faults=replace(
            site.faults,
            coil_depth_mm=110.0,
            coil_imbalance=0.4,
            bias=0.25,
            flare=0.6,
            halo=0.15,
            fat_failure=0.3,
            noise=0.05,
            ghosting=0.08,
            wrap=0.6,
            pedestal=0.03,
        ),
    )


@pytest.mark.parametrize(
    "row", [pytest.param(r, id=str(i)) for i, r in enumerate(pairwise())]
)
def test_any_two_options_together_give_a_usable_case(row: dict[str, object]) -> None:
    case = case_of(row, seed=31)
    masks = {Side.RIGHT: case.right, Side.LEFT: case.left}
    for side, mask in masks.items():
        assert mask.any() == (side is not row["mastectomy"])
    assert not (case.right & case.left).any()
    for volume in case.phases:
        assert volume.array.max() > 10 * max(np.median(volume.array[:, :3]), 1)
    assert json.dumps(case.record())
