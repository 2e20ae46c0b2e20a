import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageColor
from report_inputs import GRID_PX, SLICES, box_mask

from model.errors import GeometryError
from model.preview import LEFT_COLOUR, RIGHT_COLOUR, preview_png, spread_slices

Mask = NDArray[np.bool_]


def image() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 900, (SLICES, GRID_PX, GRID_PX)).astype(np.float32)


def sides() -> tuple[Mask, Mask]:
    right, left = box_mask(20, 20), box_mask(20, 20)
    right[..., GRID_PX // 2 :] = False
    left[..., : GRID_PX // 2] = False
    return right, left


def pixels(picture: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture)) as opened:
        return np.array(opened.convert("RGB"))


def columns_of(picture: bytes, colour: str) -> NDArray[np.intp]:
    """Columns of the picture that hold exactly this colour above the lettering."""
    shown = pixels(picture)
    shown = shown[: shown.shape[0] // 3]
    rgb = np.array(ImageColor.getrgb(colour))
    return np.flatnonzero((shown == rgb).all(axis=2).any(axis=0))


def test_right_is_blue_on_the_left_and_left_is_orange() -> None:
    picture = preview_png(image(), *sides(), slices=1)
    # One tile of 300 px for 64 columns: right is column 10-19, left 40-49.
    scale = 300 / GRID_PX
    right, left = (columns_of(picture, c) for c in (RIGHT_COLOUR, LEFT_COLOUR))
    assert right.min() == pytest.approx(10 * scale, abs=scale)
    assert right.max() == pytest.approx(20 * scale, abs=scale)
    assert left.min() == pytest.approx(40 * scale, abs=scale)
    assert left.max() == pytest.approx(50 * scale, abs=scale)


def test_an_empty_mask_shows_the_whole_volume_without_contours() -> None:
    empty = np.zeros((SLICES, GRID_PX, GRID_PX), bool)
    picture = preview_png(image(), empty, empty)
    assert columns_of(picture, RIGHT_COLOUR).size == 0
    assert pixels(picture).shape[1] == 3 * 300 + 2 * 4


def test_equal_arrays_give_equal_bytes() -> None:
    assert preview_png(image(), *sides()) == preview_png(image(), *sides())


def test_a_noisy_picture_stays_small() -> None:
    assert len(preview_png(image(), *sides())) < 300_000


def test_tall_pixels_make_a_tall_tile() -> None:
    empty = np.zeros((SLICES, GRID_PX, GRID_PX), bool)
    heights = [
        pixels(preview_png(image(), empty, empty, slices=1, pixel_mm=mm)).shape[0]
        for mm in ((1.0, 1.0), (1.0, 2.0))
    ]
    assert heights == [300, 150]


def test_a_title_is_letters_and_not_mathematics() -> None:
    title = "S-1 $\\frac{ \n <b> 患者"
    picture = preview_png(image(), *sides(), title=title)
    assert pixels(picture).shape[0] > pixels(preview_png(image(), *sides())).shape[0]


def test_missing_values_are_drawn_black() -> None:
    holed = image()
    holed[:, :5] = np.nan
    assert pixels(preview_png(holed, *sides())).any()


def test_masks_of_another_shape_are_refused() -> None:
    right, left = sides()
    with pytest.raises(GeometryError, match="preview"):
        preview_png(image()[1:], right, left)


@given(
    first=st.integers(0, 39),
    length=st.integers(1, 40),
    count=st.integers(1, 9),
)
def test_slices_spread_over_the_mask(first: int, length: int, count: int) -> None:
    mask = np.zeros((80, 1, 1), bool)
    mask[first : first + length] = True
    found = spread_slices(mask, count)
    assert found[0] == first
    assert found[-1] == first + length - 1 or count == 1
    assert len(found) == min(count, length)
    steps = np.diff(found)
    assert steps.size == 0 or steps.max() - steps.min() <= 1
