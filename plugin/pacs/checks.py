"""What a doctor asks of an archive that is a PACS, both ways."""

import socket
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet as StudyRootGet,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelMove as StudyRootMove,
)

from plugin.check import Check, Verdict, failed, ok, warning
from plugin.dicom_archive import DicomArchive, Patience
from plugin.jobs import Queue
from plugin.listener import Hooks, Listener
from plugin.machine_checks import writable
from plugin.pacs.pull import Shelf, doorstep_config, move
from plugin.pacs.target import Doorstep, PacsTarget
from plugin.receiving.landing import Landing
from plugin.sending.checks import Examined, peer_checks
from plugin.sending.limits import Limits

LIMITS = Limits(connect_s=10, answer_s=20, retrieve_s=30)
TRIED_STUDIES = 5


def pacs_checks(target: PacsTarget, *, listen_s: float = 0) -> tuple[Check, ...]:
    """Return the checks of a PACS; ``listen_s``: wait so long for its echo."""
    examined = Examined(target.peer, target.calling_ae, LIMITS)
    archive = DicomArchive(target, Patience(attempts=1, limits=LIMITS))
    return (
        Check("state", lambda: _state(target.state)),
        *peer_checks(examined),
        Check("sessions", lambda: _sessions(archive), needs=("find",)),
        Check("retrieve", lambda: _retrieve(examined, target), needs=("echo",)),
        Check(
            "echo-back",
            lambda: _echo_back(archive, examined, listen_s),
            needs=("echo",),
        ),
    )


def _state(folder: Path) -> Verdict:
    """Ask where the state folder is, or will be made."""
    return writable(next(p for p in (folder, *folder.parents) if p.exists()))


def _sessions(archive: DicomArchive) -> Verdict:
    found = len(archive.sessions())
    if not found:
        mend = "let the PACS show MR studies to our AE title, or widen ?description="
        return warning("no breast MR study that we may see", mend)
    return ok(f"{found} sessions")


def _retrieve(examined: Examined, target: PacsTarget) -> Verdict:
    ways = examined.accepted(StudyRootGet, StudyRootMove)
    if StudyRootGet in ways:
        return ok("sends images by C-GET")
    if StudyRootMove not in ways:
        return failed("offers neither C-GET nor C-MOVE", "let it offer one to us")
    if target.doorstep is None:
        return failed(
            "sends images by C-MOVE only, and has no port of ours for it",
            f"make {_address(target, 'PORT')} known there, and set BRS_DICOM_PORT",
        )
    return ok(f"sends images by C-MOVE to port {target.doorstep.port}")


def _echo_back(archive: DicomArchive, examined: Examined, listen_s: float) -> Verdict:
    """Prove that the PACS reaches us: it moves one image here, or it calls us."""
    target = archive.target
    if target.doorstep is None:
        return warning(
            "not asked: no port of ours is set (C-GET does without)",
            "set BRS_DICOM_PORT to prove that the PACS can reach us",
        )
    if listen_s > 0:
        return _called(target, target.doorstep, listen_s)
    if StudyRootMove in examined.accepted(StudyRootMove):
        return _moved(archive, target, target.doorstep)
    return _unproven(target, target.doorstep, "it offers no C-MOVE")


def _moved(archive: DicomArchive, target: PacsTarget, doorstep: Doorstep) -> Verdict:
    """Let the PACS move the first image of a study to a folder that is then gone."""
    for session_id in archive.sessions()[:TRIED_STUDIES]:
        series = archive.series(session_id, "MR")[:1]
        if not series:
            continue
        first = [series[0].beginning()]
        with TemporaryDirectory() as folder:
            shelf = Shelf(Path(folder), session_id)
            move(target, shelf, first, LIMITS)
            if not shelf.missing(first):
                return ok(f"one image came by C-MOVE to port {doorstep.port}")
        return failed(
            f"C-MOVE ended, and no image came to port {doorstep.port}",
            f"make {_address(target, doorstep.port)} known there, and open the "
            "firewall from the PACS to here",
        )
    return _unproven(target, doorstep, "there is no study to move")


def _called(target: PacsTarget, doorstep: Doorstep, listen_s: float) -> Verdict:
    """Listen for an echo of the PACS."""
    heard = threading.Event()
    config = doorstep_config(target, doorstep)
    with (
        TemporaryDirectory() as folder,
        Listener(config, Landing(Queue(Path(folder))), hooks=Hooks(echoed=heard.set)),
    ):
        if heard.wait(listen_s):
            return ok(f"{target.peer.ae_title} called port {doorstep.port}")
    found = f"no echo of {target.peer.ae_title} on port {doorstep.port}"
    return failed(f"{found} in {listen_s:g} s", _command(target, doorstep))


def _unproven(target: PacsTarget, doorstep: Doorstep, why: str) -> Verdict:
    return warning(f"not proven: {why}", _command(target, doorstep))


def _command(target: PacsTarget, doorstep: Doorstep) -> str:
    """Return what the PACS's admin has to do while ``brs doctor --listen`` runs."""
    titles = f"-aet {target.peer.ae_title} -aec {target.calling_ae}"
    return (
        f"run this with --listen 60, and on the PACS meanwhile: echoscu {titles} "
        f"{socket.getfqdn()} {doorstep.port}"
    )


def _address(target: PacsTarget, port: object) -> str:
    return f"{target.calling_ae} at {socket.getfqdn()}:{port}"
