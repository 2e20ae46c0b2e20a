"""What every archive can do, and which URI means which archive.

An archive holds sessions (their images, plus a resource ``BRS`` with our results) and
one project resource ``BRS`` (rankings, checkpoints, carbon logs).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from plugin.errors import ConfigError
from plugin.folder_archive import FolderArchive


class Archive(Protocol):
    """Images out, results in; a write returns only after it was read back equal."""

    def sessions(self) -> Sequence[str]:
        """Return the ids of all sessions, sorted."""
        ...

    def fetch(self, session_id: str, work: Path) -> Path:
        """Return a folder with the session's images, downloaded under ``work``."""
        ...

    def mask_paths(self, session_id: str, work: Path) -> Sequence[Path]:
        """Return the session's mask objects (DICOM-SEG, ``mask.nii.gz``), sorted."""
        ...

    def read(self, session_id: str | None, name: str) -> bytes | None:
        """Return a file of the ``BRS`` resource, None when there is none.

        ``session_id`` None means the project's resource.
        """
        ...

    def write(self, session_id: str | None, name: str, data: bytes) -> None:
        """Store a file in the ``BRS`` resource and verify it by reading back."""
        ...


def open_archive(uri: str) -> Archive:
    """Return the archive that ``uri`` names: today a folder, by path.

    Raises
    ------
    ConfigError
        If the URI has a scheme that this version cannot open.
    """
    if "://" in uri or uri.startswith("xnat:"):
        raise ConfigError(
            f"archive '{uri.split('://')[0]}'",
            found="a scheme that this version cannot open",
            needed="the path of a folder with one folder per session",
            mend="export the sessions to a folder and give its path",
        )
    return FolderArchive(Path(uri))
