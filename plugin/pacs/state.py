"""What a PACS cannot keep: a local folder beside it, laid out as a folder archive."""

from collections.abc import Sequence
from pathlib import Path

from model.dataset import folder_name
from plugin.folder_archive import RESOURCE, FolderArchive, lost


class State:
    """Rankings, checkpoints, results and review records of one PACS.

    ``FOLDER/AET/BRS`` is the project's, ``FOLDER/AET/<study UID>/BRS`` a session's.
    """

    def __init__(self, folder: Path, ae_title: str) -> None:
        self.root = folder / folder_name(ae_title.strip())

    def read(self, session_id: str | None, name: str) -> bytes | None:
        """Return a file, None when there is none."""
        if not self._place(session_id).is_dir():
            return None
        return FolderArchive(self.root).read(session_id, name)

    def write(self, session_id: str | None, name: str, data: bytes) -> None:
        """Write a file whole and read it back."""
        self.prepare(session_id)
        FolderArchive(self.root).write(session_id, name, data)

    def add(self, session_id: str | None, name: str, data: bytes) -> bool:
        """Write a file unless there is one; say whether it holds these bytes."""
        self.prepare(session_id)
        return FolderArchive(self.root).add(session_id, name, data)

    def prepare(self, session_id: str | None) -> None:
        """Make the folder; refused when it cannot be written."""
        try:
            (self._place(session_id) / RESOURCE).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            found = error.strerror or "an I/O error"
            raise lost(session_id, RESOURCE, found) from error

    def mask_paths(self, session_id: str) -> Sequence[Path]:
        """Return the mask files kept for a session."""
        if not self._place(session_id).is_dir():
            return ()
        return FolderArchive(self.root).mask_paths(session_id, self.root)

    def _place(self, session_id: str | None) -> Path:
        return self.root if session_id is None else self.root / session_id
