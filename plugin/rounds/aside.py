"""An archive's sessions with results of their own, which stay in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model.atomic import write_atomically, write_new
from model.dataset import folder_name
from plugin.archive import Archive

if TYPE_CHECKING:
    from plugin.reading.shortlist import ScanFilter


class Aside:
    """Images from ``archive``, nothing written there: for masks only tested."""

    def __init__(self, archive: Archive, root: Path) -> None:
        self._archive, self._root = archive, root

    def sessions(self) -> Sequence[str]:
        """Return the archive's sessions."""
        return self._archive.sessions()

    def fetch(
        self, session_id: str, work: Path, wanted: "ScanFilter | None" = None
    ) -> Path:
        """Return the session's images, from the archive."""
        return self._archive.fetch(session_id, work, wanted)

    def release(self, session_id: str, work: Path) -> None:
        """Remove what was fetched."""
        self._archive.release(session_id, work)

    def mask_paths(self, session_id: str, work: Path) -> Sequence[Path]:
        """Return the archive's masks of the session."""
        return self._archive.mask_paths(session_id, work)

    def read(self, session_id: str | None, name: str) -> bytes | None:
        """Return a file of the folder."""
        path = self._path(session_id, name)
        return path.read_bytes() if path.is_file() else None

    def write(self, session_id: str | None, name: str, data: bytes) -> None:
        """Write a file into the folder."""
        write_atomically(self._path(session_id, name), data)

    def add(self, session_id: str | None, name: str, data: bytes) -> bool:
        """Write a file into the folder unless there is one."""
        write_new(self._path(session_id, name), data)
        return self.read(session_id, name) == data

    def prepare(self, session_id: str | None) -> None:
        """Do nothing: the folder is made when it is written."""

    def publish(self, session_id: str, segmentation: Path, weights_sha256: str) -> bool:
        """Do nothing: no viewer shows it."""
        return False

    def close(self) -> None:
        """Do nothing: the archive is not ours."""

    def _path(self, session_id: str | None, name: str) -> Path:
        owner = "BRS" if session_id is None else folder_name(session_id)
        return self._root / owner / name
