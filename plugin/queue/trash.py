"""Remove a job without ever removing images that arrive meanwhile."""

import shutil
from pathlib import Path

from plugin.queue.disk import sync
from plugin.queue.journal import NAME
from plugin.queue.store import State, Store, late_batches, subfolders


def discard(store: Store, folder: Path) -> None:
    """Remove a job's folder, or a part of it; nothing where it has moved."""
    with store.trash() as bin_:
        try:
            folder.rename(bin_ / folder.name)
        except FileNotFoundError:
            bin_.rmdir()
            return
        sync(folder.parent)
        store.between("in the trash")
        empty(store, bin_)


def empty(store: Store, bin_: Path) -> None:
    """Remove a bin; a job to which a late batch came before it is queued again."""
    for folder in subfolders(bin_):
        if (folder / NAME).exists() and late_batches(folder):
            store.move(folder, store.folder(State.QUEUED, folder.name))
    shutil.rmtree(bin_, ignore_errors=True)
    sync(bin_.parent)
