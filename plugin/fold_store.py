"""Finished folds in the archive: kept as each ends, found again by the next container.

A training may outlive its login. What cannot be pushed stays in the output folder and
is said; it never ends the training.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from model.atomic import write_atomically
from plugin.archive import Archive
from plugin.errors import ArchiveError
from plugin.weights import CHECKPOINT_FILE

logger = logging.getLogger(__name__)

MOST_FOLDS = 20
"""Numbers at which a fold is looked for."""


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


def deploy_fold(archive: Archive, weights_sha256: str) -> bool:
    """Make the fold of these weights the project's checkpoint; say whether it is."""
    deployed = Path(CHECKPOINT_FILE)
    if _weights_of(archive, deployed) == weights_sha256:
        return True
    folds = [Path(f"fold-{number}.safetensors") for number in range(MOST_FOLDS)]
    fold = next((f for f in folds if _weights_of(archive, f) == weights_sha256), None)
    if fold is None:
        return False
    for suffix in (".safetensors", ".json"):
        data = archive.read(None, fold.with_suffix(suffix).name)
        archive.write(None, deployed.with_suffix(suffix).name, data or b"")
    return True


def _weights_of(archive: Archive, checkpoint: Path) -> str:
    """Return the hash in a checkpoint's manifest, empty without one."""
    manifest = archive.read(None, checkpoint.with_suffix(".json").name)
    return "" if manifest is None else str(json.loads(manifest).get("weights_sha256"))


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
