"""Received instances on disk: whole and durable, then the queue's.

<work>/receiving/*.part                     not yet answered; removed at the next start
<work>/incoming/<study>/images/<sop>.dcm    answered with success
"""

import fcntl
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from plugin.errors import ConfigError
from plugin.jobs import Arrival, Queue
from plugin.receiving.identity import Identity

IMAGES: Final = "images"
PARTS: Final = "receiving"

Bytes = bytes | memoryview


class DiskFullError(OSError):
    """Keeping this instance would leave less free than must stay free."""


def free_bytes(folder: Path) -> int:
    """Return the bytes that may still be written below a folder."""
    return shutil.disk_usage(folder).free


class Landing:
    """The one writer of received instances into a queue.

    A context manager: a second one on the same work folder is refused.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        min_free_bytes: int = 0,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.parts = queue.root / PARTS
        self._queue = queue
        self._min_free_bytes = min_free_bytes
        self._free = free
        self._promised_bytes = 0
        self._room = threading.Lock()
        self._owner: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.parts.mkdir(parents=True, exist_ok=True)
        self._own()
        for part in self.parts.glob("*.part"):
            part.unlink()
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

    def keep(self, identity: Identity, head: bytes, dataset: Bytes) -> Arrival:
        """Return once the instance is the queue's for good.

        OSError or StorageError where the disk refuses; then nothing is kept.
        """
        with self._reserved(len(head) + len(dataset)):
            part = self.parts / f"{uuid.uuid4().hex}.part"
            inside = f"{IMAGES}/{identity.sop_key}.dcm"
            try:
                _write_durably(part, head, dataset)
                return self._queue.accept(identity.study_key, part, inside)
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)

    @contextmanager
    def _reserved(self, size: int) -> Iterator[None]:
        """Promise bytes of the disk to one writer, or refuse before it is full."""
        with self._room:
            left = self._free(self.parts) - self._promised_bytes - size
            if left < self._min_free_bytes:
                raise DiskFullError
            self._promised_bytes += size
        try:
            yield
        finally:
            with self._room:
                self._promised_bytes -= size


def _write_durably(path: Path, head: bytes, dataset: Bytes) -> None:
    """Write a new file and wait for the disk."""
    with path.open("xb", buffering=0) as file:
        for block in (head, dataset):
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
