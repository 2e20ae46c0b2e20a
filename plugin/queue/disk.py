"""Files and renames that last through a power cut.

``model.atomic`` makes missing folders; here a missing folder means that another
process moved the job, and must stay an error.
"""

import errno
import filecmp
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

CONFLICTS: Final = "conflicts"


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
    """Tell whether two files hold the same bytes; False where one is missing."""
    try:
        return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
    except FileNotFoundError:
        return False


def sha256(path: Path) -> str:
    """Return the hash of a file, read in pieces."""
    with path.open("rb") as file:
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
