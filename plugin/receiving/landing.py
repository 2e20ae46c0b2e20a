"""Received instances on disk: whole, durable, nothing overwritten.

<work>/receiving/*.part               not yet answered; removed at the next start
<work>/incoming/<study>/<sop>.dcm     answered with success
<work>/conflicts/<study>/<sop>-<content>.dcm   other bytes under a known SOP UID
"""

import fcntl
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from plugin.errors import ConfigError
from plugin.receiving.identity import Identity

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
# Preamble, DICM, tag, VR and length of (0002,0000), then its value (PS3.10 7.1).
GROUP_LENGTH_AT = 140
GROUP_LENGTH_END = 144

Bytes = bytes | memoryview


class Outcome(StrEnum):
    """What a received instance was."""

    NEW = "new"
    DUPLICATE = "duplicate"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an instance is durable, and what it was."""

    path: Path
    outcome: Outcome


class DiskFullError(OSError):
    """Keeping this instance would leave less free than must stay free."""


def free_bytes(folder: Path) -> int:
    """Return the bytes that may still be written below a folder."""
    return shutil.disk_usage(folder).free


class Landing:
    """The one writer of received instances below a work folder.

    A context manager: a second one on the same folder is refused.
    """

    def __init__(
        self,
        work: Path,
        *,
        min_free_bytes: int = 0,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.parts = work / "receiving"
        self.incoming = work / "incoming"
        self.conflicts = work / "conflicts"
        self._min_free_bytes = min_free_bytes
        self._free = free
        self._promised_bytes = 0
        self._room = threading.Lock()
        self._owner: IO[bytes] | None = None

    def __enter__(self) -> Self:
        for folder in (self.parts, self.incoming, self.conflicts):
            folder.mkdir(parents=True, exist_ok=True)
            _sync_folder(folder.parent)
        self._own()
        for part in self.parts.glob("*.part"):
            part.unlink()
        _sync_folder(self.incoming)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    def _own(self) -> None:
        """Hold this folder as long as this process lives."""
        self._owner = (self.parts / "owner.lock").open("wb")
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._owner.close()
            raise ConfigError(
                str(self.parts),
                found="another listener that writes there",
                needed="one listener per work folder",
                mend="stop the other, or set another work folder",
            ) from error

    def keep(self, identity: Identity, head: bytes, dataset: Bytes) -> Kept:
        """Return once the instance is on disk for good; raise OSError otherwise."""
        with self._reserved(len(head) + len(dataset)):
            part = self.parts / f"{uuid.uuid4().hex}.part"
            try:
                _write_durably(part, head, dataset)
                return self._place(part, identity)
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)

    def take(self, study_key: str, destination: Path) -> None:
        """Move a study's folder away, never between the bytes and their folder."""
        with self.moving():
            (self.incoming / study_key).rename(destination)
        _sync_folder(destination.parent)
        _sync_folder(self.incoming)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Hold what is in ``incoming`` still, also against other processes."""
        with (self.parts / "moving.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _reserved(self, size: int) -> Iterator[None]:
        """Promise bytes of the disk to one writer, or refuse before it is full."""
        with self._room:
            left = self._free(self.incoming) - self._promised_bytes - size
            if left < self._min_free_bytes:
                raise DiskFullError
            self._promised_bytes += size
        try:
            yield
        finally:
            with self._room:
                self._promised_bytes -= size

    def _place(self, part: Path, identity: Identity) -> Kept:
        """Rename a whole file to where it belongs, then make the name durable."""
        path = self.incoming / identity.study_key / f"{identity.sop_key}.dcm"
        with self.moving():
            outcome = _compared(part, path)
            if outcome is Outcome.DIFFERENT:
                path = self._conflict(part, identity)
            folder = _opened_folder(path.parent)
            if outcome is not Outcome.DUPLICATE:
                part.rename(path)
        try:
            # A duplicate too: its first copy's name may not be durable yet.
            os.fsync(folder)
        finally:
            os.close(folder)
        return Kept(path, outcome)

    def _conflict(self, part: Path, identity: Identity) -> Path:
        """Return the name of other bytes under a known SOP UID; the same twice."""
        name = f"{identity.sop_key}-{_content_hash(part)[:16]}.dcm"
        logger.warning(
            "study %s: an instance came again with other bytes; both are kept",
            identity.study_key,
        )
        return self.conflicts / identity.study_key / name


def _write_durably(path: Path, head: bytes, dataset: Bytes) -> None:
    """Write a new file and wait for the disk."""
    with path.open("xb", buffering=0) as file:
        for block in (head, dataset):
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def _opened_folder(folder: Path) -> int:
    """Return a descriptor of a folder whose own name is durable."""
    if not folder.is_dir():
        folder.mkdir()
        _sync_folder(folder.parent)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compared(part: Path, path: Path) -> Outcome:
    """Tell what a new file is beside the one that may be there.

    The dataset decides: who sent it stands in the file meta information.
    """
    if not path.exists():
        return Outcome.NEW
    with part.open("rb") as new, path.open("rb") as old:
        same = all(a == b for a, b in zip(_chunks(new), _chunks(old), strict=True))
        return Outcome.DUPLICATE if same else Outcome.DIFFERENT


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the dataset's bytes, then empty bytes as the end."""
    file.seek(GROUP_LENGTH_AT)
    file.seek(GROUP_LENGTH_END + int.from_bytes(file.read(4), "little"))
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
    yield b""


def _content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's dataset."""
    digest = sha256()
    with path.open("rb") as file:
        for chunk in _chunks(file):
            digest.update(chunk)
    return digest.hexdigest()
