"""Why a job stops: what may pass is tried again, what will not is parked.

PluginError
├── QueueError         the queue is asked for what it cannot do
│   └── JournalError   a job's journal is missing or damaged
├── PassingError       network, a busy PACS, out of memory: try again
│   └── StorageError   the queue's own disk refuses, most often because it is full
└── LastingError       no retry will mend it: park at once
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from model.errors import BrsError
from plugin.errors import PluginError

CODE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
PASSING_ERRNO: Final = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOMEM,
    errno.EIO,
    errno.EBUSY,
}


class QueueError(PluginError):
    """The queue is asked for what it cannot do."""


class JournalError(QueueError):
    """A job's journal is missing or damaged."""


class PassingError(PluginError):
    """What may pass by itself: network, a busy PACS, out of memory."""

    def __init__(
        self, subject: str, *, cause: str, found: str, needed: str, mend: str
    ) -> None:
        super().__init__(subject, found=found, needed=needed, mend=mend)
        self.cause = cause


class LastingError(PluginError):
    """What no retry will mend."""

    def __init__(
        self, subject: str, *, cause: str, found: str, needed: str, mend: str
    ) -> None:
        super().__init__(subject, found=found, needed=needed, mend=mend)
        self.cause = cause


class StorageError(PassingError):
    """The queue's own disk refuses."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a job stopped: a short code, and a line for a person."""

    code: str
    text: str
    passing: bool

    def __post_init__(self) -> None:
        if not CODE.fullmatch(self.code):
            raise QueueError(
                "a job's cause",
                found="a code that is not short and plain",
                needed="up to 40 of a-z, 0-9 and hyphen",
                mend="name the cause by a code such as 'pacs-busy'",
            )


def cause_of(error: BaseException) -> Cause:
    """Return what an error means for its job.

    A foreign error is told by its class alone: its message may name a patient.
    """
    if isinstance(error, PassingError | LastingError):
        return Cause(error.cause, str(error), isinstance(error, PassingError))
    name = _code(type(error).__name__)
    if isinstance(error, BrsError):
        return Cause(name, str(error), passing=False)
    return Cause(name, type(error).__name__, passing=_may_pass(error))


@contextmanager
def disk_reported(subject: str) -> Iterator[None]:
    """Turn what the disk refuses into an error a person can mend.

    A folder that is gone stays FileNotFoundError: another process moved it.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(
            subject,
            cause="disk-full" if error.errno == errno.ENOSPC else "disk",
            found=error.strerror or "an I/O error",
            needed="a work folder that can be written",
            mend="free disk space or correct the rights; nothing was lost",
        ) from error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, MemoryError | ConnectionError | TimeoutError):
        return True
    return isinstance(error, OSError) and error.errno in PASSING_ERRNO


def _code(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    return re.sub(r"[^a-z0-9-]", "", words).strip("-")[:40] or "unknown"
