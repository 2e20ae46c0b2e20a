"""Cold-start regions: the known front is found under faults, other bodies refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from bodies import Image, Prone, rician
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from model.bag import BagFeatures, measure
from model.boundary import BreastRegion, find_region, reduced
from model.errors import RegionError
from model.gates import Signals, judge

BODY = Prone()
IN_PLANE = np.ones((1, 3, 3), bool)


def bag_of(region: BreastRegion, body: Prone = BODY) -> BagFeatures:
    return measure(region.mask, body.placement, source="boundary")


def columns(image: Image) -> Image:
    return np.linspace(-1, 1, image.shape[2], dtype=np.float32)[None, None]


def rows(image: Image) -> Image:
    return np.linspace(0, 1, image.shape[1], dtype=np.float32)[None, :, None]


def shaded_front_to_back(image: Image) -> Image:
    return rician(image * 10 ** -rows(image), 0.004)


def shaded_sideways(image: Image) -> Image:
    return rician(image * 5 ** (columns(image) / 2), 0.01)


def one_weak_coil(image: Image) -> Image:
    weak = np.where(columns(image) > 0, 0.25, 1).astype(np.float32)
    return rician(image * weak, 0.01)


def hot_spot(image: Image) -> Image:
    off = (columns(image) + 0.4) ** 2 + (rows(image) - 0.3) ** 2
    return image * (1 + 5 * np.exp(-off / 0.05)).astype(np.float32)


def heavy_noise(image: Image) -> Image:
    return rician(image, 0.2)


def halo(image: Image) -> Image:
    leak = ndimage.gaussian_filter(image, (0, 3, 3))
    haloed: Image = np.maximum(image, np.float32(0.25) * leak)
    return haloed


def dark_fat(image: Image) -> Image:
    """Suppress fat: only glands, heart and a rim of skin stay bright."""
    inside = ndimage.binary_erosion(image > 0.5, IN_PLANE, iterations=3)
    gland = ndimage.binary_erosion(inside, IN_PLANE, iterations=5)
    return np.where(inside & ~gland, 0.2 * image, image).astype(np.float32)


def arms_beside(image: Image) -> Image:
    r, c = np.mgrid[: image.shape[1], : image.shape[2]]
    arm = (r - 65) ** 2 + (np.minimum(c, image.shape[2] - 1 - c) - 4) ** 2 < 36
    return np.where(arm, 0.8, image).astype(np.float32)


def arms_touching(image: Image) -> Image:
    r, c = np.mgrid[: image.shape[1], : image.shape[2]]
    arm = (r - 65) ** 2 + (np.minimum(c, image.shape[2] - 1 - c) - 7) ** 2 < 64
    arm = arm & (np.arange(len(image)) > 15)[:, None, None]
    return np.where(arm, 0.8, image).astype(np.float32)


def weak_ghost(image: Image) -> Image:
    return image + 0.05 * np.roll(image, -35, axis=1)


def wrapped_back(image: Image) -> Image:
    wrapped = image.copy()
    wrapped[:, :8] += 0.6
    return wrapped


def gamma(image: Image) -> Image:
    return image**2.2


def eight_bit(image: Image) -> Image:
    return np.clip(np.round(image * 200), 0, 255)


def no_background(image: Image) -> Image:
    return np.where(image < 0.06, 0, image)


def raised_background(image: Image) -> Image:
    return image + 0.1


FAULTS: list[Callable[[Image], Image]] = [
    shaded_front_to_back,
    shaded_sideways,
    one_weak_coil,
    hot_spot,
    heavy_noise,
    halo,
    dark_fat,
    arms_beside,
    arms_touching,
    weak_ghost,
    wrapped_back,
    gamma,
    eight_bit,
    no_background,
    raised_background,
]


@settings(max_examples=8, deadline=None)
@given(
    near_mm=st.floats(15, 90),
    projection_mm=st.floats(30, 110),
    half_width_mm=st.floats(125, 160),
)
def test_a_clean_body_is_measured_within_one_pixel(
    near_mm: float, projection_mm: float, half_width_mm: float
) -> None:
    body = Prone(near_mm, projection_mm, half_width_mm)
    region = find_region(body.image(), body.placement)
    features = bag_of(region, body)
    assert features.nearest_point_mm == pytest.approx(near_mm, abs=1.5 * body.mm_per_px)
    assert features.sternal_size_mm == pytest.approx(
        projection_mm, abs=2.0 * body.mm_per_px
    )
    assert (region.confidence, region.flags) == (1.0, ())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_front_survives(fault: Callable[[Image], Image]) -> None:
    features = bag_of(find_region(fault(BODY.image()), BODY.placement))
    assert features.nearest_point_px == pytest.approx(23, abs=2)
    assert features.sternal_size_px == pytest.approx(80 / 2.6, abs=3)


@pytest.mark.parametrize("share", [0.1, 0.15, 0.3])
def test_strong_ghosts_are_seen_through_or_flagged(share: float) -> None:
    image = BODY.image()
    ghosted = image + share * np.roll(image, -40, axis=1)
    region = find_region(ghosted, BODY.placement)
    right = abs(bag_of(region).nearest_point_px - 23) <= 2
    assert right or region.confidence < 0.75


def test_any_intensity_scale_gives_the_same_region() -> None:
    image = BODY.image()
    region = find_region(image, BODY.placement)
    scaled = find_region(image * 1234, BODY.placement)
    assert np.array_equal(region.mask, scaled.mask)
    assert scaled.signals.contrast == pytest.approx(region.signals.contrast, rel=1e-3)


def test_mirrored_and_reversed_bodies_keep_their_features() -> None:
    body = Prone(right=True, left=True, apart_mm=130)
    image = body.image()
    image[:, :, 70:] *= 0.8
    plain = bag_of(find_region(image, body.placement), body)
    for other in (image[:, :, ::-1], image[::-1]):
        features = bag_of(find_region(np.ascontiguousarray(other), body.placement))
        assert features.nearest_point_px == plain.nearest_point_px
        assert features.breast_size_px == pytest.approx(plain.breast_size_px, abs=1)


@pytest.mark.parametrize("grid_px", [96, 128, 256])
def test_grids_agree_in_millimetres(grid_px: int) -> None:
    body = Prone(grid_px=grid_px)
    region = find_region(body.image(), body.placement)
    assert region.mask.shape == (body.slices, grid_px, grid_px)
    features = bag_of(region, body)
    assert features.nearest_point_mm == pytest.approx(60, abs=4)
    assert features.sternal_size_mm == pytest.approx(80, abs=6)


@pytest.mark.parametrize("slice_mm", [1.1, 4.0])
def test_thin_and_thick_slices_agree(slice_mm: float) -> None:
    body = Prone(slice_mm=slice_mm, slices=round(168 / slice_mm))
    region = find_region(body.image(), body.placement)
    assert len(region.mask) == body.slices
    assert bag_of(region, body).nearest_point_mm == pytest.approx(60, abs=4)


@pytest.mark.parametrize(
    ("slice_mm", "group", "means"),
    [(2.6, 1, [1, 3, 8, 4, 6]), (1.3, 2, [2, 6, 6]), (0.9, 3, [4, 5])],
)
def test_slices_thinner_than_a_pixel_are_averaged(
    slice_mm: float, group: int, means: list[float]
) -> None:
    pre = np.ones((5, 128, 128), np.float32)
    pre *= np.array([1, 3, 8, 4, 6], np.float32)[:, None, None]
    scan = reduced(pre, Prone(slice_mm=slice_mm, slices=5).placement)
    assert scan.voxels[:, 64, 64].tolist() == pytest.approx(means)
    assert scan.slice_mm == pytest.approx(slice_mm * group)


def test_padding_is_never_breast_and_not_counted() -> None:
    body = Prone(near_mm=20, projection_mm=50, top_px=16)
    region = find_region(body.image(), body.placement)
    assert not region.mask[:, :16].any()
    assert bag_of(region, body).nearest_point_mm == pytest.approx(20, abs=4)


def test_the_region_lies_in_the_body_and_before_the_lungs() -> None:
    region = find_region(BODY.image(), BODY.placement)
    body = ndimage.binary_dilation(BODY.tissue(), IN_PLANE)
    assert (region.mask & ~body).sum() < 0.01 * region.mask.sum()
    sternum_px = round((60 + 80) / BODY.mm_per_px)
    assert not region.mask[:, sternum_px + round(50 / BODY.mm_per_px) :].any()
    lobes = BODY.tissue()
    lobes[:, sternum_px:] = False
    assert (region.mask & lobes).sum() > 0.97 * lobes.sum()


def test_breasts_that_touch_do_not_hide_the_sternum() -> None:
    body = Prone(apart_mm=108)
    image = body.image()
    closed = slice(9, 15)
    image[closed, 30:, 58:70] = 1.0
    features = bag_of(find_region(image, body.placement), body)
    assert features.sternal_size_mm == pytest.approx(80, abs=8)


def test_breasts_cut_off_by_the_image_are_flagged() -> None:
    body = Prone(near_mm=-12)
    region = find_region(body.image(), body.placement)
    assert region.flags == ("front-cut",)
    assert region.confidence < 1
    assert bag_of(region, body).nearest_point_px == 0


def test_a_lone_breast_is_flagged_and_measured() -> None:
    body = Prone(right=False)
    region = find_region(body.image(), body.placement)
    features = bag_of(region, body)
    assert region.flags == ("one-sided",)
    assert features.nearest_point_px == pytest.approx(23, abs=1)
    assert features.left_ml > 2 * features.right_ml


def sagittal(image: Image) -> Image:
    longer = np.repeat(image, 4, axis=0)[:96].transpose(2, 1, 0)
    wide = np.zeros_like(image, shape=(128, 128, 128))
    wide[:, :, 16:112] = longer
    return wide[30:98]


def half(image: Image) -> Image:
    kept = image.copy()
    kept[:, :, 64:] = rician(np.full_like(kept[:, :, 64:], 0.02), 0.01)
    return kept


def body_without_breasts() -> Image:
    return Prone(right=False, left=False).image()


WRONG: dict[str, tuple[Image, str]] = {
    "turned over": (BODY.image()[:, ::-1], "valley|stands out|chest"),
    "sagittal": (sagittal(BODY.image()), "wide|stands out|mid-line"),
    "half": (half(BODY.image()), "wide|mid-line"),
    "no breasts": (body_without_breasts(), "stands out"),
    "narrow": (Prone(half_width_mm=80, apart_mm=90).image(), "mm wide"),
    "noise": (rician(np.zeros((40, 128, 128)), 1.0), "standard deviations"),
    "blank": (np.zeros((40, 128, 128), np.float32), "one grey value"),
    "constant": (np.full((40, 128, 128), 7, np.float32), "one grey value"),
    "slice": (BODY.image()[12:13], "slices over 7 mm"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_other_volumes_are_refused_with_what_was_measured(name: str) -> None:
    image, message = WRONG[name]
    with pytest.raises(RegionError, match=f"pre-contrast volume: found.*({message})"):
        find_region(np.ascontiguousarray(image), BODY.placement)


SOUND = Signals(
    length_mm=160,
    width_mm=300,
    valley_mm=80,
    lobe_mm=90,
    reversed_valley_mm=0,
    apart_mm=160,
    front_cut=0.0,
    contrast=50,
    spread_mm=5,
    floor_mm=60,
    solid=0.95,
    folded_mm=0,
)


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({}, ()),
        ({"length_mm": 50}, ("short",)),
        ({"width_mm": 240}, ("narrow",)),
        ({"contrast": 8}, ("low-contrast",)),
        ({"valley_mm": 15}, ("shallow",)),
        ({"valley_mm": 5}, ("one-sided",)),
        ({"apart_mm": 300}, ("lobes-apart",)),
        ({"reversed_valley_mm": 95}, ("valley-behind",)),
        ({"front_cut": 0.05}, ("front-cut",)),
        ({"front_cut": 0.5, "reversed_valley_mm": 30}, ("front-cut",)),
        ({"valley_mm": 5, "reversed_valley_mm": 4}, ("one-sided",)),
        ({"floor_mm": 15}, ("cleavage-closed",)),
        ({"solid": 0.6}, ("torn",)),
        ({"folded_mm": 30}, ("wrapped",)),
        ({"spread_mm": 15}, ("fronts-disagree",)),
        ({"spread_mm": 40}, ("fronts-disagree", "fronts-far-apart")),
    ],
)
def test_each_doubt_is_named_and_lowers_confidence(
    change: dict[str, float], flags: tuple[str, ...]
) -> None:
    confidence, named = judge(replace(SOUND, **change))
    assert named == flags
    assert (confidence == 1.0) == (not flags)
    assert 0 < confidence <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width_mm": 200}, "a body 200 mm wide"),
        ({"valley_mm": 5, "lobe_mm": 20}, "stands out 20 mm"),
        ({"lobe_mm": 80, "reversed_valley_mm": 170}, "170 mm behind and 80 mm"),
        ({"front_cut": 0.5, "reversed_valley_mm": 60}, "60 mm behind and 90 mm"),
    ],
)
def test_other_shapes_are_refused_by_their_signals(
    change: dict[str, float], message: str
) -> None:
    with pytest.raises(RegionError, match=message):
        judge(replace(SOUND, **change))


def test_a_back_folded_over_the_front_is_blanked_and_flagged() -> None:
    image = wrapped_back(BODY.image())
    region = find_region(image, BODY.placement)
    assert region.flags == ("wrapped",)
    assert region.signals.folded_mm == pytest.approx(8 * BODY.mm_per_px, abs=8)
    assert bag_of(region).nearest_point_px == pytest.approx(23, abs=1)


def test_breasts_behind_a_fold_are_counted_from_its_end() -> None:
    body = Prone(near_mm=10)
    region = find_region(wrapped_back(body.image()), body.placement)
    assert region.flags == ("front-cut", "wrapped")
    assert region.confidence < 0.5
    assert bag_of(region, body).nearest_point_px == pytest.approx(10, abs=2)


def test_a_cleavage_closed_in_every_slice_is_flagged() -> None:
    body = Prone(apart_mm=100)
    image = np.repeat(body.image()[12:13], body.slices, axis=0)
    region = find_region(image, body.placement)
    assert "cleavage-closed" in region.flags
    assert bag_of(region, body).nearest_point_px == pytest.approx(23, abs=1)
