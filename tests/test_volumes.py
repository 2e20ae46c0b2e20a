"""Phases become volumes: every voxel at its place, in every encoding a scanner uses."""

import struct
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from highdicom import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from lossless import BLOCKS, ENCODERS
from pydicom import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSNearLossless,
    RLELossless,
)
from scipy.spatial.transform import Rotation
from synthetic import (
    Plan,
    change,
    enhanced,
    legacy,
    phases,
    post_plan,
    pre_plan,
    slices,
    write,
    write_pair,
)

from plugin.dce import choose
from plugin.errors import InputError
from plugin.reading import decoding
from plugin.reading.decoding import read_all
from plugin.reading.headers import scan
from plugin.reading.pixels import read_slices
from plugin.series import FrameRef, Phase
from plugin.volumes import load, load_pair, read_nifti, write_nifti

RNG = np.random.default_rng(7)


def phase_of(paths: list[Path], datasets: list[Dataset]) -> Phase:
    """Return single-frame files as a phase, in the order given."""
    frames = tuple(
        FrameRef(path, str(d.SOPInstanceUID), str(d.SOPClassUID))
        for path, d in zip(paths, datasets, strict=True)
    )
    first = datasets[0]
    return Phase(
        first.StudyInstanceUID,
        first.SeriesInstanceUID,
        first.FrameOfReferenceUID,
        frames,
    )


def load_written(folder: Path, plan: Plan, **tags: Any) -> Volume:
    datasets = list(change(slices(plan), **tags))
    return load(phase_of(write(datasets, folder), datasets))


@st.composite
def oblique_plans(draw: st.DrawFn) -> Plan:
    """Draw an image plane anywhere: tilted, turned, mirrored by negated cosines."""
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 2))
    millimetres = st.floats(0.5, 9.0)
    return Plan(
        shape=(draw(st.integers(2, 5)), 3, 4),
        orientation=(*(signs[0] * axes[0]), *(signs[1] * axes[1])),
        position_mm=draw(st.tuples(*[st.floats(-300, 300)] * 3)),
        pixel_mm=draw(st.tuples(millimetres, millimetres)),
        slice_mm=draw(millimetres),
    )


@settings(deadline=None, max_examples=40)
@given(plan=oblique_plans())
def test_affine_maps_every_slice_to_its_position(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan
) -> None:
    volume = load_written(tmp_path_factory.mktemp("oblique"), plan)
    for index in range(plan.shape[0]):
        place = volume.map_indices_to_reference(np.array([[index, 0, 0]]))[0]
        assert place == pytest.approx(plan.position_of(index), abs=1e-4)
    corner = volume.map_indices_to_reference(np.array([[0, 2, 3]]))[0]
    row, column = np.reshape(plan.orientation, (2, 3))
    away = 3 * plan.pixel_mm[1] * row + 2 * plan.pixel_mm[0] * column
    assert corner == pytest.approx(plan.position_of(0) + away, abs=1e-4)
    assert volume.array.tolist() == plan.voxels().tolist()


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda uid: uid.name)
def test_every_lossless_transfer_syntax_gives_the_same_voxels(
    tmp_path: Path, syntax: Any
) -> None:
    datasets = slices(Plan(shape=(3, 32, 32)))
    paths = []
    for index, dataset in enumerate(datasets):
        dataset.PixelData = BLOCKS.astype(np.uint16).tobytes()
        paths.append(tmp_path / f"{index}.dcm")
        ENCODERS[syntax](dataset, paths[-1])
    volume = load(phase_of(paths, datasets))
    assert volume.dtype == np.uint16
    assert volume.array.tolist() == [BLOCKS.tolist()] * 3


def test_near_lossless_images_are_flagged(tmp_path: Path) -> None:
    for plan in (pre_plan(), post_plan()):
        datasets = slices(plan)
        for dataset in datasets:
            dataset.compress(
                JPEGLSNearLossless, jls_error=2, generate_instance_uid=False
            )
        write(datasets, tmp_path / plan.description)
    pair = choose(tmp_path)
    assert pair.flags == ("lossy",)
    pre, _ = load_pair(pair)
    assert np.abs(pre.array.astype(int) - pre_plan().voxels()).max() <= 2


