"""Air's own numbers, the threshold beside it, and what becomes of leaks and holes."""

import numpy as np
import pytest
from bodies import Image, rician

from model.air import Body, Scan, find_tissue, measure_air, otsu, rough_bodies


def block(*, slices: int = 12, signal: float = 1.0, air: float = 0.0) -> Image:
    image = np.full((slices, 64, 64), air, np.float32)
    image[:, 24:56, 8:56] = signal
    return image


def scan(image: Image) -> Scan:
    return Scan(image, mm_per_px=2.5, slice_mm=3.0)


def bodies_of(image: Image) -> dict[str, Body]:
    air = measure_air(image)
    return rough_bodies(find_tissue(scan(image), air), air)


def test_air_is_told_by_the_darkest_blocks_in_front() -> None:
    noisy = block(air=0.1) + np.random.default_rng(0).normal(0, 0.02, (12, 64, 64))
    air = measure_air(noisy.astype(np.float32))
    assert air.level == pytest.approx(0.1, abs=0.01)
    assert air.sigma == pytest.approx(0.02, rel=0.2)
    assert air.bright == pytest.approx(0.93, abs=0.05)
    assert air.contrast == pytest.approx(0.93 / 0.02, rel=0.25)


def test_zeroed_air_has_a_floor() -> None:
    air = measure_air(block())
    assert air.sigma == 0
    assert air.floor == pytest.approx(0.01)
    assert air.contrast == pytest.approx(100)


def test_otsu_parts_two_heaps() -> None:
    rng = np.random.default_rng(1)
    heaps = np.concatenate([rng.normal(0, 0.1, 900), rng.normal(5, 0.1, 100)])
    threshold = otsu(heaps.astype(np.float32))
    assert 0.3 < threshold < 4.7


@pytest.mark.parametrize("name", ["log", "shell", "sweep"])
def test_every_body_finds_a_clean_front(name: str) -> None:
    image = rician(block(air=0.02), 0.01)
    body = bodies_of(image)[name]
    assert body.nearest_row == pytest.approx(24, abs=1)
    assert np.isnan(body.front[:, :5]).all()
    assert body.mask[:, 30:50, 20:40].all()


def test_dark_interiors_are_filled_and_undercuts_stay_air() -> None:
    image = block(air=0.02)
    image[:, 35:45, 20:30] = 0.02
    image[:, 40:44, 40:64] = 0.02
    image = rician(image, 0.01)
    body = bodies_of(image)["log"]
    assert body.mask[:, 36:44, 21:29].all()
    assert not body.mask[:, 41:43, 45:].any()


def test_the_shell_drops_a_leak_before_bright_tissue() -> None:
    image = block(air=0.01)
    image[:, 20:24, 8:56] = 0.12
    image = rician(image, 0.004)
    bodies = bodies_of(image)
    assert bodies["log"].nearest_row <= 21
    assert bodies["shell"].nearest_row == pytest.approx(24, abs=1)


def test_the_shell_does_not_take_dark_fat_for_a_leak() -> None:
    image = block(air=0.01)
    image[:, 24:40, 8:56] = 0.12
    image = rician(image, 0.004)
    bodies = bodies_of(image)
    assert bodies["shell"].nearest_row == bodies["log"].nearest_row


def test_loose_parts_are_not_the_body() -> None:
    image = block(air=0.02)
    image[:, 4:10, 4:14] = 1.0
    image = rician(image, 0.01)
    for body in bodies_of(image).values():
        assert body.nearest_row == pytest.approx(24, abs=1)
