"""One project on the stand-in server, and our archive of it; quick to give up."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from highdicom import Volume
from highdicom.seg import Segmentation
from sessions import box_mask, untrained_segmenter, write_pair
from standin.server import Request, StandIn

from plugin.exchange import human_seg
from plugin.pipeline import SEG_FILE, segment_session
from plugin.rules import DceRules
from plugin.session import OpenSession, find_pair, load_session
from plugin.xnat.client import Patience
from plugin.xnat.target import XnatTarget
from plugin.xnat_archive import XnatArchive

QUICK = Patience(attempts=3, first_wait_s=0.01, longest_wait_s=0.02, read_s=5.0)
HASTY = replace(QUICK, read_s=1.0)
RULES = DceRules()
WEIGHTS = "0" * 64


@contextmanager
def breast_project(folder: Path) -> Iterator[StandIn]:
    """Yield a server with project BREAST: alice owns it, mary and bob may do less."""
    with StandIn.start(folder / "xnat") as server:
        for user in ("alice", "mary", "bob"):
            server.add_user(user, f"{user}-secret")
        server.add_project(
            "BREAST", owners=("alice",), members=("mary",), collaborators=("bob",)
        )
        yield server


def add_session(server: StandIn, folder: Path, subject: str, label: str) -> str:
    """Archive a session of a pre- and a post-contrast series; return its id."""
    source = folder / "source" / label
    before = len(list(source.parent.glob("*")))
    write_pair(source, patient=f"PLANTED-ID-{label}", brighter=before)
    return server.add_session("BREAST", subject=subject, label=label, dicom=source)


def archive_of(
    server: StandIn, user: str = "alice", *, patience: Patience = QUICK
) -> XnatArchive:
    target = XnatTarget(server.url, "BREAST", user, f"{user}-secret")
    return XnatArchive(target, patience)


def archive_by(server: StandIn, token: tuple[str, str]) -> XnatArchive:
    return XnatArchive(XnatTarget(server.url, "BREAST", *token), QUICK)


def opened(archive: XnatArchive, session_id: str, work: Path) -> OpenSession:
    return load_session(session_id, find_pair(archive, session_id, work, RULES))


def drafted(archive: XnatArchive, session_id: str, tmp_path: Path) -> Path:
    """Return the SEG of a network that calls everything breast."""
    folder = archive.fetch(session_id, tmp_path / "w")
    segment_session(session_id, folder, tmp_path / "result", untrained_segmenter())
    return tmp_path / "result" / SEG_FILE


def drawn(session: OpenSession, mask: Volume | None = None) -> Segmentation:
    """Return a mask, two boxes by default, as a person saves it in the viewer."""
    return human_seg(session, mask or box_mask(session))


def files_of(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def digests(folder: Path) -> set[str]:
    return {hashlib.sha256(p.read_bytes()).hexdigest() for p in files_of(folder)}


def sent(server: StandIn, method: str, part: str) -> list[Request]:
    """Return the requests of that method whose path holds ``part``."""
    return [r for r in server.requests if r.method == method and part in r.path]
