"""BAG before annotation: whose mask is measured, and what happens when it is wrong."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bodies import Image, Prone
from click.testing import CliRunner
from highdicom import Volume
from numpy.typing import NDArray
from sessions import untrained_checkpoint, untrained_segmenter
from torch import Tensor, nn, tensor

from model.bag import TouchRule
from model.checkpoint import Checkpoint, write_packed
from model.errors import RegionError
from model.network import BreastFcn
from plugin import weights
from plugin.cli import cli
from plugin.measuring import (
    DOUBTED,
    measure_session,
    method_of,
    thinned,
    thinned_rule,
)
from plugin.nifti import write_nifti
from plugin.pipeline import Segmenter
from plugin.series import DcePair, Phase
from plugin.session import OpenSession

BODY = Prone(slices=48, slice_mm=3.5)
Mask = NDArray[np.bool_]


class Replay(BreastFcn):
    """A network that draws known masks, slice after slice."""

    def __init__(self, masks: Mask) -> None:
        nn.Module.__init__(self)
        self.masks: Iterator[Mask] = iter(masks)

    def forward(self, slices: Tensor) -> Tensor:
        drawn = next(self.masks).astype(np.float32)
        return tensor(drawn)[None, None] * 20 - 10


def replaying(masks: Mask) -> Segmenter:
    made = untrained_segmenter()
    manifest = replace(made.checkpoint.manifest, grid_px=BODY.grid_px)
    return replace(made, checkpoint=Checkpoint(Replay(masks), manifest))


def volume(image: Image) -> Volume:
    mm = BODY.mm_per_px
    affine = np.diag([mm, mm, BODY.slice_mm, 1.0])[:, [2, 1, 0, 3]]
    return Volume(image, affine, coordinate_system="PATIENT")


def session(image: Image | None = None, *, confidence: float = 0.9) -> OpenSession:
    whole = volume(BODY.image() if image is None else image)
    phase = Phase("1.2", "1.2.3", "1.2.4", ())
    pair = DcePair(phase, phase, confidence, (), (), {})
    return OpenSession("S1", pair, whole, whole, "key")


def breasts() -> Mask:
    """Return what hangs before the skin over the sternum."""
    rows = np.arange(BODY.grid_px)[None, :, None] * BODY.mm_per_px
    mask: Mask = BODY.tissue() & (rows < BODY.near_mm + BODY.projection_mm)
    return mask


def test_without_a_network_the_boundary_is_measured() -> None:
    measured = measure_session(session(), None)
    assert measured.features.source == "boundary"
    assert measured.features.confidence == pytest.approx(0.9)
    assert measured.features.nearest_point_mm == pytest.approx(60, abs=3)


def test_a_networks_mask_is_measured_where_it_agrees_with_the_boundary() -> None:
    measured = measure_session(session(), replaying(breasts()))
    features = measured.features
    assert (features.source, features.confidence) == ("checkpoint", 0.9)
    assert features.nearest_point_mm == pytest.approx(60, abs=2.6)
    assert features.volume_ml == pytest.approx(
        breasts().sum() * BODY.mm_per_px**2 * BODY.slice_mm / 1000, rel=0.02
    )
    assert measured.overlay.max() <= BODY.slices


@pytest.mark.parametrize("drawn", [np.zeros_like, lambda m: np.roll(m, 60, axis=1)])
def test_a_mask_that_the_boundary_contradicts_is_not_measured(
    drawn: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(drawn)
    measured = measure_session(session(), replaying(drawn(breasts())))
    assert measured.features.source == "boundary"
    assert measured.features.confidence == DOUBTED
    assert "S1" in caplog.text


def flat() -> OpenSession:
    """Return a patient whose breasts the boundary takes for none."""
    return session(replace(BODY, right=False, left=False).image())


def test_breasts_that_only_a_network_sees_are_measured_with_doubt() -> None:
    with pytest.raises(RegionError):
        measure_session(flat(), None)
    # The network sees 48 slices, then every fourth of them in the mirror.
    twice = np.concatenate([breasts(), breasts()[::4, :, ::-1]])
    features = measure_session(flat(), replaying(twice)).features
    assert (features.source, features.confidence) == ("checkpoint", DOUBTED)


def test_what_neither_boundary_nor_mirror_image_confirm_is_refused() -> None:
    one_sided = breasts()
    one_sided[:, :, 64:] = False
    twice = np.concatenate([one_sided, one_sided[::4]])
    with pytest.raises(RegionError):
        measure_session(flat(), replaying(twice))
    with pytest.raises(RegionError):
        measure_session(flat(), replaying(np.zeros((60, 128, 128), bool)))


def test_a_thinned_session_keeps_every_nth_slice_in_its_place() -> None:
    whole = session()
    thin = thinned(whole, 3)
    assert thin.pre.spatial_shape == (16, 128, 128)
    assert thin.pre.spacing == pytest.approx((3 * 3.5, 2.6, 2.6))
    np.testing.assert_array_equal(thin.pre.array, whole.pre.array[1::3])
    # Slice 1 of the whole volume, whose origin is slice 0, lies one slice up.
    np.testing.assert_allclose(thin.pre.affine[:3, 3], [0, 0, 3.5])


@pytest.mark.parametrize(
    ("slices", "step", "rule"),
    [(48, 1, TouchRule(4, 2)), (160, 1, TouchRule(4, 3)), (160, 3, TouchRule(4, 1))],
)
def test_a_thinned_volume_is_touched_over_the_same_length(
    slices: int, step: int, rule: TouchRule
) -> None:
    assert thinned_rule(slices, step) == rule


def test_other_weights_are_another_method() -> None:
    segmenters = (None, untrained_segmenter(), untrained_segmenter(seed=1))
    assert len({method_of(segmenter) for segmenter in segmenters}) == 3


def test_ranking_says_whose_masks_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "archive" / "S1"
    images.mkdir(parents=True)
    for name in ("pre", "post"):
        write_nifti(session().pre, images / f"{name}.nii.gz")
    default = tmp_path / "default.safetensors"
    made = untrained_checkpoint()
    write_packed(made.network, made.manifest, default)
    monkeypatch.setattr(weights, "packaged_weights", lambda: default)
    # Breast everywhere: the boundary contradicts it, so that both are boundary rows.
    assert ranked(tmp_path)["sources"] == {"boundary": 1}
    assert confidence(tmp_path) == DOUBTED
    assert ranked(tmp_path, "--checkpoint", "none")["sources"] == {"boundary": 1}
    assert confidence(tmp_path) > DOUBTED
    monkeypatch.setattr(weights, "packaged_weights", lambda: None)
    assert ranked(tmp_path)["sources"] == {"boundary": 1}


def ranked(folder: Path, *arguments: str) -> dict[str, object]:
    command = ("rank", "--archive", folder / "archive", "--output", folder / "out")
    engine = ("--device", "cpu", "--precision", "fp32")
    run = CliRunner().invoke(cli, [*map(str, command), *engine, *arguments])
    assert run.exit_code == 0, run.stderr
    assert ("without a network" in run.stderr) is not_drawn(arguments)
    result: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return result


def not_drawn(arguments: tuple[str, ...]) -> bool:
    return "none" in arguments or weights.packaged_weights() is None


def confidence(folder: Path) -> float:
    ranking = json.loads((folder / "out" / "ranking.json").read_text())
    (candidate,) = ranking["candidates"]
    return float(candidate["features"]["confidence"])
