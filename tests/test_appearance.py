from dataclasses import replace

import numpy as np
import pytest
from phantoms import clean, patient_for, site_for

from model.phantom import Side, Site, make_case
from model.synthetic.appearance import ARTERIAL, POST_PHASES, draw_contrast
from model.synthetic.patient import Kinetics, Lesion
from model.synthetic.site import FatSuppression, PhaseEncoding
from model.synthetic.tissues import TISSUES, Tissue

PLATEAU = Lesion(
    Side.LEFT, 0.5, 0.0, 0.0, 12.0, 0.0, rim=False, kinetics=Kinetics.PLATEAU
)


def with_suppression(site: Site, suppression: FatSuppression) -> Site:
    protocol = replace(site.protocol, fat_suppression=suppression, contrast_spread=0.0)
    return replace(site, protocol=protocol)


def tables(site: Site, seed: int = 0, **changes: object) -> list[np.ndarray]:
    patient = replace(patient_for(seed), **changes)  # type: ignore[arg-type]
    contrast = draw_contrast(site.protocol, patient, np.random.default_rng(seed))
    return list(contrast.phases)


def test_there_are_a_pre_and_five_post_tables_with_black_air() -> None:
    phases = tables(site_for(0))
    assert len(phases) == 1 + POST_PHASES
    assert {p.shape for p in phases} == {(TISSUES,)}
    assert all(p[Tissue.AIR] == 0 for p in phases)
    assert all((p[1:] > 0).all() for p in phases)


def test_suppression_makes_fat_darker_than_gland_and_its_absence_brighter() -> None:
    bright, dark = (
        tables(with_suppression(site_for(1), s))[0]
        for s in (FatSuppression.NONE, FatSuppression.FULL)
    )
    assert bright[Tissue.FAT] > 1.5 * bright[Tissue.GLAND]
    assert dark[Tissue.FAT] < 0.6 * dark[Tissue.GLAND]


def test_failing_suppression_can_return_just_the_fat_it_took() -> None:
    site = with_suppression(site_for(1), FatSuppression.FULL)
    contrast = draw_contrast(site.protocol, patient_for(1), np.random.default_rng(1))
    whole = contrast.phases[0] + contrast.lost_fat
    assert whole[Tissue.FAT] == pytest.approx(1.0)
    assert contrast.lost_fat[Tissue.MUSCLE] == 0


@pytest.mark.parametrize("tissue", [Tissue.BLOOD, Tissue.VESSEL, Tissue.LESION])
def test_what_takes_up_contrast_is_brighter_in_every_post_phase(tissue: Tissue) -> None:
    pre, *posts = tables(site_for(2), lesion=PLATEAU)
    assert all(post[tissue] > 1.25 * pre[tissue] for post in posts)


def test_fat_keeps_its_signal() -> None:
    pre, *posts = tables(site_for(2))
    assert all(post[Tissue.FAT] == pre[Tissue.FAT] for post in posts)


def test_blood_peaks_first_and_follows_the_arterial_curve() -> None:
    pre, *posts = tables(site_for(3))
    rise = np.array([post[Tissue.BLOOD] / pre[Tissue.BLOOD] - 1 for post in posts])
    assert rise / rise[0] == pytest.approx(np.array(ARTERIAL) / ARTERIAL[0], rel=1e-3)


@pytest.mark.parametrize(
    ("kinetics", "late"),
    [
        (Kinetics.PERSISTENT, 1 / 0.6),
        (Kinetics.PLATEAU, 0.99 / 0.9),
        (Kinetics.WASHOUT, 0.71),
    ],
)
def test_a_lesion_follows_its_kinetics(kinetics: Kinetics, late: float) -> None:
    pre, first, *_, last = tables(
        site_for(4), lesion=replace(PLATEAU, kinetics=kinetics)
    )
    rise = [phase[Tissue.LESION] - pre[Tissue.LESION] for phase in (first, last)]
    assert rise[1] / rise[0] == pytest.approx(late, rel=1e-3)


def test_patients_of_one_site_look_alike_and_sites_differ() -> None:
    site, other = site_for(5), site_for(6)
    one, two = (tables(site, seed=s)[0] for s in (1, 2))
    elsewhere = tables(other, seed=1)[0]
    body = slice(Tissue.AIR + 1, None)
    assert np.abs(np.log(one[body] / two[body])).max() < 0.4
    assert np.abs(np.log(one[body] / elsewhere[body])).max() > 0.4


def test_without_faults_air_is_black_and_with_noise_it_is_rician() -> None:
    site = clean(site_for(7))
    silent = make_case(patient_for(7), site, seed=7).phases[0].array
    corner = (slice(None), slice(0, 4), slice(0, 4))
    assert not silent[corner].any()
    sigma = 0.04
    noisy = replace(site, faults=replace(site.faults, noise=sigma))
    air = make_case(patient_for(7), noisy, seed=7).phases[0].array[corner]
    # mean of a Rayleigh distribution
    expected = sigma * np.sqrt(np.pi / 2) * site.protocol.gain
    assert air.mean() == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("encoding", list(PhaseEncoding))
def test_ghosts_of_the_heart_fall_along_the_phase_encoding(
    encoding: PhaseEncoding,
) -> None:
    site = clean(site_for(8))
    site = replace(site, protocol=replace(site.protocol, phase_encoding=encoding))
    ghosted = replace(site, faults=replace(site.faults, ghosting=0.08))
    plain, ghosts = (
        make_case(patient_for(8), s, seed=8).phases[1].array.astype(float)
        for s in (site, ghosted)
    )
    added = ghosts - plain
    assert added.min() > -1.5
    assert added.max() > 0.05 * plain.max()
    # a ghost moves signal along one axis: sums across the other keep their profile
    across = (0, site.phase_axis)
    profile, extra = plain.sum(axis=across), added.sum(axis=across)
    silent = profile == 0
    assert extra[silent].sum() <= 1e-3 * extra.sum()


@pytest.mark.parametrize("encoding", list(PhaseEncoding))
def test_wrap_adds_signal_at_the_edges_of_the_phase_encoding(
    encoding: PhaseEncoding,
) -> None:
    site = clean(site_for(9))
    site = replace(
        site,
        protocol=replace(site.protocol, phase_encoding=encoding),
        fov_columns_mm=300.0,
        fov_rows_mm=300.0,
    )
    folded = replace(site, faults=replace(site.faults, wrap=0.8))
    assert max(folded.margins_px) == round(0.1 * 64)
    plain, wrapped = (
        make_case(patient_for(9), s, seed=9).phases[0] for s in (site, folded)
    )
    assert wrapped.spatial_shape == plain.spatial_shape
    assert np.array_equal(wrapped.affine, plain.affine)


def test_a_patient_who_keeps_still_differs_from_one_who_moves() -> None:
    site = clean(site_for(10))
    still, moving = (
        make_case(replace(patient_for(10), motion_mm=mm), site, seed=10)
        for mm in (0.0, 12.0)
    )
    assert np.array_equal(still.phases[0].array, moving.phases[0].array)
    assert np.array_equal(still.left, moving.left)
    assert not np.array_equal(still.phases[1].array, moving.phases[1].array)


def test_a_shallow_coil_darkens_the_depth() -> None:
    site = clean(site_for(11))
    case = [
        make_case(
            patient_for(11),
            replace(site, faults=replace(site.faults, coil_depth_mm=depth)),
            seed=11,
        ).phases[0]
        for depth in (90.0, 400.0)
    ]
    deep = [c.array[:, -10:].mean() / c.array[:, 20:40].mean() for c in case]
    assert deep[0] < 0.6 * deep[1]
