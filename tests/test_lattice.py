import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.synthetic.lattice import (
    Lattice,
    centred_axis,
    draw_noise,
    gradient_norm,
    upsample,
)


def lattice(shape: tuple[int, int, int], mm: tuple[float, float, float]) -> Lattice:
    z, y, x = (centred_axis(n, s, 0.0) for n, s in zip(shape, mm, strict=True))
    return Lattice(z, y, x)


def test_an_axis_is_centred_with_the_given_spacing() -> None:
    assert centred_axis(4, 2.0, 10.0).tolist() == [7.0, 9.0, 11.0, 13.0]


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.floats(-3, 3)] * 4))
def test_upsampling_reproduces_a_linear_field(
    slopes: tuple[float, float, float, float],
) -> None:
    fine = lattice((7, 20, 30), (4.0, 1.0, 0.7))
    coarse = fine.coarse(3.0)

    def plane(grid: Lattice) -> np.ndarray:
        z, y, x = grid.points()
        return np.asarray(
            slopes[0] + slopes[1] * z + slopes[2] * y + slopes[3] * x, np.float32
        )

    assert upsample(plane(coarse), coarse, fine) == pytest.approx(plane(fine), abs=2e-4)


def test_a_coarse_lattice_covers_the_fine_one_and_keeps_thick_slices() -> None:
    fine = lattice((7, 20, 30), (4.0, 1.0, 0.7))
    coarse = fine.coarse(3.0)
    assert coarse.z_mm.tolist() == fine.z_mm.tolist()
    assert coarse.y_mm[0] == fine.y_mm[0]
    assert coarse.y_mm[-1] == fine.y_mm[-1]
    assert len(coarse.y_mm) == 1 + np.ceil(19 / 3)
    assert len(coarse.x_mm) == 1 + np.ceil(29 * 0.7 / 3)


def test_noise_is_one_field_whatever_lattice_asks() -> None:
    grid = lattice((8, 24, 24), (5.0, 2.0, 2.0))
    noise = draw_noise(np.random.default_rng(1), grid, (20.0, 20.0, 20.0))
    whole = noise.on(grid)
    assert noise.on(grid.slab(3, 5)) == pytest.approx(whole[3:5], abs=1e-5)


def test_noise_has_unit_variance_and_is_smooth_across_slices() -> None:
    grid = lattice((40, 60, 60), (4.0, 4.0, 4.0))
    values = draw_noise(np.random.default_rng(2), grid, (16.0, 16.0, 16.0)).on(grid)
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(1.0, abs=0.1)
    assert np.diff(values, axis=0).std() < 0.45


def test_the_gradient_of_a_distance_is_one_on_any_spacing() -> None:
    grid = lattice((9, 20, 30), (4.0, 1.0, 0.5))
    z, y, x = grid.points()
    slope = np.asarray(0.6 * z + 0.0 * y + 0.8 * x, np.float32)
    assert gradient_norm(slope, grid) == pytest.approx(1.0, abs=1e-4)


def test_a_single_slice_has_no_gradient_between_slices() -> None:
    grid = lattice((1, 20, 30), (4.0, 1.0, 0.5))
    _, y, x = grid.points()
    flat = np.asarray(2.0 * y + 0.0 * x, np.float32)[None].reshape(1, 20, 30)
    assert gradient_norm(flat, grid) == pytest.approx(2.0, abs=1e-4)
