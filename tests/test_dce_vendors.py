"""The phantom's vendor styles, with their distractors, give back its pre and post."""

from pathlib import Path

import numpy as np
import pytest
from highdicom import Volume
from phantoms import patient_for, site_for

from model.phantom import PhantomCase, image_affine
from model.preprocess import ORIENTATION
from plugin.dce import choose
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.volumes import load_pair


def noise_case(seed: int) -> PhantomCase:
    """Return a case on a phantom's grid whose voxels are noise: no two are alike."""
    patient, site = patient_for(seed), site_for(seed)
    shape = (site.slices, site.rows, site.columns)
    rng = np.random.default_rng(seed)
    affine = image_affine(patient, site)
    phases = tuple(
        Volume(rng.integers(0, 4000, shape, np.uint16), affine, "PATIENT")
        for _ in range(6)
    )
    nothing = np.zeros(shape, np.bool_)
    return PhantomCase(patient, site, seed, phases, nothing, nothing)


@pytest.mark.parametrize("style", VendorStyle)
def test_the_pair_of_every_vendor_style_is_found(
    tmp_path: Path, style: VendorStyle
) -> None:
    case = noise_case(seed=3)
    write_session(case, tmp_path, style=style, session_id="one")
    pair = choose(tmp_path)
    assert pair.flags == ()
    assert pair.ignored["localiser"] == 9
    assert pair.ignored["T2-weighted"] > 0
    for volume, truth in zip(load_pair(pair), case.phases[:2], strict=True):
        ours = volume.to_patient_orientation(ORIENTATION)
        theirs = truth.to_patient_orientation(ORIENTATION)
        assert np.array_equal(ours.array, theirs.array)
        assert ours.affine == pytest.approx(theirs.affine, abs=1e-3)


@pytest.mark.parametrize("style", VendorStyle)
def test_the_first_post_phase_is_dated_from_the_pre_one(
    tmp_path: Path, style: VendorStyle
) -> None:
    case = noise_case(seed=4)
    write_session(case, tmp_path, style=style, session_id="one", distractors=False)
    pair = choose(tmp_path)
    assert pair.pre.time_s == 0.0
    assert pair.post.time_s == pytest.approx(case.site.protocol.first_post_s, abs=0.01)
