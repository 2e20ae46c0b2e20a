"""What every archive can do, and which URI means which archive.

An archive holds sessions (their images, plus a resource ``BRS`` with our results) and
one project resource ``BRS`` (rankings, checkpoints, carbon logs).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from plugin.errors import ConfigError
from plugin.folder_archive import FolderArchive
from plugin.pacs.target import is_pacs
from plugin.pacs.target import parse_target as parse_pacs
from plugin.xnat.target import is_xnat, parse_target

if TYPE_CHECKING:
    from plugin.reading.shortlist import ScanFilter
    from plugin.xnat.client import Patience


class Archive(Protocol):
    """Images out, results in; a write returns when what is stored was verified."""

    def sessions(self) -> Sequence[str]:
        """Return the ids of all sessions, sorted."""
        ...

    def fetch(
        self, session_id: str, work: Path, wanted: "ScanFilter | None" = None
    ) -> Path:
        """Return a folder with the session's images, downloaded under ``work``.

        A remote archive pulls only the scans that ``wanted`` picks, all without it.
        """
        ...

    def release(self, session_id: str, work: Path) -> None:
        """Remove what ``fetch`` downloaded, if it did."""
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
        """Store a file in the ``BRS`` resource, and verify what is stored."""
        ...

    def add(self, session_id: str | None, name: str, data: bytes) -> bool:
        """Store a file where there is none; say whether it holds these bytes now.

        Of several who add one name at once, the archive takes one.
        """
        ...

    def prepare(self, session_id: str | None) -> None:
        """Make sure that results can be written, before any computing."""
        ...

    def publish(self, session_id: str, segmentation: Path, weights_sha256: str) -> bool:
        """Show a mask in the archive's viewer, if it has one; say whether it does."""
        ...

    def close(self) -> None:
        """End a connection, if there is one."""
        ...


def open_archive(
    uri: str,
    environ: Mapping[str, str] = os.environ,
    state: Path | None = None,
    *,
    patience: "Patience | None" = None,
) -> Archive:
    """Return the archive that ``uri`` names: an XNAT project, a PACS, or a folder.

    ``state`` is the folder of what a PACS cannot keep. ``patience`` is how long a call
    to XNAT waits; a batch's by default. xnatpy and pynetdicom are imported only when
    they are needed.

    Raises
    ------
    ConfigError
        If the URI has a scheme that this version cannot open.
    """
    if is_xnat(uri):
        from plugin.xnat_archive import XnatArchive

        return XnatArchive(parse_target(uri, environ), patience)
    if is_pacs(uri):
        from plugin.dicom_archive import DicomArchive

        return DicomArchive(parse_pacs(uri, environ, state))
    if "://" in uri:
        raise ConfigError(
            f"archive '{uri.split('://')[0]}'",
            found="a scheme that this version cannot open",
            needed="xnat:PROJECT, xnat+https://host/PROJECT, dicom://AET@host:port, "
            "or a folder's path",
            mend="export the sessions to a folder and give its path",
        )
    return FolderArchive(Path(uri))
