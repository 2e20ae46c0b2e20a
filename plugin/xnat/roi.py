"""The ROI API of the OHIF viewer plugin: masks that people see, and draw.

Preflight and codes as in the plugin's own checks: the study and series UIDs of a SEG
must be the session's, its label is unique in the whole project, and every referenced
instance must be in the scan.
"""

import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from plugin.errors import ArchiveError
from plugin.provenance import LABEL_PREFIX
from plugin.xnat.answers import StatusError
from plugin.xnat.client import XnatClient, path_of

logger = logging.getLogger(__name__)

PLUGIN_ID = "ohifViewerPlugin"
COLLECTION = "icr:roiCollectionData"
LABEL_KEPT = 24
OK, CONFLICT, UNPROCESSABLE = 200, 409, 422


@dataclass(frozen=True, slots=True)
class Collection:
    """One ROI collection of a session."""

    id: str
    label: str


def is_available(client: XnatClient) -> bool:
    """Tell whether the server has the viewer's plugin, and with it the ROI API."""
    found = client.status("/xapi" + path_of("plugins", PLUGIN_ID), "XNAT plugins")
    return found == OK


def may_create(client: XnatClient, project: str) -> bool:
    """Tell whether the user may store ROI collections in the project."""
    path = "/xapi" + path_of("roi", "projects", project, "permissions", "RoiCollection")
    rights: Any = client.json(path, f"project {project}")
    return isinstance(rights, dict) and bool(rights.get("create"))


def label_of(session_id: str, segmentation: Path, weights_sha256: str) -> str:
    """Return the collection's label: the same for the same mask, unique in a project.

    The session, the source series and the weights decide it.
    """
    header = pydicom.dcmread(segmentation, stop_before_pixels=True)
    series = [str(s.SeriesInstanceUID) for s in header.ReferencedSeriesSequence]
    text = "\n".join((session_id, *series, weights_sha256))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{LABEL_PREFIX}{session_id}_{digest[:LABEL_KEPT]}"


def preflight(
    client: XnatClient, project: str, session_id: str, segmentation: Path
) -> None:
    """Raise ``ArchiveError`` when the server would not take the mask's references."""
    header = pydicom.dcmread(segmentation, stop_before_pixels=True)
    base = path_of("roi", "projects", project, "sessions", session_id)
    known: Any = client.json(f"/xapi{base}/uididmap", f"session {session_id}")
    for series in header.ReferencedSeriesSequence:
        uid = str(series.SeriesInstanceUID)
        if not isinstance(known, dict) or uid not in known:
            raise _unreferenced(session_id, f"series {uid}, which no scan has as UID")
        scan = path_of("scans", str(known[uid]), "uids")
        stored = client.json(f"/xapi{base}{scan}", f"session {session_id}")
        wanted = {
            str(i.ReferencedSOPInstanceUID) for i in series.ReferencedInstanceSequence
        }
        if not wanted <= set(stored or ()):
            raise _unreferenced(
                session_id, f"instances of series {uid} not in the scan"
            )


def push(
    client: XnatClient, project: str, session_id: str, label: str, segmentation: Path
) -> str:
    """Store a mask as ROI collection, replacing ours of that label; return its id.

    Verified by reading back: pixels and UID, for a server may rewrite the file meta.

    Raises
    ------
    ArchiveError
        If the label belongs to another session, or the server refuses or alters it.
    """
    known = _find(client, session_id, label)
    if known is not None and _same(client, project, known.id, segmentation):
        return known.id
    path = path_of(
        "roi", "projects", project, "sessions", session_id, "collections", label
    )
    subject = f"mask of session {session_id}"
    try:
        found = client.put(
            f"/xapi{path}", subject, segmentation, type="SEG", overwrite="true"
        )
    except StatusError as error:
        raise _refused(subject, error.status) from None
    if not _same(client, project, found.strip(), segmentation):
        raise ArchiveError(
            subject,
            found="another mask when read back",
            needed="the pixels that were sent",
            mend="run again; if it stays, see the server's ROI log",
        )
    return found.strip()


def collections(client: XnatClient, session_id: str) -> tuple[Collection, ...]:
    """Return the session's ROI collections: one request."""
    rows = client.rows(
        "/data" + path_of("experiments", session_id, "assessors"),
        f"session {session_id}",
        columns="ID,label,xsiType",
    )
    return tuple(
        Collection(row["ID"], row.get("label", ""))
        for row in rows
        if row.get("xsiType") == COLLECTION
    )


def read(client: XnatClient, project: str, collection_id: str) -> bytes | None:
    """Return a collection's SEG, None when it holds another kind of ROI."""
    path = path_of("roi", "projects", project, "collections", collection_id)
    try:
        return client.read(f"/xapi{path}", f"collection {collection_id}", type="SEG")
    except StatusError as error:
        if error.status == UNPROCESSABLE:
            return None
        raise


def _find(client: XnatClient, session_id: str, label: str) -> Collection | None:
    found = collections(client, session_id)
    return next((c for c in found if c.label == label), None)


def _same(
    client: XnatClient, project: str, collection_id: str, segmentation: Path
) -> bool:
    stored = read(client, project, collection_id)
    if stored is None:
        return False
    ours = pydicom.dcmread(segmentation)
    theirs = pydicom.dcmread(io.BytesIO(stored))
    return bool(
        ours.SOPInstanceUID == theirs.SOPInstanceUID
        and ours.PixelData == theirs.PixelData
    )


def _refused(subject: str, status: int) -> ArchiveError:
    reasons = {
        CONFLICT: "its label belongs to another session (409)",
        UNPROCESSABLE: "a reference that the session does not hold (422)",
    }
    return ArchiveError(
        subject,
        found=reasons.get(status, f"status {status} from the ROI API"),
        needed="a session with the SEG's study, series and instance UIDs",
        mend="the mask is in the resource BRS; see docs/how-to/xnat.md, ROI API",
    )


def _unreferenced(session_id: str, found: str) -> ArchiveError:
    return ArchiveError(
        f"session {session_id}",
        found=f"a mask that refers to {found}",
        needed="scans whose UID attribute is set, as archived by XNAT itself",
        mend="set the scan's UID in XNAT; the mask is in the resource BRS",
    )
