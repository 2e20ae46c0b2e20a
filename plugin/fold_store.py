"""Finished folds in the archive: kept as each ends, found again by the next container.

A training may outlive its login. What cannot be pushed stays in the output folder and
is said; it never ends the training.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from model.atomic import write_atomically
from plugin.archive import Archive
from plugin.errors import ArchiveError

logger = logging.getLogger(__name__)


def keep_fold(archive: Archive, checkpoint: Path) -> bool:
    """Push a fold's files, its manifest last; say whether all arrived."""
    return keep_files(archive, checkpoint.parent, _names(checkpoint))


def keep_files(archive: Archive, folder: Path, names: Sequence[str]) -> bool:
    """Push files of ``folder`` to the project's resource; say whether all arrived."""
    try:
        for name in names:
            if (folder / name).exists():
                archive.write(None, name, (folder / name).read_bytes())
    except ArchiveError as error:
        logger.warning("not pushed, but kept in the output: %s", error)
        return False
    return True


def recall_fold(archive: Archive, checkpoint: Path) -> None:
    """Bring a fold that another container finished, unless one is here."""
    if checkpoint.with_suffix(".json").exists():
        return
    *others, manifest = _names(checkpoint)
    try:
        found = archive.read(None, manifest)
        if found is None:
            return
        for name in others:
            data = archive.read(None, name)
            if data is not None:
                write_atomically(checkpoint.parent / name, data)
        write_atomically(checkpoint.parent / manifest, found)
    except ArchiveError as error:
        logger.warning("no finished fold is looked for: %s", error)


def _names(checkpoint: Path) -> list[str]:
    """Return the names of a fold's files, the manifest last."""
    stem = checkpoint.stem
    held_out = stem.replace("fold", "validation")
    return [
        checkpoint.name,
        f"{stem}.history.csv",
        f"{stem}.power.csv",
        f"{held_out}/cases.csv",
        f"{held_out}/slices.csv",
        f"{stem}.json",
    ]
