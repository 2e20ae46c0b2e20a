"""Packed weights: a quarter of the bytes, the same float32 on every machine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from model.errors import CheckpointError
from model.packed import Array, pack, restore

Weights = NDArray[np.float32]

kernels = arrays.array_shapes(min_dims=2, max_dims=4, max_side=4).flatmap(
    lambda shape: arrays.arrays(
        np.float32, shape, elements=st.floats(-1e6, 1e6, width=32)
    )
)


@settings(max_examples=200, deadline=None)
@given(kernel=kernels)
def test_restored_weights_pack_to_the_same_bytes(kernel: Weights) -> None:
    packed = pack({"w": kernel})
    again = pack(restore(packed))
    assert again["w"].tobytes() == packed["w"].tobytes()
    assert again["w.scale"].tobytes() == packed["w.scale"].tobytes()


@settings(max_examples=200, deadline=None)
@given(kernel=kernels)
def test_every_product_of_level_and_scale_is_exact(kernel: Weights) -> None:
    packed = pack({"w": kernel})
    scales = packed["w.scale"].astype(np.float64)
    exact = packed["w"] * scales.reshape(-1, *[1] * (kernel.ndim - 1))
    np.testing.assert_array_equal(restore(packed)["w"].astype(np.float64), exact)


@settings(max_examples=200, deadline=None)
@given(kernel=kernels)
def test_no_weight_moves_by_more_than_half_a_step(kernel: Weights) -> None:
    packed = pack({"w": kernel})
    error = np.abs(restore(packed)["w"].astype(np.float64) - kernel)
    per_channel = error.reshape(len(kernel), -1).max(axis=1)
    assert (per_channel <= packed["w.scale"] / 2 + 2.0**-100).all()


def test_the_levels_are_those_of_arithmetic() -> None:
    # Largest 127: a step is 1. Largest 254: a step is 2, so that 101 lies half way
    # between 50 and 51 steps and goes to the even one.
    kernel = np.array([[127, -3, 0.4], [254, -101, 3]], np.float32)
    packed = pack({"w": kernel})
    np.testing.assert_array_equal(packed["w.scale"], [1, 2])
    np.testing.assert_array_equal(packed["w"], [[127, -3, 0], [127, -50, 2]])
    np.testing.assert_array_equal(
        restore(packed)["w"], np.array([[127, -3, 0], [254, -100, 4]], np.float32)
    )


def test_normalisation_and_counters_are_kept_bit_for_bit() -> None:
    kept: dict[str, Array] = {
        "bias": np.array([0.1, -0.0], np.float32),
        "count": np.array(7, np.int64),
        "zero": np.zeros((2, 3), np.float32),
    }
    restored = restore(pack(kept))
    assert restored.keys() == kept.keys()
    for name, values in kept.items():
        assert restored[name].dtype == values.dtype
        assert restored[name].tobytes() == values.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(CheckpointError, match=r"w: found a weight that is not"):
        pack({"w": np.array([[1, value]], np.float32)})