def test_a_phase_of_a_multi_frame_object_is_its_own_frames(tmp_path: Path) -> None:
    write([enhanced(phases(3))], tmp_path)
    pair = choose(tmp_path)
    pre, post = load_pair(pair)
    assert [f.frame_number for f in pair.post.frames] == list(range(13, 25))
    assert pre.array.tolist() == Plan().voxels().tolist()
    assert post.array.tolist() == Plan(phase=1).voxels().tolist()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_multi_frame_objects_are_read(tmp_path: Path, syntax: UID) -> None:
    plan = Plan(shape=(12, 32, 32), pixel_mm=(10.0, 10.0))
    dataset = enhanced(phases(3, plan))
    dataset.compress(syntax, generate_instance_uid=False)
    write([dataset], tmp_path)
    _, post = load_pair(choose(tmp_path))
    assert post.array.tolist() == replace(plan, phase=1).voxels().tolist()


def test_legacy_converted_objects_are_read(tmp_path: Path) -> None:
    write([legacy(phases(3))], tmp_path)
    _, post = load_pair(choose(tmp_path))
    assert post.array.tolist() == Plan(phase=1).voxels().tolist()


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    plan = Plan(shape=(3, 2, 2))
    volume = load_written(
        tmp_path,
        plan,
        RescaleSlope=lambda i: f"{i + 0.5}",
        RescaleIntercept=lambda i: f"{-10 * i}",
    )
    expected = [
        (i + 0.5) * v.astype(float) - 10 * i for i, v in enumerate(plan.voxels())
    ]
    assert volume.dtype == np.float32
    assert volume.array == pytest.approx(np.array(expected))


def test_unit_rescale_keeps_the_stored_integers(tmp_path: Path) -> None:
    plan = Plan(shape=(3, 2, 2))
    volume = load_written(tmp_path, plan, RescaleSlope="1", RescaleIntercept="0")
    assert volume.dtype == np.uint16


def test_philips_phases_of_different_display_scale_are_comparable(
    tmp_path: Path,
) -> None:
    # FP = (PV * RS + RI) / (RS * SS): RS cancels without an intercept
    plan = Plan(shape=(3, 2, 2))

    def philips(folder: Path, slope: float, scale: float) -> Volume:
        datasets = list(change(slices(plan), RescaleSlope=f"{slope}"))
        for dataset in datasets:
            block = dataset.private_block(
                0x2005, "Philips MR Imaging DD 001", create=True
            )
            block.add_new(0x0E, "FL", scale)
        return load(phase_of(write(datasets, folder), datasets))

    first = philips(tmp_path / "1", slope=2.0, scale=0.5)
    second = philips(tmp_path / "2", slope=7.0, scale=0.5)
    assert first.array == pytest.approx(plan.voxels() / 0.5)
    assert second.array == pytest.approx(first.array)


def test_monochrome1_is_turned_over(tmp_path: Path) -> None:
    plan = Plan(shape=(3, 2, 2))
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    volume = load_written(tmp_path, plan, **tags)
    assert volume.array.tolist() == (4095 - plan.voxels()).tolist()


def test_signed_pixels_stay_negative(tmp_path: Path) -> None:
    values = np.array([[-5, 7], [-2048, 2047]], np.int16)
    tags = {"PixelRepresentation": 1, "BitsStored": 12, "HighBit": 11}
    plan = Plan(shape=(2, 2, 2))
    volume = load_written(tmp_path, plan, PixelData=values.tobytes(), **tags)
    assert volume.array[0].tolist() == values.tolist()


def test_overlay_bits_above_the_stored_ones_are_dropped(tmp_path: Path) -> None:
    overlay = np.array([[0xF005, 0x1007], [0x0FFF, 0x8000]], np.uint16)
    plan = Plan(shape=(2, 2, 2))
    tags = {"PixelData": overlay.tobytes(), "BitsStored": 12, "HighBit": 11}
    volume = load_written(tmp_path, plan, **tags)
    assert volume.array[0].tolist() == [[5, 7], [4095, 0]]


def test_eight_bit_pixels_are_read(tmp_path: Path) -> None:
    plan = Plan(shape=(2, 2, 2))
    tags = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": b"\1\2\3\4"}
    assert load_written(tmp_path, plan, **tags).array[1].tolist() == [[1, 2], [3, 4]]


def test_a_pair_has_exactly_one_grid(tmp_path: Path) -> None:
    near = post_plan(position_mm=(-160.0004, -120.0, -30.02))
    write_pair(tmp_path, post=near)
    pre, post = load_pair(choose(tmp_path))
    assert np.array_equal(pre.affine, post.affine)
    assert pre.frame_of_reference_uid == post.frame_of_reference_uid


def test_a_pair_on_two_grids_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path)
    pair = choose(tmp_path)
    far = Plan(number=9, position_mm=(-140.0, -120.0, -30.0))
    datasets = slices(far)
    elsewhere = phase_of(write(datasets, tmp_path / "9"), datasets)
    with pytest.raises(InputError, match="another grid"):
        load_pair(replace(pair, post=elsewhere))


