"""An archive that is a folder: one folder per session, results in its ``BRS``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from model.atomic import write_atomically, write_new
from plugin.errors import ArchiveError

if TYPE_CHECKING:
    from plugin.reading.shortlist import ScanFilter

RESOURCE = "BRS"
NIFTI_MASK = "mask.nii.gz"
HUMAN_NIFTI = "human.nii.gz"


class FolderArchive:
    """Sessions are the folders directly under ``root``, ``BRS`` is the project's."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ArchiveError(
                f"archive {root}",
                found="no such folder",
                needed="a folder with one folder per session",
                mend="create it, or correct --archive",
            )
        self.root = root

    def sessions(self) -> Sequence[str]:
        """Return the names of the session folders, sorted."""
        return sorted(
            entry.name
            for entry in self.root.iterdir()
            if entry.is_dir() and entry.name != RESOURCE and entry.name[0] != "."
        )

    def fetch(
        self, session_id: str, work: Path, wanted: "ScanFilter | None" = None
    ) -> Path:
        """Return the session's own folder: nothing needs to be copied."""
        folder = self.root / session_id
        inside = folder.parent == self.root and session_id not in ("", ".", "..")
        if not inside or not folder.is_dir():
            raise ArchiveError(
                f"session {session_id}",
                found="no such folder in the archive",
                needed=f"one of the {len(self.sessions())} sessions",
                mend="check the session's name",
            )
        return folder

    def release(self, session_id: str, work: Path) -> None:
        """Keep the session: its images are the archive's own."""

    def mask_paths(self, session_id: str, work: Path) -> Sequence[Path]:
        """Return the DICOM-SEG files under the session, and its NIfTI mask."""
        folder = self.fetch(session_id, work)
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return [path for path in files if _is_mask(path, folder)]

    def read(self, session_id: str | None, name: str) -> bytes | None:
        """Return the bytes of a resource file, None when there is none."""
        path = self._resource(session_id) / name
        return path.read_bytes() if path.is_file() else None

    def write(self, session_id: str | None, name: str, data: bytes) -> None:
        """Write a resource file whole and read it back."""
        if self.read(session_id, name) == data:
            return
        try:
            write_atomically(self._resource(session_id) / name, data)
        except OSError as error:
            raise lost(session_id, name, error.strerror or "an I/O error") from error
        if self.read(session_id, name) != data:
            raise lost(session_id, name, "other bytes when read back")

    def add(self, session_id: str | None, name: str, data: bytes) -> bool:
        """Write a file unless there is one, and compare what is there."""
        try:
            write_new(self._resource(session_id) / name, data)
        except OSError as error:
            raise lost(session_id, name, error.strerror or "an I/O error") from error
        return self.read(session_id, name) == data

    def prepare(self, session_id: str | None) -> None:
        """Make the resource's folder; refused when it cannot be written."""
        try:
            self._resource(session_id).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            found = error.strerror or "an I/O error"
            raise lost(session_id, RESOURCE, found) from error

    def publish(self, session_id: str, segmentation: Path, weights_sha256: str) -> bool:
        """Do nothing: a viewer reads the resource's own file."""
        return False

    def close(self) -> None:
        """Do nothing: nothing was opened."""

    def _resource(self, session_id: str | None) -> Path:
        if session_id is None:
            return self.root / RESOURCE
        return self.fetch(session_id, self.root) / RESOURCE


def _is_mask(path: Path, session: Path) -> bool:
    if path.suffix == ".gz":
        return path in (session / NIFTI_MASK, session / RESOURCE / HUMAN_NIFTI)
    return is_seg(path)


def is_seg(path: Path) -> bool:
    """Tell whether a file is a DICOM-SEG."""
    from plugin.seg_frames import SEG_CLASSES

    try:
        meta = read_file_meta_info(path)
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return False
    return meta.get("MediaStorageSOPClassUID") in SEG_CLASSES


def lost(session_id: str | None, name: str, found: str) -> ArchiveError:
    """Return the error of a file that did not reach its resource."""
    return ArchiveError(
        f"{name} of {session_id or 'the project'}",
        found=found,
        needed="the file stored and read back equal",
        mend="check the archive's disk space and rights, then run again",
    )
