"""One process at a time: a file that is locked while its owner lives, killed or not."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import TrainingError


@contextmanager
def held(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold ``path`` alone; wait for another owner, or refuse.

    Raises
    ------
    TrainingError
        If another process holds it and ``wait`` is not set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            raise TrainingError(
                str(path.parent),
                found=f"another training at it (process {file.read() or 'unknown'})",
                needed="one at a time",
                mend="wait for it, end it, or choose another output folder",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