def test_a_file_exchanged_after_the_scan_is_refused(tmp_path: Path) -> None:
    datasets = slices(Plan())
    paths = write(datasets, tmp_path)
    phase = phase_of(paths, datasets)
    paths[3].write_bytes(paths[4].read_bytes())
    with pytest.raises(InputError, match=r"0003\.dcm: found another instance"):
        load(phase)


def test_a_file_deleted_after_the_scan_is_refused(tmp_path: Path) -> None:
    datasets = slices(Plan())
    paths = write(datasets, tmp_path)
    paths[0].unlink()
    with pytest.raises(InputError, match=r"0000\.dcm: found unreadable"):
        load(phase_of(paths, datasets))


def test_pixel_types_may_not_change_within_a_phase(tmp_path: Path) -> None:
    datasets = slices(Plan(shape=(3, 2, 2)))
    change(datasets[2:], PixelRepresentation=1)
    with pytest.raises(InputError, match="different matrix or pixel type"):
        load(phase_of(write(datasets, tmp_path), datasets))


def test_a_phase_without_frames_is_refused() -> None:
    with pytest.raises(InputError, match="no frame"):
        load(Phase("1", "2", "3", ()))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_returns_the_same_volume(
    tmp_path: Path, dtype: type[np.generic], suffix: str
) -> None:
    affine = np.diag([2.5, 1.5, 0.75, 1.0]) @ np.eye(4)[[2, 1, 0, 3]]
    affine[:3, 3] = -10, 20, 30
    voxels = RNG.integers(0, 200, (3, 4, 5)).astype(dtype)
    volume = Volume(voxels, affine, coordinate_system="PATIENT")
    path = tmp_path / f"image{suffix}"
    write_nifti(volume, path)
    back = read_nifti(path)
    assert back.dtype == dtype
    assert back.array.tolist() == voxels.tolist()
    assert back.affine == pytest.approx(affine, abs=1e-5)


def test_nifti_is_ras_with_slices_last(tmp_path: Path) -> None:
    volume = load_written(tmp_path, Plan(shape=(3, 4, 5)))
    write_nifti(volume, tmp_path / "image.nii.gz")
    image = nib.Nifti1Image.from_filename(tmp_path / "image.nii.gz")
    assert image.shape == (5, 4, 3)
    # LPS to RAS negates x and y
    assert image.affine[:3, 3].tolist() == [160.0, 120.0, -30.0]
    assert np.diag(image.affine).tolist() == pytest.approx([-320 / 24, -15, 5, 1])
    assert int(image.header["xyzt_units"]) & 7 == 2  # millimetres


def test_equal_volumes_give_equal_nifti_bytes(tmp_path: Path) -> None:
    volume = load_written(tmp_path / "series", Plan())
    for name in ("one.nii.gz", "two.nii.gz"):
        write_nifti(volume, tmp_path / name)
    one = (tmp_path / "one.nii.gz").read_bytes()
    assert one == (tmp_path / "two.nii.gz").read_bytes()
    assert struct.unpack("<L", one[4:8]) == (0,)  # no time of writing


def test_boolean_masks_are_written_as_bytes(tmp_path: Path) -> None:
    volume = load_written(tmp_path, Plan())
    mask = volume.with_array(volume.array > 100)
    write_nifti(mask, tmp_path / "mask.nii.gz")
    back = read_nifti(tmp_path / "mask.nii.gz")
    assert back.dtype == np.uint8
    assert np.array_equal(back.array, mask.array)


def test_a_nifti_pair_is_loaded_like_a_dicom_one(tmp_path: Path) -> None:
    write_pair(tmp_path / "dicom")
    pre, post = load_pair(choose(tmp_path / "dicom"))
    (tmp_path / "nifti").mkdir()
    write_nifti(pre, tmp_path / "nifti" / "pre.nii.gz")
    write_nifti(post, tmp_path / "nifti" / "post.nii.gz")
    pair = choose(tmp_path / "nifti")
    assert pair.pre.nifti == tmp_path / "nifti" / "pre.nii.gz"
    assert pair.pre.frames == ()
    for ours, theirs in zip(load_pair(pair), (pre, post), strict=True):
        assert np.array_equal(ours.array, theirs.array)
        assert ours.affine == pytest.approx(theirs.affine, abs=1e-4)


NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian}


