"""Who holds a running job, and whether that process still lives.

An owner is a folder in ``running/`` under a lock of the kernel, which ends with the
process: a pid alone may be another program's by now, or another container's.
"""

import os
from pathlib import Path
from tempfile import mkdtemp
from weakref import WeakSet

from plugin.queue.clock import Moment
from plugin.queue.lock import inherit
from plugin.queue.store import checked


class Owner:
    """A living holder of jobs; its folder is named by worker, pid and start."""

    def __init__(self, running: Path, worker: str, start: Moment) -> None:
        began = start.at.strftime("%Y%m%dT%H%M%SZ")
        prefix = f"{checked(worker)}.{os.getpid()}.{began}."
        handle: int | None = None
        while handle is None:
            self.folder = Path(mkdtemp(prefix=prefix, dir=running))
            handle = inherit(self.folder)
        self._handle = handle
        _living.add(self)

    @property
    def is_mine(self) -> bool:
        """Whether this process, and not one it was forked from, is the owner."""
        return self._handle >= 0

    def close(self) -> None:
        """End the ownership; a job that is still held waits for ``recover``."""
        bury(self.folder, self._handle)
        self.forget()

    def forget(self) -> None:
        """Close the lock's handle: in a forked child the parent keeps the lock."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


def bury(folder: Path, handle: int) -> None:
    """Remove an owner's folder while its lock is held, unless a job is in it."""
    if handle < 0:
        return
    try:
        folder.rmdir()
    except OSError:
        return


_living: WeakSet[Owner] = WeakSet()


def _forget_all() -> None:
    for owner in list(_living):
        owner.forget()


os.register_at_fork(after_in_child=_forget_all)
