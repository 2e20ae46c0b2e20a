"""Greedy k-medoids: the lazy order equals the plain one, whatever the points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.coverage import clusters, distances, farthest_first, greedy_order


def plain_order(points: NDArray[np.int64]) -> list[int]:
    """Pick, each time, the point that lowers the sum of distances most."""
    apart = np.abs(points[:, None] - points[None]).sum(axis=2)
    order = [int(np.argmin(apart.sum(axis=1)))]
    while len(order) < len(points):
        near = apart[:, order].min(axis=1)
        gains = np.maximum(near[:, None] - apart, 0).sum(axis=0)
        gains[order] = -1
        order.append(int(np.argmax(gains)))
    return order


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
        min_size=1,
        max_size=40,
        unique=True,
    ),
    features=st.sampled_from([1, 2]),
)
def test_distinct_points_are_ordered_as_by_the_plain_algorithm(
    values: list[tuple[int, int]], features: int
) -> None:
    points = np.unique(np.array(values)[:, :features], axis=0)
    shuffled = np.random.default_rng(0).permutation(points)
    assert greedy_order(shuffled) == plain_order(shuffled)


def test_equal_points_come_in_layers() -> None:
    points = np.array([[5], [5], [9], [5], [9]])
    assert greedy_order(points) == [0, 2, 1, 4, 3]


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_every_index_is_ordered_once(values: list[int]) -> None:
    points = np.array(values)[:, None]
    assert sorted(greedy_order(points)) == list(range(len(values)))


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    share=st.floats(0, 1),
)
def test_an_order_goes_on_from_its_own_prefix(values: list[int], share: float) -> None:
    points = np.array(values)[:, None]
    whole = greedy_order(points)
    assert greedy_order(points, whole[: round(share * len(whole))]) == whole


def plain_farthest(points: NDArray[np.int64], first: list[int]) -> list[int]:
    apart = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    order = list(first)
    while len(order) < len(points):
        near = apart[:, order].min(axis=1)
        near[order] = -1
        order.append(int(np.argmax(near)))
    return order


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=30
    )
)
def test_farthest_first_is_the_k_centre_greedy(values: list[tuple[int, int]]) -> None:
    points = np.array(values)
    (start, none), *others = farthest_first(points)
    assert none is None
    assert [start, *(at for at, _ in others)] == plain_farthest(points, [start])
    gaps = [gap for _, gap in others if gap is not None]
    assert gaps == sorted(gaps, reverse=True)
    assert [at for at, _ in farthest_first(points, [1])] == plain_farthest(points, [1])


def test_clusters_are_those_nearer_than_to_earlier_picks() -> None:
    points = np.array([[0], [1], [10], [11], [11]])
    found = {pick: members.tolist() for pick, members in clusters(points, [1, 3, 4, 0])}
    assert found == {1: [0, 1, 2, 3, 4], 3: [2, 3, 4], 4: [4], 0: [0]}


def test_distances_are_city_blocks() -> None:
    points = np.array([[0, 0], [3, -4]])
    assert distances(points, np.array([1, 1])).tolist() == [2, 2 + 5]


@pytest.mark.parametrize("features", [1, 2])
def test_scattered_points_far_apart_do_not_overflow(features: int) -> None:
    points = np.array([[0, 0], [10**9, 5], [-(10**9), 7]])[:, :features]
    assert greedy_order(points)[0] == 0
