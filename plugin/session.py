"""One session opened for work: its pair chosen, its two volumes loaded."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pydicom
from highdicom import Volume

from plugin.archive import Archive
from plugin.dce import DceRules, choose
from plugin.errors import InputError
from plugin.reading.shortlist import shortlist
from plugin.series import DcePair, Phase
from plugin.volumes import load_pair

SECRET_FILE = "patient.key"


@dataclass(frozen=True, slots=True, eq=False)
class OpenSession:
    """A session with its chosen pair on one grid."""

    session_id: str
    pair: DcePair
    pre: Volume
    post: Volume
    source_key: str
    """Hash of the instances (or files) that the two volumes were read from."""


def find_pair(
    archive: Archive, session_id: str, work: Path, rules: DceRules
) -> DcePair:
    """Fetch a session's likely scans and choose its pair among them.

    Where that gives no pair, all scans are fetched, and the refusal is about all.

    Raises
    ------
    InputError
        If the session has no pair. ArchiveError if it cannot be fetched.
    """
    folder = archive.fetch(session_id, work, partial(shortlist, rules=rules))
    try:
        return choose(folder, rules)
    except InputError:
        return choose(archive.fetch(session_id, work), rules)


def open_session(session_id: str, folder: Path, rules: DceRules) -> OpenSession:
    """Choose the pair in ``folder`` and load it; raises ``InputError``."""
    return load_session(session_id, choose(folder, rules))


def load_session(session_id: str, pair: DcePair) -> OpenSession:
    """Load the two volumes of a chosen pair; raises ``InputError``."""
    pre, post = load_pair(pair)
    return OpenSession(session_id, pair, pre, post, source_key(pair))


def source_key(pair: DcePair) -> str:
    """Return a hash that changes when any source instance or frame does."""
    digest = hashlib.sha256()
    for phase in (pair.pre, pair.post):
        for frame in phase.frames:
            digest.update(f"{frame.sop_instance_uid}#{frame.frame_number}\n".encode())
        if phase.nifti is not None:
            digest.update(phase.nifti.read_bytes())
    return digest.hexdigest()


def patient_secret(archive: Archive) -> bytes:
    """Return the archive's own key for patient hashes, made on first use."""
    stored = archive.read(None, SECRET_FILE)
    if stored is None:
        archive.add(None, SECRET_FILE, secrets.token_hex(32).encode())
        stored = archive.read(None, SECRET_FILE)
    return stored or b""


def patient_key(session_id: str, phase: Phase, secret: bytes) -> str:
    """Return a keyed hash of the PatientID; the session's own without one.

    The same patient has the same key in one archive, and no key leads back to an id.
    """
    identity = f"session:{session_id}"
    if phase.frames:
        header = pydicom.dcmread(phase.frames[0].path, specific_tags=["PatientID"])
        if header.get("PatientID"):
            identity = f"patient:{header.PatientID}"
    return hmac.new(secret, identity.encode(), hashlib.sha256).hexdigest()[:16]
