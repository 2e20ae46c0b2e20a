"""A project's sessions, and a session's scans and files, in a few requests each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from plugin.errors import ArchiveError
from plugin.xnat.client import XnatClient, path_of

MR_SESSION = "xnat:mrSessionData"
SCAN_OF = re.compile(r"/scans/([^/]+)/resources/")
UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class XnatSession:
    """One MR session as the project lists it."""

    id: str
    label: str
    subject_id: str
    owner: str
    """The project that owns it; another one has shared it."""


@dataclass(frozen=True, slots=True)
class RemoteScan:
    """One scan of a session."""

    id: str
    xsi_type: str
    quality: str
    uid: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a resource, as the catalog describes it."""

    scan_id: str
    """Empty for a file of the session itself."""
    resource: str
    name: str
    size: int
    digest: str
    """MD5 in hexadecimal; empty where the server keeps none."""
    uri: str


def sessions(client: XnatClient, project: str) -> tuple[XnatSession, ...]:
    """Return the project's MR sessions, shared ones too, by id: one request."""
    rows = client.rows(
        "/data" + path_of("projects", project, "experiments"),
        f"project {project}",
        xsiType=MR_SESSION,
        columns="ID,label,xsiType,project,subject_ID",
    )
    found = [
        XnatSession(
            id=row["ID"],
            label=row.get("label", ""),
            subject_id=row.get("subject_ID", ""),
            owner=row.get("project") or project,
        )
        for row in rows
        if row.get("xsiType", MR_SESSION) == MR_SESSION
    ]
    return tuple(sorted(found, key=lambda session: session.id))


def scans(client: XnatClient, session_id: str) -> tuple[RemoteScan, ...]:
    """Return the session's scans: one request."""
    rows = client.rows(
        "/data" + path_of("experiments", session_id, "scans"),
        f"session {session_id}",
        columns="ID,xsiType,quality,UID",
    )
    return tuple(
        RemoteScan(
            id=row["ID"],
            xsi_type=row.get("xsiType", ""),
            quality=row.get("quality", ""),
            uid=row.get("UID", ""),
        )
        for row in rows
    )


def scan_files(client: XnatClient, session_id: str) -> tuple[RemoteFile, ...]:
    """Return the files of all scans of a session: one request."""
    path = "/data" + path_of("experiments", session_id, "scans", "ALL", "files")
    return _files(client, path, f"session {session_id}")


def resource_files(
    client: XnatClient, resource: str, subject: str
) -> tuple[RemoteFile, ...]:
    """Return the files of the resource at that path: one request."""
    return _files(client, f"{resource}/files", subject)


def session_files(client: XnatClient, session_id: str) -> tuple[RemoteFile, ...]:
    """Return the files of the session's own resources: one request.

    XNAT lists those of scans and assessors with them.
    """
    path = "/data" + path_of("experiments", session_id, "files")
    found = _files(client, path, f"session {session_id}")
    return tuple(f for f in found if not f.scan_id and "/assessors/" not in f.uri)


def _files(client: XnatClient, path: str, subject: str) -> tuple[RemoteFile, ...]:
    return tuple(_file(row, subject) for row in client.rows(path, subject))


def _file(row: dict[str, str], subject: str) -> RemoteFile:
    try:
        uri, size = row["URI"], int(row["Size"] or 0)
    except (KeyError, ValueError):
        raise ArchiveError(
            subject,
            found="a file without an address or a size",
            needed="a catalog that describes its files",
            mend="refresh the catalogs in XNAT, then run again",
        ) from None
    scan = SCAN_OF.search(uri)
    return RemoteFile(
        scan_id=unquote(scan[1]) if scan else "",
        resource=row.get("collection", ""),
        name=uri.partition("/files/")[2],
        size=size,
        digest=row.get("digest", "").lower(),
        uri=uri,
    )


def dicom_by_scan(
    files: Sequence[RemoteFile], wanted: Sequence[RemoteScan]
) -> dict[str, list[RemoteFile]]:
    """Return the DICOM files of the usable MR scans among ``wanted``, by scan id."""
    ids = {
        scan.id
        for scan in wanted
        if "mrscan" in scan.xsi_type.lower() and scan.quality != UNUSABLE
    }
    found: dict[str, list[RemoteFile]] = {}
    for file in files:
        if file.scan_id in ids and file.resource.upper() == "DICOM":
            found.setdefault(file.scan_id, []).append(file)
    return found
