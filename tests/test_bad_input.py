"""Whatever a folder holds: a pair, or a refusal that says what to mend. Never a guess.

Each case is one way sessions break in practice. A refusal must name what was found; a
usable rest must carry a flag. Nothing of the patient may appear anywhere.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from synthetic import (
    CORONAL,
    SAGITTAL,
    SECRETS,
    Plan,
    change,
    enhanced,
    one_series,
    phases,
    post_plan,
    pre_plan,
    slices,
    uid,
    write,
    write_pair,
    write_plan,
)

from plugin.dce import choose
from plugin.errors import InputError
from plugin.volumes import load_pair

Breaker = Callable[[Path], object]
PIXELS = 2 * 16 * 24


def both(**tags: Any) -> Breaker:
    """Break both series of a pair by setting elements in all slices."""

    def build(folder: Path) -> None:
        for plan in (pre_plan(), post_plan()):
            write(change(slices(plan), **tags), folder / str(plan.number))

    return build


def pair_of(**changes: Any) -> Breaker:
    """Build both series of a pair with another geometry or name."""
    return lambda folder: write_pair(folder, pre_plan(**changes), post_plan(**changes))


def pre_with(change_files: Callable[[list[Path]], object]) -> Breaker:
    """Write a healthy pair, then change the files of the pre-contrast series."""

    def build(folder: Path) -> None:
        write_pair(folder)
        change_files(sorted((folder / "5").iterdir()))

    return build


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def pre_moved(position: Callable[[int], list[str]]) -> Breaker:
    def build(folder: Path) -> None:
        write_pair(folder)
        moved = change(slices(pre_plan()), ImagePositionPatient=position)
        write(moved, folder / "5")

    return build


def text_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("nothing here")
    (folder / "scan_catalog.xml").write_text("<catalog/>")


def zero_bytes(folder: Path) -> None:
    for index in range(12):
        (folder / f"{index}.dcm").touch()


def noise_files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(12):
        data = b"\0" * 128 + b"DICM" + rng.bytes(2000)
        (folder / f"{index}.dcm").write_bytes(data)


def cut_headers(folder: Path) -> None:
    write_pair(folder)
    for path in folder.rglob("*.dcm"):
        path.write_bytes(path.read_bytes()[:400])


def cut_deflated(folder: Path) -> None:
    for plan in (pre_plan(), post_plan()):
        datasets = slices(plan)
        for dataset in datasets:
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        for path in write(datasets, folder / str(plan.number)):
            cut(path, 60)


def float_pixels(folder: Path) -> None:
    for plan in (pre_plan(), post_plan()):
        datasets = slices(plan)
        for dataset in datasets:
            values = np.frombuffer(dataset.PixelData, np.uint16).astype(np.float32)
            del dataset.PixelData
            dataset.FloatPixelData, dataset.BitsAllocated = values.tobytes(), 32
        write(datasets, folder / str(plan.number))


def links_only(folder: Path) -> None:
    write_pair(folder.parent / "elsewhere")
    for number in ("5", "6"):
        (folder / number).symlink_to(folder.parent / "elsewhere" / number)


def two_patients(folder: Path) -> None:
    write_pair(folder, pre=pre_plan(patient="PLANTED-ID-TWO"))


def two_studies(folder: Path) -> None:
    write_pair(folder, pre=pre_plan(study="another"))


def doubled_slice(folder: Path) -> None:
    write_pair(folder)
    again = change(slices(pre_plan())[4:5], SOPInstanceUID=uid("again"))
    write(again, folder / "again")


def doubled_series(folder: Path) -> None:
    for index in range(2):
        datasets = slices(Plan())
        fresh = change(datasets, SOPInstanceUID=lambda i, k=index: uid("fresh", k, i))
        write(fresh, folder / str(index))


def contradicting_copy(folder: Path) -> None:
    write_pair(folder)
    other = change(slices(pre_plan())[4:5], PixelSpacing=["1", "1"])
    write(other, folder / "copy")


def other_matrix(folder: Path) -> None:
    write_pair(folder, post=post_plan(shape=(12, 20, 24)))


def other_place(folder: Path) -> None:
    write_pair(folder, post=post_plan(position_mm=(-150.0, -120.0, -30.0)))


def dynamic_without(rank: int, index: int) -> Breaker:
    """Write a dynamic series of four phases with one slice lost."""

    def build(folder: Path) -> None:
        datasets = one_series("trigger time")
        del datasets[12 * rank + index]
        write(datasets, folder)

    return build


def damaged_series_before_dynamic(folder: Path) -> None:
    early = Plan(number=4, description="t1 tra")
    write(slices(early)[:5] + slices(early)[6:], folder / "4")
    late = replace(Plan(description="t1 tra"), phase=1)
    write(one_series("temporal position", plan=late), folder / "5")


def one_frame_too_few(folder: Path) -> None:
    dataset = enhanced(phases(3))
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    write([dataset], folder)


def broken_codestream(folder: Path) -> None:
    for plan in (pre_plan(), post_plan()):
        datasets = slices(plan)
        for dataset in datasets:
            dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
            dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"\1" * 200])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
        write(datasets, folder / str(plan.number))


def broken_rle(folder: Path) -> None:
    for plan in (pre_plan(), post_plan()):
        datasets = slices(plan)
        for dataset in datasets:
            dataset.file_meta.TransferSyntaxUID = RLELossless
            dataset.PixelData = encapsulate([b"\2\0\0\0" + b"\xff" * 100])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
        write(datasets, folder / str(plan.number))


def fragments(folder: Path) -> None:
    for plan in (pre_plan(), post_plan()):
        datasets = slices(plan)
        for dataset in datasets:
            dataset.compress(RLELossless, generate_instance_uid=False)
        for path in write(datasets, folder / str(plan.number)):
            data = path.read_bytes()
            assert RLELossless.encode() in data
            plain = ExplicitVRLittleEndian.encode()
            path.write_bytes(data.replace(RLELossless.encode(), plain))


def video(folder: Path) -> None:
    for plan in (pre_plan(), post_plan()):
        datasets = slices(plan)
        for dataset in datasets:
            dataset.file_meta.TransferSyntaxUID = MPEG2MPML
            dataset.PixelData = encapsulate([b"\0\0\1\xb3" + b"\1" * 200])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
        write(datasets, folder / str(plan.number))


def malformed_spacing(folder: Path) -> None:
    write_pair(folder)
    for path in folder.rglob("*.dcm"):
        data = path.read_bytes()
        assert b"15.000000000\\" in data
        path.write_bytes(data.replace(b"15.000000000\\", b"fifteen mm..\\"))


PLACED = np.diag([-14.0, -15.0, 5.0, 1.0])


def nifti(
    folder: Path,
    name: str,
    *,
    shape: tuple[int, ...] = (24, 16, 12),
    affine: Any = PLACED,
    value: float = 1,
) -> None:
    voxels = np.full(shape, value, np.float32)
    image = nib.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    nib.save(image, folder / name)


def nifti_pair(**changes: Any) -> Breaker:
    def build(folder: Path) -> None:
        nifti(folder, "pre.nii.gz", **changes)
        nifti(folder, "post.nii.gz", **changes)

    return build


def cut_nifti(folder: Path) -> None:
    nifti_pair()(folder)
    cut(folder / "post.nii.gz", 30)


def no_nifti(folder: Path) -> None:
    nifti(folder, "pre.nii.gz")
    (folder / "post.nii.gz").write_bytes(b"not a NIfTI file at all")


def nifti_elsewhere(folder: Path) -> None:
    nifti(folder, "pre.nii.gz")
    nifti(folder, "post.nii.gz", affine=PLACED * [1, 1, 0.8, 1])


SHEARED = PLACED.copy()
SHEARED[0, 2] = 2.0
TURNED = np.diag([5.0, -15.0, -14.0, 1.0])[[2, 1, 0, 3]]

REFUSED: dict[str, tuple[Breaker, str]] = {
    "an empty folder": (lambda folder: None, "no file at all"),
    "text files only": (text_files, "2 files: not DICOM"),
    "empty files only": (zero_bytes, r"0\.dcm: empty file"),
    "noise behind a DICOM prefix": (noise_files, r"0\.dcm: "),
    "headers cut short": (cut_headers, "0000.dcm: DICOM of an unknown SOP class"),
    "deflated files cut short": (cut_deflated, r"unreadable \(error\)"),
    "a DICOMDIR only": (both(SOPClassUID=MediaStorageDirectoryStorage), "DICOMDIR"),
    "secondary captures": (
        both(SOPClassUID=SecondaryCaptureImageStorage),
        "24 files: Secondary Capture",
    ),
    "CT": (both(SOPClassUID=CTImageStorage), "24 files: CT Image Storage"),
    "links out of the folder": (links_only, "2 files: symbolic link"),
    "no PixelSpacing": (both(PixelSpacing=None), "12 images with no PixelSpacing"),
    "no orientation": (
        both(ImageOrientationPatient=None),
        "12 images with no ImageOrientationPatient",
    ),
    "no position": (
        both(ImagePositionPatient=None),
        "12 images with no ImagePositionPatient",
    ),
    "malformed PixelSpacing": (malformed_spacing, "12 images with no PixelSpacing"),
    "impossible direction cosines": (
        both(ImageOrientationPatient=["1", "0", "0", "1", "0", "0"]),
        "12 images with an impossible image plane",
    ),
    "no series UID": (both(SeriesInstanceUID=None), "no SOP or Series Instance UID"),
    "no instance UID": (both(SOPInstanceUID=""), "no SOP or Series Instance UID"),
    "colour": (
        both(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        "12 images with 3 samples per pixel",
    ),
    "floating-point pixels": (float_pixels, "12 images with floating-point pixels"),
    "no pixel data": (both(PixelData=None), "12 images with no pixel data"),
    "frames in a single-frame class": (
        both(NumberOfFrames="2"),
        "2 frames in a single-frame object",
    ),
    "functional groups missing": (one_frame_too_few, "functional groups"),
    "one series": (lambda f: write_plan(f, Plan()), "only one time point"),
    "pre missing": (
        lambda f: write_pair(f, pre=post_plan(number=5, phase=3)),
        "the pre-contrast series is missing",
    ),
    "post missing": (
        lambda f: write_pair(f, post=pre_plan(number=6, phase=3)),
        "the post-contrast series is missing",
    ),
    "pre missing by agent": (
        lambda f: write_pair(
            f,
            Plan(number=5).with_tags(ContrastBolusAgent="Gd"),
            Plan(number=6, phase=1).with_tags(ContrastBolusAgent="Gd"),
        ),
        "the pre-contrast series is missing",
    ),
    "too few slices": (pair_of(shape=(9, 16, 24)), "fewer than 10 slices"),
    "sagittal": (pair_of(orientation=SAGITTAL), "sagittal 16x24, sagittal"),
    "coronal": (pair_of(orientation=CORONAL), "coronal 16x24, coronal"),
    "T2 only": (pair_of(description="t2_tse"), "T2-weighted"),
    "long echoes only": (both(EchoTime="80"), "echo time of 80 ms"),
    "subtractions only": (pair_of(description="t1 dyn SUB"), "subtraction"),
    "derived only": (both(ImageType=["DERIVED", "PRIMARY", "M"]), "derived image"),
    "a slice missing": (pre_with(lambda p: p[5].unlink()), "1 slices missing"),
    "the last slice missing": (
        pre_with(lambda p: p[-1].unlink()),
        r"series 5 .*: 11 images, 11 slices",
    ),
    "a slice truncated": (
        pre_with(lambda p: cut(p[5], 100)),
        f"truncated pixel data, {PIXELS - 100} of {PIXELS} bytes, first in 0005.dcm",
    ),
    "a slice emptied": (pre_with(lambda p: p[5].write_bytes(b"")), "5/0005.dcm: empty"),
    "a slice doubled": (doubled_slice, "1 positions with images that no time tells"),
    "a series doubled": (doubled_series, "12 positions with images that no time tells"),
    "copies that differ": (contradicting_copy, "same SOP Instance UID, other content"),
    "a slice turned": (
        pre_with(
            lambda p: write(
                change(slices(pre_plan())[5:6], ImageOrientationPatient=list(SAGITTAL)),
                p[5].parent,
                name=lambda _: p[5].name,
            )
        ),
        "1 slices missing",
    ),
    "slices off their spacing": (
        pre_moved(lambda i: ["-160", "-120", f"{-30 + 5 * i + 2 * (i == 4)}"]),
        "slices off an equal spacing by up to 2 mm",
    ),
    "slices shifted sideways": (
        pre_moved(lambda i: [f"{-160 + i}", "-120", f"{-30 + 5 * i}"]),
        "slices shifted sideways by up to 11 mm",
    ),
    "another matrix": (other_matrix, "only one time point on its grid"),
    "another place": (other_place, "only one time point on its grid"),
    "two patients": (two_patients, "images of 2 patients, first in series 5"),
    "two studies": (two_studies, "images of 2 studies, first in series 5"),
    "first phase of a dynamic incomplete": (
        dynamic_without(rank=0, index=5),
        "incomplete series that may hold the pre-contrast",
    ),
    "first phase of a dynamic cropped": (
        dynamic_without(rank=0, index=11),
        "11 of 12 slices",
    ),
    "second phase of a dynamic incomplete": (
        dynamic_without(rank=1, index=5),
        "incomplete series that may hold the pre-contrast",
    ),
    "a damaged series before a dynamic": (
        damaged_series_before_dynamic,
        "series 4 .*1 slices missing",
    ),
    "a dynamic that starts at its second position": (
        lambda f: write(one_series("temporal position")[12:], f),
        "the first temporal positions are missing",
    ),
    "pixel data in fragments without compression": (
        fragments,
        "12 images with pixel data not as its transfer syntax says",
    ),
    "no post.nii.gz": (lambda f: nifti(f, "pre.nii.gz"), "0 files post.nii.gz"),
    "NIfTI in four dimensions": (nifti_pair(shape=(24, 16, 12, 2)), r"shape \(24, 16"),
    "NIfTI without a place in space": (
        nifti_pair(affine=None),
        "no sform and no qform",
    ),
    "NIfTI sheared": (nifti_pair(affine=SHEARED), "a sheared grid"),
    "NIfTI sagittal": (nifti_pair(affine=TURNED), "sagittal slices"),
    "NIfTI of few slices": (nifti_pair(shape=(24, 16, 5)), "5 slices"),
    "NIfTI on two grids": (nifti_elsewhere, "another grid than pre"),
    "NIfTI that is none": (no_nifti, r"post\.nii\.gz: found unreadable bytes"),
}

UNREADABLE: dict[str, tuple[Breaker, str]] = {
    "a broken JPEG 2000 stream": (broken_codestream, "unreadable pixel data"),
    "a broken RLE stream": (broken_rle, "unreadable pixel data"),
    "video": (video, "unreadable pixel data"),
    "an unknown depth": (
        both(BitsAllocated=64, PixelData=b"\0" * 4 * PIXELS),
        "64 bits allocated",
    ),
    "a rescale slope of zero": (both(RescaleSlope="0"), "a rescale slope of 0"),
    "a cut NIfTI file": (cut_nifti, r"post\.nii\.gz: found unreadable bytes"),
    "NIfTI that is not finite": (
        nifti_pair(value=np.nan),
        "voxels that are not finite",
    ),
}


def extra(*names: str, data: bytes) -> Breaker:
    def build(folder: Path) -> None:
        write_pair(folder)
        for name in names:
            (folder / name).write_bytes(data)

    return build


def tilted_extra(folder: Path) -> None:
    write_pair(folder)
    turned = change(
        slices(pre_plan(shape=(13, 16, 24)))[12:], ImageOrientationPatient=list(CORONAL)
    )
    write(turned, folder / "turned")


def sent_twice(folder: Path) -> None:
    write_pair(folder / "a")
    write_pair(folder / "b")


def later_truncated(folder: Path) -> None:
    write_pair(folder)
    late = write(slices(post_plan(number=7, phase=2)), folder / "7")
    cut(late[3], 10)


FLAGGED: dict[str, tuple[Breaker, set[str]]] = {
    "a damaged file beside the pair": (
        extra("x.dcm", data=b"\0" * 128 + b"DICM" + b"\x08" * 50),
        {"damaged-files"},
    ),
    "an empty image beside the pair": (extra("IM0001", data=b""), {"damaged-files"}),
    "text beside the pair": (extra("readme.txt", "a.xml", data=b"text"), set()),
    "a truncated later series": (later_truncated, {"damaged-files"}),
    "a last phase that was aborted": (
        dynamic_without(rank=3, index=5),
        {"incomplete-series"},
    ),
    "a turned slice beyond the stack": (tilted_extra, {"mixed-orientation"}),
    "a series sent twice": (sent_twice, set()),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "session"
    place.mkdir()
    return place


@pytest.fixture(autouse=True)
def _no_patient_in_logs(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Any:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="plugin")
    yield
    said = caplog.text + "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret in said]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    error = caught.value
    assert not [secret for secret in SECRETS if secret in str(error)]
    assert all((error.subject, error.found, error.needed, error.mend))
    return str(error)


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_session_is_refused_with_what_was_found(
    folder: Path, case: str
) -> None:
    build, found = REFUSED[case]
    build(folder)
    message = refusal(lambda: choose(folder))
    assert re.search(found, message), message


@pytest.mark.parametrize("case", UNREADABLE)
def test_broken_pixels_are_refused_when_they_are_read(folder: Path, case: str) -> None:
    build, found = UNREADABLE[case]
    build(folder)
    pair = choose(folder)
    message = refusal(lambda: load_pair(pair))
    assert re.search(found, message), message


@pytest.mark.parametrize("case", FLAGGED)
def test_a_pair_among_broken_files_is_found_and_flagged(
    folder: Path, case: str
) -> None:
    build, flags = FLAGGED[case]
    build(folder)
    pair = choose(folder)
    assert set(pair.flags) == flags
    pre, post = load_pair(pair)
    assert pre.array.tolist() == Plan().voxels().tolist()
    assert post.array.tolist() == Plan(phase=1).voxels().tolist()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in refusal(lambda: choose(tmp_path / "none"))


def test_a_refusal_lists_every_series_with_its_verdict(folder: Path) -> None:
    write(slices(Plan(number=1, description="localizer")), folder / "1")
    write(slices(Plan(number=3, description="t1 tra")), folder / "3")
    text_files(folder)
    message = refusal(lambda: choose(folder))
    assert (
        'series 1 "localizer" (MR Image Storage): 12 images, 12 slices, 1 times, '
        "axial 16x24, localiser; "
        'series 3 "t1 tra" (MR Image Storage): 12 images, 12 slices, 1 times, '
        "axial 16x24, usable; 2 files: not DICOM"
    ) in message


def test_a_long_table_is_cut(folder: Path) -> None:
    for number in range(30):
        write(slices(Plan(number=number))[:1], folder / str(number))
    assert "and 10 more" in refusal(lambda: choose(folder))


def test_at_least_thirty_kinds_of_bad_input_are_covered() -> None:
    assert len(REFUSED) + len(UNREADABLE) + len(FLAGGED) >= 30
