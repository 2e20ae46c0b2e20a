"""An archive that is a project on an XNAT server; xnatpy logs in, the rest is REST."""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import requests
import xnat
from xnat.exceptions import XNATAuthError, XNATConnectionError, XNATError
from xnat.session import BaseXNATSession

from model.atomic import write_atomically
from model.dataset import folder_name
from plugin.errors import ArchiveError, InputError
from plugin.folder_archive import HUMAN_NIFTI, NIFTI_MASK, RESOURCE, is_seg, lost
from plugin.reading.shortlist import ScanFilter
from plugin.xnat import listing, roi
from plugin.xnat.answers import PassingError, StatusError, login_refused
from plugin.xnat.client import Patience, XnatClient, path_of
from plugin.xnat.download import local_name, pull
from plugin.xnat.glimpse import glimpses
from plugin.xnat.listing import XnatSession
from plugin.xnat.target import XnatTarget

logger = logging.getLogger(__name__)

EXISTS = 409
HEARTBEAT_S = 10
SEG_SCAN = "segscan"


class XnatArchive:
    """Sessions by XNAT id; results in the resource ``BRS`` of session and project."""

    def __init__(self, target: XnatTarget, patience: Patience | None = None) -> None:
        self.project = target.project
        self._target = target
        self._joined: Any = None
        self._patience = patience or Patience()
        self._sessions: dict[str, XnatSession] | None = None
        self._prepared: set[str | None] = set()
        self.client = XnatClient(target.host, self._login, self._patience)

    def sessions(self) -> Sequence[str]:
        """Return the ids of the project's MR sessions, shared ones too."""
        if self._sessions is None:
            found = listing.sessions(self.client, self.project)
            self._sessions = {session.id: session for session in found}
        return list(self._sessions)

    def fetch(
        self, session_id: str, work: Path, wanted: ScanFilter | None = None
    ) -> Path:
        """Pull the wanted scans (all usable MR scans by default) under ``work``."""
        session = self._own(session_id)
        scans = listing.scans(self.client, session.id)
        files = listing.scan_files(self.client, session.id)
        by_scan = listing.dicom_by_scan(files, scans)
        if not by_scan:
            raise _without_images(session.id, len(scans))
        chosen = wanted(glimpses(self.client, by_scan)) if wanted else ()
        folder = self._folder(session.id, work)
        for scan_id in chosen or by_scan:
            pull(self.client, by_scan[scan_id], folder / folder_name(scan_id))
        return folder

    def release(self, session_id: str, work: Path) -> None:
        """Remove what was pulled of a session."""
        shutil.rmtree(self._folder(session_id, work), ignore_errors=True)

    def mask_paths(self, session_id: str, work: Path) -> Sequence[Path]:
        """Pull the session's masks: ROI collections, SEG scans, and its resources."""
        session = self._own(session_id)
        folder = work / "masks" / folder_name(session.id)
        found = [*self._collections(session.id, folder), *self._filed(session, folder)]
        return sorted(p for p in found if p.suffix == ".gz" or is_seg(p))

    def read(self, session_id: str | None, name: str) -> bytes | None:
        """Return a resource file, None when there is none."""
        return self.client.read(self._file(session_id, name), _subject(session_id))

    def write(self, session_id: str | None, name: str, data: bytes) -> None:
        """Store a resource file, replacing it, and verify what the server holds."""
        self.prepare(session_id)
        if self._holds(session_id, name, data):
            return
        self.client.put(
            self._file(session_id, name), _subject(session_id), data, overwrite="true"
        )
        if not self._holds(session_id, name, data):
            raise lost(session_id, name, "other bytes when looked at again")

    def add(self, session_id: str | None, name: str, data: bytes) -> bool:
        """Store a resource file unless there is one; a server keeps the first."""
        self.prepare(session_id)
        # Without `overwrite` an existing file stays, with status 200 all the same.
        self.client.put(self._file(session_id, name), _subject(session_id), data)
        return self.read(session_id, name) == data

    def prepare(self, session_id: str | None) -> None:
        """Create the resource ``BRS``; refused when the user may not write."""
        if session_id in self._prepared:
            return
        try:
            self.client.put(self._resource(session_id), _subject(session_id))
        except StatusError as error:
            if error.status != EXISTS:
                raise
        self._prepared.add(session_id)

    def publish(self, session_id: str, segmentation: Path, weights_sha256: str) -> bool:
        """Store the mask as ROI collection where the server has the ROI API."""
        session = self._own(session_id)
        if not roi.is_available(self.client):
            logger.info("the server has no ROI API: masks are in resource BRS only")
            return False
        if not roi.may_create(self.client, self.project):
            logger.warning("the user may not create ROI collections in this project")
            return False
        roi.preflight(self.client, self.project, session.id, segmentation)
        label = roi.label_of(session.id, segmentation, weights_sha256)
        roi.push(self.client, self.project, session.id, label, segmentation)
        return True

    def close(self) -> None:
        """End the server's session; a failure to do so is of no matter."""
        joined, self._joined = self._joined, None
        try:
            if joined is not None:
                joined.disconnect()
        except (XNATError, requests.RequestException):
            logger.debug("the session on the server was not closed")
            # xnatpy left off half-way: its thread would go on, and print a traceback.
            BaseXNATSession.disconnect(joined)

    def _login(self) -> requests.Session:
        """Log in and return the HTTP session: one JSESSION, no prompt, no netrc."""
        self.close()
        target = self._target
        try:
            self._joined = xnat.connect(
                target.host,
                user=target.user,
                password=target.secret,
                no_parse_model=True,
                extension_types=False,
                default_timeout=self._patience.read_s,
                pilot_timeout=self._patience.connect_s,
                logger=_silent(),
            )
        except XNATAuthError:
            raise login_refused(target.host) from None
        except (XNATError, XNATConnectionError, requests.RequestException) as error:
            raise _unreachable(target.host, type(error).__name__) from None
        self._joined.heartbeat = partial(_beat, self._joined)
        session: requests.Session = self._joined.interface
        return session

    def _own(self, session_id: str) -> XnatSession:
        """Return a session by id or label; one of another project is refused."""
        session = self._known(session_id)
        if session is None:
            self._sessions = None
            session = self._known(session_id)
        if session is None:
            raise ArchiveError(
                f"session {session_id}",
                found="no such MR session in the project",
                needed=f"one of the {len(self.sessions())} sessions",
                mend="check the id, and that the user may read the session",
            )
        if session.owner != self.project:
            raise ArchiveError(
                f"session {session.id}",
                found=f"a session shared from project {session.owner}",
                needed="a session of the project itself: results go to its owner",
                mend=f"run on project {session.owner}",
            )
        return session

    def _known(self, name: str) -> XnatSession | None:
        """Return the session of that id or label in the listing."""
        self.sessions()
        known = self._sessions or {}
        by_label = {session.label: session for session in known.values()}
        return known.get(name) or by_label.get(name)

    def _folder(self, session_id: str, work: Path) -> Path:
        return work / "images" / folder_name(session_id)

    def _collections(self, session_id: str, folder: Path) -> Iterable[Path]:
        for collection in roi.collections(self.client, session_id):
            data = roi.read(self.client, self.project, collection.id)
            if data is not None:
                path = folder / f"{folder_name(collection.id)}.dcm"
                write_atomically(path, data)
                yield path

    def _filed(self, session: XnatSession, folder: Path) -> Iterable[Path]:
        """Pull masks kept as files: of session resources, and of SEG scans."""
        scans = listing.scans(self.client, session.id)
        drawn = {scan.id for scan in scans if SEG_SCAN in scan.xsi_type.lower()}
        files = listing.session_files(self.client, session.id)
        if drawn:
            files += listing.scan_files(self.client, session.id)
        for file in files:
            name = file.name.rpartition("/")[2]
            if name in (HUMAN_NIFTI, NIFTI_MASK):
                data = self.client.read(file.uri, f"session {session.id}")
                write_atomically(folder / name, data or b"")
                yield folder / name
            elif file.scan_id in drawn or (
                not file.scan_id and name.lower().endswith(".dcm")
            ):
                pull(self.client, [file], folder)
                yield folder / local_name(file)

    def _holds(self, session_id: str | None, name: str, data: bytes) -> bool:
        """Tell whether the resource has these bytes: by the catalog, else by reading.

        A checkpoint has 140 MB, so it is read back only where the server keeps no
        digest, or one that does not fit.
        """
        files = listing.resource_files(
            self.client, self._resource(session_id), _subject(session_id)
        )
        stored = next((f for f in files if unquote(f.name) == name), None)
        if stored is None or stored.size != len(data):
            return False
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return stored.digest == digest or self.read(session_id, name) == data

    def _resource(self, session_id: str | None) -> str:
        owner = (
            ("projects", self.project)
            if session_id is None
            else ("experiments", self._own(session_id).id)
        )
        return "/data" + path_of(*owner, "resources", RESOURCE)

    def _file(self, session_id: str | None, name: str) -> str:
        return self._resource(session_id) + path_of("files", *name.split("/"))


def _silent() -> logging.Logger:
    """Return a logger that says nothing: xnatpy names the token and quotes answers."""
    silent = logging.getLogger("xnatpy")
    silent.disabled = True
    return silent


def _beat(joined: Any) -> None:
    """Keep the server's session alive; its end is noticed by the next request.

    xnatpy's own would end its thread with a traceback that holds the server's answer.
    """
    try:
        joined.get("/data/JSESSION", timeout=HEARTBEAT_S)
    except (XNATError, requests.RequestException) as error:
        logger.debug("no heartbeat: %s", type(error).__name__)


def _subject(session_id: str | None) -> str:
    return "the project" if session_id is None else f"session {session_id}"


def _without_images(session_id: str, scans: int) -> InputError:
    return InputError(
        f"session {session_id}",
        found=f"{scans} scans, none of MR with DICOM files",
        needed="a breast DCE-MR session",
        mend="check that the archiving of the session is complete",
    )


def _unreachable(host: str, found: str) -> PassingError:
    return PassingError(
        f"XNAT at {host}",
        found=f"no login possible ({found})",
        needed="an XNAT server that answers",
        mend="check XNAT_HOST, the network, and the certificate (REQUESTS_CA_BUNDLE)",
    )
