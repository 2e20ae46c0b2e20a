"""A network's mask and the opinions on it: the boundary is asked once, by all alike."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from highdicom import Volume
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model import boundary
from model.boundary import region_or_refusal
from model.checkpoint import Manifest, ReadyCheckpoint
from model.engine import Engine
from model.inference import THRESHOLD, predict
from model.phantom import draw_patient, draw_site, make_case
from model.preprocess import to_source, to_stack
from model.scope import EVERYTHING, SCOPES, find_window, within
from model.shape import read_shape
from plugin.drawing import draw, predict_mask, repeated_share, silent_share
from plugin.pipeline import Segmenter
from plugin.session import OpenSession

GRID_PX = 96
MANIFEST = Manifest(
    package_version="test",
    grid_px=GRID_PX,
    fold=0,
    seed=0,
    training_cases=(),
    config={},
    metrics={},
    footprint={},
)
ENGINE = Engine("cpu", "fp32")


class Bright:
    """Calls everything bright breast, pixel by pixel."""

    batch = 4

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return inputs[:, 0]


def segmenter(scope: str) -> Segmenter:
    return Segmenter(ReadyCheckpoint(Bright(), MANIFEST), ENGINE, scope=scope)


def session_of(pre: Volume, post: Volume) -> OpenSession:
    pair: Any = None
    return OpenSession("S", pair, pre, post, "")


@pytest.fixture(scope="module")
def session() -> OpenSession:
    rng = np.random.default_rng(2)
    site = draw_site(rng, slices=24, matrix_px=96)
    case = make_case(draw_patient(rng), site, seed=2)
    return session_of(*case.phases[:2])


@pytest.fixture(scope="module")
def noise(session: OpenSession) -> OpenSession:
    """Return a session in which the boundary finds no body."""
    shape = session.pre.spatial_shape
    voxels = np.random.default_rng(0).integers(1, 500, shape).astype(np.uint16)
    pre = session.pre.with_array(voxels)
    return session_of(pre, pre)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the shapes of the volumes whose boundary is looked for from here on."""
    shapes: list[tuple[int, ...]] = []
    find_region: Callable[..., Any] = boundary.find_region

    def counted(pre: NDArray[np.float32], *others: Any) -> Any:
        shapes.append(pre.shape)
        return find_region(pre, *others)

    monkeypatch.setattr(boundary, "find_region", counted)
    return shapes


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", ["session", "noise"])
def test_the_boundary_of_a_session_is_found_once(
    scope: str,
    name: str,
    request: pytest.FixtureRequest,
    asked: list[tuple[int, ...]],
) -> None:
    drawn = draw(request.getfixturevalue(name), segmenter(scope))
    assert asked == [(24, GRID_PX, GRID_PX)]
    assert bool(drawn.shape.refusal) == (name == "noise")


def test_a_mask_that_nobody_judges_needs_no_boundary_of_the_whole(
    session: OpenSession, asked: list[tuple[int, ...]]
) -> None:
    predict_mask(session, segmenter("whole"))
    assert asked == []


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", ["session", "noise"])
def test_mask_and_shape_are_those_of_a_boundary_found_for_each(
    scope: str, name: str, request: pytest.FixtureRequest
) -> None:
    given: OpenSession = request.getfixturevalue(name)
    drawn = draw(given, segmenter(scope))
    stack = to_stack(given.pre, given.post, grid_px=GRID_PX)
    window = find_window(stack.voxels.copy(), stack.placement, scope)
    assert (window == EVERYTHING) == (scope == "whole" or name == "noise")
    found = within(window, stack.voxels, lambda v: predict(v, Bright(), ENGINE))
    mask = to_source(found, stack, threshold=THRESHOLD)
    assert np.array_equal(drawn.mask.array, mask.array)
    apart = np.ascontiguousarray(stack.voxels[:, 0])
    region = region_or_refusal(apart, stack.placement)
    assert drawn.shape == read_shape(region, found >= THRESHOLD)


def volume(voxels: NDArray[Any]) -> Volume:
    return Volume(voxels, np.eye(4), coordinate_system="PATIENT")


def test_shares_are_of_the_voxels_in_the_mask_alone() -> None:
    voxels = np.zeros((3, 4, 5), np.uint16)
    voxels[:, 2:, 3:] = np.arange(1, 13).reshape(3, 2, 2)
    voxels[0, 2, 3] = 0
    voxels[2, 3, 4] = voxels[1, 3, 4]
    mask = np.zeros(voxels.shape, np.uint8)
    mask[:, 2:, 3:] = 1
    given = session_of(volume(voxels), volume(voxels))
    assert silent_share(given, volume(mask)) == 1 / 12
    assert repeated_share(given, volume(mask)) == 1 / 8
    nothing = volume(np.zeros_like(mask))
    assert silent_share(given, nothing) is repeated_share(given, nothing) is None


SPANS = st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted)


@given(st.integers(0, 2**31), SPANS, SPANS, SPANS, st.floats(0, 1))
def test_shares_are_those_of_the_whole_volume(
    seed: int, slices: list[int], rows: list[int], columns: list[int], part: float
) -> None:
    rng = np.random.default_rng(seed)
    image, mask = rng.integers(0, 3, (5, 5, 5)), np.zeros((5, 5, 5), np.uint8)
    box = tuple(slice(*span) for span in (slices, rows, columns))
    mask[box] = rng.random(mask[box].shape) < part
    given = session_of(volume(image), volume(image))
    values = (image <= 0)[mask > 0]
    assert silent_share(given, volume(mask)) == (values.mean() if values.size else None)
    both = (mask[1:] > 0) & (mask[:-1] > 0)
    same = (image[1:] == image[:-1])[both]
    assert repeated_share(given, volume(mask)) == (same.mean() if same.size else None)
