"""A folder's lock of the kernel: it ends with the process that holds it."""

import fcntl
import os
from pathlib import Path


def inherit(folder: Path) -> int | None:
    """Lock a folder; None where its owner lives or it is gone.

    The caller closes the handle, and with it ends the lock.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.path.samestat(os.fstat(handle), folder.stat())
    except (BlockingIOError, FileNotFoundError):
        there = False
    if not there:
        os.close(handle)
        return None
    return handle
