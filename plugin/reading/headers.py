"""Scan a folder of anything into frame headers: one pass, pixels stay on disk.

What is not a usable MR image is counted under its reason, never a failure: session
folders hold catalogs, reports, screen shots and half-sent files beside the images.
"""

import logging
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from plugin.errors import InputError
from plugin.reading.elements import text
from plugin.reading.frames import Frame, read_frame, read_plane_header, read_series
from plugin.reading.instance import READ_ERRORS, Instance, frame_count, read_instance
from plugin.reading.layout import Stamp, Tail, find_tail
from plugin.reading.multiframe import read_frames
from plugin.series import FrameRef

logger = logging.getLogger(__name__)

MULTI_FRAME_MR = {EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage}
PREAMBLE_BYTES = 128
IMAGE_SUFFIXES = {"", ".dcm", ".ima"}
"""An empty file with such a name was meant to be an image."""
NIFTI_NAMES = {
    name + suffix: name for name in ("pre", "post") for suffix in (".nii.gz", ".nii")
}
STANDARD_ROOT = "1.2.840.10008.5.1"
"""Storage classes of the Standard; an unknown one here is a UID cut short."""
DUPLICATE = "duplicate of an instance"
CONFLICT = "same SOP Instance UID, other content"


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file that was meant to be an image and cannot be read."""

    path: Path
    """Relative to the scanned folder."""
    found: str


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything a folder holds: MR frames, and the count of all else by reason."""

    frames: tuple[Frame, ...]
    ignored: dict[str, int]
    damaged: tuple[Damaged, ...]
    nifti: tuple[Path, ...]
    """Files named ``pre`` or ``post`` with a NIfTI suffix."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one file gave: frames, or the reason why none."""

    frames: tuple[Frame, ...] = ()
    ignored: str = ""
    is_damaged: bool = False


def scan(folder: Path) -> Scan:
    """Return the headers of all MR frames under ``folder``, in order of their UIDs.

    Raises
    ------
    InputError
        If a folder cannot be listed.
    """
    found = united(folder, ((path, read_file(path)) for path in _walk(folder)))
    logger.info("%d MR frames, files not used: %s", len(found.frames), found.ignored)
    return found


def united(folder: Path, reports: Iterable[tuple[Path, FileReport]]) -> Scan:
    """Return what the files of a folder gave, as one."""
    ignored: Counter[str] = Counter()
    frames: list[Frame] = []
    damaged, nifti = [], []
    for path, report in reports:
        frames += report.frames
        if path.name.lower() in NIFTI_NAMES:
            nifti.append(path)
        elif report.ignored:
            ignored[report.ignored] += 1
        if report.is_damaged:
            damaged.append(Damaged(path.relative_to(folder), report.ignored))
    unique = _without_duplicates(frames, ignored)
    return Scan(unique, dict(ignored), tuple(damaged), tuple(nifti))


def read_file(path: Path) -> FileReport:
    """Return the MR frames of one file, or why it has none."""
    try:
        if (report := _not_a_file(path)) is not None:
            return report
        with warnings.catch_warnings():
            # Warnings of pydicom quote values, which may name a patient.
            warnings.simplefilter("ignore")
            return _read(path)
    except READ_ERRORS as error:
        kind = type(error).__name__
        logger.debug("unreadable file %s: %s", path, kind)
        return FileReport(ignored=f"unreadable ({kind})", is_damaged=True)


def _not_a_file(path: Path) -> FileReport | None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return FileReport(ignored="symbolic link")
    if not stat.S_ISREG(status.st_mode):
        return FileReport(ignored="not a regular file")
    if status.st_size == 0:
        meant = path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."
        return FileReport(ignored="empty file", is_damaged=meant)
    return None


