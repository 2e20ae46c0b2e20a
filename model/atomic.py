"""Files that are whole or absent, also after a power cut."""

import os
from pathlib import Path
from threading import get_ident


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside, flush to disk, rename into place."""
    _written_beside(path, data).replace(path)


def write_new(path: Path, data: bytes) -> bool:
    """Write a file where there is none; say whether, of all who tried, we did."""
    beside = _written_beside(path, data)
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        return False
    finally:
        beside.unlink()
    return True


def _written_beside(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.{get_ident()}.part")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return beside
