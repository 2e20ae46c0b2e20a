"""Files and renames that last through a power cut.

``model.atomic`` makes missing folders; here a missing folder means that another
process moved the job, and must stay an error.
"""

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

CONFLICTS: Final = "conflicts"
CHUNK_BYTES: Final = 1 << 20
# Preamble and prefix, then tag, VR and length of (0002,0000) (PS3.10 7.1).
DICOM_MARK: Final = slice(128, 132)
META_LENGTH_AT: Final = 140
META_LENGTH_END: Final = 144


class Arrival(StrEnum):
    """What putting a file beside others did."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


def sync(folder: Path) -> None:
    """Flush a folder's names to disk; do nothing where it is gone."""
    with suppress(FileNotFoundError), _opened(folder) as handle:
        os.fsync(handle)


def beside(path: Path) -> Path:
    """Return where this thread writes a file before it is renamed into place."""
    return path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")


def write(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write a file whole and flush it; leave nothing behind on failure.

    Unless ``lasting``, a power cut may bring back the file that was there before.
    """
    part = beside(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    if lasting:
        sync(path.parent)


def put(source: Path, top: Path, inside: Path) -> Arrival:
    """Move a file to ``top / inside`` without replacing one.

    Equal bytes are dropped; other bytes under a taken name go to ``top / conflicts``,
    where no reader of images meets them.
    """
    arrival = _link(source, top / inside, top)
    if arrival is Arrival.CONFLICT:
        kept = inside.with_name(f"{inside.name}.{sha256(source)[:16]}")
        _link(source, top / CONFLICTS / kept, top)
    source.unlink(missing_ok=True)
    return arrival


def same(one: Path, other: Path) -> bool:
    """Tell whether two files hold the same; False where one is missing.

    Of a DICOM file the dataset decides: who sent it stands in the file meta
    information.
    """
    try:
        if one.samefile(other):
            return True
        with one.open("rb") as first, other.open("rb") as second:
            return _left(first) == _left(second) and _equal(first, second)
    except FileNotFoundError:
        return False


def sha256(path: Path) -> str:
    """Return the hash of what ``same`` compares, read in pieces."""
    with path.open("rb") as file:
        _left(file)
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_taken(error: OSError) -> bool:
    """Tell whether a rename failed because its target is there, with files in it."""
    return error.errno in (errno.ENOTEMPTY, errno.EEXIST)


def _link(source: Path, target: Path, top: Path) -> Arrival:
    """Link by path, so that it fails where the job has moved; flush by handle."""
    _make_folders(target.parent, top)
    with _opened(target.parent) as handle:
        try:
            os.link(source, target)
        except FileExistsError:
            return Arrival.DUPLICATE if same(source, target) else Arrival.CONFLICT
        finally:
            os.fsync(handle)
    return Arrival.NEW


def _make_folders(folder: Path, top: Path) -> None:
    """Make the folders below ``top``; ``top`` itself must be there."""
    if folder == top or folder.is_dir():
        return
    _make_folders(folder.parent, top)
    with _opened(folder.parent) as handle:
        make_folder(folder)
        os.fsync(handle)


def make_folder(folder: Path) -> None:
    """Make a folder unless it is there.

    ``mkdir(exist_ok=True)`` fails where the folder's parent moves while it looks.
    """
    with suppress(FileExistsError):
        folder.mkdir()


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _left(file: BinaryIO) -> int:
    """Go to where a file's content begins; return how many bytes are left."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(META_LENGTH_END)
    start = META_LENGTH_END + int.from_bytes(head[META_LENGTH_AT:], "little")
    if head[DICOM_MARK] != b"DICM" or start > size:
        start = 0
    file.seek(start)
    return size - start


def _equal(first: BinaryIO, second: BinaryIO) -> bool:
    while chunk := first.read(CHUNK_BYTES):
        if chunk != second.read(CHUNK_BYTES):
            return False
    return not second.read(1)