def _read(path: Path) -> FileReport:
    with path.open("rb") as file:
        if not _looks_like_dicom(file.read(PREAMBLE_BYTES + 4)):
            return FileReport(ignored="not DICOM")
        file.seek(0)
        instance = read_instance(file)
        stamp = Stamp.of(os.fstat(file.fileno()))
    dataset = instance.dataset
    sop_class = UID(text(dataset, "SOPClassUID"))
    if sop_class == MRImageStorage:
        return _single_frame(instance, path, stamp)
    if sop_class in MULTI_FRAME_MR:
        return _multi_frame(instance, path, stamp)
    media = dataset.file_meta.get("MediaStorageSOPClassUID", "")
    if MediaStorageDirectoryStorage in (sop_class, media):
        return FileReport(ignored="DICOMDIR")
    if not sop_class:
        return FileReport(ignored="DICOM without a SOP class", is_damaged=True)
    if sop_class.name == sop_class:
        cut = sop_class.startswith(STANDARD_ROOT[: len(sop_class)])
        return FileReport(ignored="DICOM of an unknown SOP class", is_damaged=cut)
    return FileReport(ignored=sop_class.name)


def _single_frame(instance: Instance, path: Path, stamp: Stamp) -> FileReport:
    dataset = instance.dataset
    ref = FrameRef(
        path=path,
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        sop_class_uid=text(dataset, "SOPClassUID"),
        is_packed=instance.is_packed,
        stamp=stamp,
        header=read_plane_header(dataset),
        tail=_tail(instance, path),
    )
    series = read_series(dataset)
    frame = read_frame(dataset, ref, series, instance.transfer_syntax)
    if frame_count(dataset) != 1:
        problem = f"{frame_count(dataset)} frames in a single-frame object"
        return FileReport((replace(frame, problem=problem),))
    return FileReport((replace(frame, problem=frame.problem or instance.problem),))


def _tail(instance: Instance, path: Path) -> Tail | None:
    known = instance.transfer_syntax in AllTransferSyntaxes
    if instance.problem or instance.is_packed or not known:
        return None
    return find_tail(path, instance.dataset, instance.pixel_offset)


def _multi_frame(instance: Instance, path: Path, stamp: Stamp) -> FileReport:
    frames = read_frames(instance, path, stamp)
    if not frames:
        reason = "functional groups that do not match the number of frames"
        return FileReport(ignored=reason, is_damaged=True)
    return FileReport(
        tuple(replace(f, problem=f.problem or instance.problem) for f in frames)
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files in path order; links to folders are not entered."""
    for parent, folders, names in os.walk(folder, onerror=_stop):
        links = {name for name in folders if (Path(parent) / name).is_symlink()}
        folders[:] = sorted(set(folders) - links)
        yield from (Path(parent) / name for name in sorted({*names, *links}))


def _stop(error: OSError) -> None:
    """Refuse a session with a folder that cannot be listed: images may be in it."""
    raise InputError(
        Path(str(error.filename)).name,
        found=f"a folder that cannot be listed ({type(error).__name__})",
        needed="read access to the whole session",
        mend="grant the user of this process read access, or mount the folder again",
    ) from error


def _looks_like_dicom(head: bytes) -> bool:
    """Tell DICOM by its prefix, or without one by a first element of group 8 or 2."""
    if head[PREAMBLE_BYTES:] == b"DICM":
        return True
    return head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00"


def _without_duplicates(
    frames: list[Frame], ignored: Counter[str]
) -> tuple[Frame, ...]:
    """Keep one frame per SOP Instance UID and frame number; mark contradictions."""
    kept: dict[tuple[str, int | None], Frame] = {}
    for frame in frames:
        ref = frame.ref
        key = (ref.sop_instance_uid or str(ref.path), ref.frame_number)
        first = kept.setdefault(key, frame)
        if first is frame:
            continue
        better = _better_copy(first, frame)
        ignored[CONFLICT if better is None else DUPLICATE] += 1
        kept[key] = better or replace(first, problem=CONFLICT)
    return tuple(sorted(kept.values(), key=_identity))


def _identity(frame: Frame) -> tuple[str, str, int]:
    """Sort by what the frame is, so that names on disk never matter."""
    ref = frame.ref
    return frame.series.series_uid, ref.sop_instance_uid, ref.frame_number or 0


def _better_copy(first: Frame, second: Frame) -> Frame | None:
    """Return the copy to keep, None when the two contradict each other."""
    if replace(first, ref=second.ref, problem=second.problem) != second:
        return None
    return second if first.problem and not second.problem else first