def scanned(folder: Path) -> tuple[FrameRef, ...]:
    return tuple(frame.ref for frame in scan(folder).frames)


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda uid: uid.name)
def test_scanned_files_give_the_pixels_that_pydicom_gives(
    tmp_path: Path, syntax: UID
) -> None:
    dataset = slices(Plan(shape=(1, 32, 32)))[0]
    dataset.PixelData = BLOCKS.astype(np.uint16).tobytes()
    path = tmp_path / "1.dcm"
    ENCODERS[syntax](dataset, path)
    (frame,) = scanned(tmp_path)
    ((_, pixels),) = read_slices([frame])
    assert pixels.stored.tolist() == pydicom.dcmread(path).pixel_array.tolist()
    assert (frame.tail is not None) == (syntax in NATIVE)
    assert frame.is_packed == syntax.is_encapsulated


def test_a_scanned_file_is_read_again_for_its_pixels_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(shape=(3, 4, 5))
    tags = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"}
    write(list(change(slices(plan), RescaleSlope="2", **tags)), tmp_path)
    frames = scanned(tmp_path)
    monkeypatch.setattr("plugin.reading.pixels.read_instance", None)
    found = dict(read_slices(frames))
    order = [frame.sop_instance_uid for frame in frames]
    for place, dataset in enumerate(slices(plan)):
        pixels = found[order.index(dataset.SOPInstanceUID)]
        assert pixels.stored.tolist() == (4095 - plan.voxels()[place]).tolist()
        assert pixels.header.rescale.slope == 2
        assert pixels.header.plane.position_mm == pytest.approx(plan.position_of(place))


def test_a_scanned_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    datasets = slices(Plan(shape=(2, 3, 4)))
    paths = write(datasets, tmp_path)
    frames = scanned(tmp_path)
    datasets[0].PixelData = bytes(24)
    write(datasets, tmp_path)
    by_path = {frames[index].path: one for index, one in read_slices(frames)}
    assert by_path[paths[0]].stored.tolist() == [[0] * 4] * 3
    paths[0].write_bytes(paths[1].read_bytes())
    with pytest.raises(InputError, match="another instance"):
        dict(read_slices(frames))


def compressed(folder: Path, *, count: int) -> tuple[FrameRef, ...]:
    """Write so many slices in RLE; return their frames."""
    datasets = slices(Plan(shape=(count, 8, 9)))
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    write(datasets, folder)
    return scanned(folder)


def test_two_processes_decode_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = compressed(tmp_path, count=12)
    monkeypatch.setattr(decoding, "PAYS_FROM_S", 0.0)
    monkeypatch.setattr(decoding, "CHUNK", 5)
    alone = dict(read_slices(frames))
    together = dict(read_all(frames, processes=2))
    assert sorted(together) == list(range(12))
    assert all((together[i].stored == alone[i].stored).all() for i in together)
    assert all(together[i].header == alone[i].header for i in together)


def test_no_process_is_started_that_would_come_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = compressed(tmp_path, count=4)
    monkeypatch.setattr(decoding, "CHUNK", 1)
    monkeypatch.setattr(decoding, "_in_processes", None)  # a start would fail
    assert sorted(dict(read_all(frames, processes=2))) == [0, 1, 2, 3]


@pytest.mark.parametrize(("processors", "processes"), [(2, 1), (4, 4), (16, 4)])
def test_few_processors_decode_in_one_process(
    monkeypatch: pytest.MonkeyPatch, processors: int, processes: int
) -> None:
    monkeypatch.setattr(decoding, "available", lambda: processors)
    assert decoding._processes() == processes


def test_a_damaged_file_is_refused_by_another_process_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = compressed(tmp_path, count=4)
    frames[2].path.write_bytes(frames[1].path.read_bytes())
    monkeypatch.setattr(decoding, "PAYS_FROM_S", 0.0)
    monkeypatch.setattr(decoding, "CHUNK", 1)
    with pytest.raises(InputError, match="another instance") as raised:
        dict(read_all(frames, processes=2))
    assert raised.value.mend


def test_a_process_that_dies_leaves_the_work_to_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frames = compressed(tmp_path, count=4)

    def broken(chunks: list[decoding.Chunk], _count: int) -> Iterator[decoding.Decoded]:
        yield decoding._decode(chunks[0])
        raise BrokenProcessPool

    monkeypatch.setattr(decoding, "PAYS_FROM_S", 0.0)
    monkeypatch.setattr(decoding, "CHUNK", 1)
    monkeypatch.setattr(decoding, "_in_processes", broken)
    assert sorted(dict(read_all(frames, processes=2))) == [0, 1, 2, 3]
    assert "in one process" in caplog.text
