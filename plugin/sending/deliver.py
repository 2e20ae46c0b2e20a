"""Deliver instances to a destination once, however often it is asked for."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from plugin.queue.causes import LastingError, PassingError
from plugin.sending.destination import Destination, Verify

logger = logging.getLogger(__name__)

PENDING = {0xFF00, 0xFF01}
WARNINGS = range(0xB000, 0xC000)
OUT_OF_RESOURCES = range(0xA700, 0xA800)
TIME_OUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """SOP Instance UIDs that were sent now, and those that were there before."""

    sent: tuple[str, ...]
    present: tuple[str, ...]


def deliver(
    files: Sequence[Path], destination: Destination, *, calling_ae: str
) -> Delivered:
    """Return once the destination holds the instances; see ``Verify``.

    Raises
    ------
    PassingError
        If it cannot be reached, or has no room now.
    LastingError
        If it refuses the instances.
    """
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in files}
    with _associated(destination, calling_ae, list(headers.values())) as association:
        present = [p for p in files if _has(association, destination, headers[p])]
        missing = [path for path in files if path not in present]
        for path in missing:
            _send(association, destination, path)
        unseen = [
            p for p in missing if not _arrived(association, destination, headers[p])
        ]
    if unseen:
        found = f"{len(unseen)} of {len(files)} sent instances missing"
        raise _passing(destination, "not-confirmed", found, "them by C-FIND")
    uids = {path: str(header.SOPInstanceUID) for path, header in headers.items()}
    return Delivered(tuple(uids[p] for p in missing), tuple(uids[p] for p in present))


def echo(destination: Destination, *, calling_ae: str) -> str:
    """Return what is wrong with a destination's answer to C-ECHO; empty for nothing."""
    try:
        with _associated(destination, calling_ae, []) as association:
            status = association.send_c_echo()
    except (PassingError, LastingError) as error:
        return error.found
    return "" if status.get("Status") == 0 else "no success of C-ECHO"


@contextmanager
def _associated(
    destination: Destination, calling_ae: str, headers: Sequence[Dataset]
) -> Iterator[Association]:
    entity = AE(calling_ae)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIME_OUT_S
    entity.connection_timeout = TIME_OUT_S
    entity.add_requested_context(Verification)
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    for header in headers:
        syntax = header.file_meta.TransferSyntaxUID
        entity.add_requested_context(header.SOPClassUID, syntax)
    association = entity.associate(
        destination.host, destination.port, ae_title=destination.ae_title
    )
    if association.is_rejected:
        raise _lasting(destination, "association-rejected", "a rejection", "admission")
    if not association.is_established:
        raise _passing(destination, "unreachable", "no association", "an answer")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _has(association: Association, destination: Destination, header: Dataset) -> bool:
    """Tell whether the destination says that it has an instance."""
    if destination.verify is Verify.NONE:
        return False
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(query, keyword, header[keyword].value)
    try:
        answers = list(
            association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
        )
    except (ValueError, RuntimeError):
        raise _passing(destination, "no-find", "no C-FIND", "C-FIND") from None
    if not answers or answers[-1][0].get("Status") != 0:
        raise _passing(destination, "find-failed", "no end of C-FIND", "its answer")
    return any(status.get("Status") in PENDING for status, _ in answers)


def _arrived(
    association: Association, destination: Destination, header: Dataset
) -> bool:
    return destination.verify is Verify.NONE or _has(association, destination, header)


def _send(association: Association, destination: Destination, path: Path) -> None:
    try:
        status = association.send_c_store(path).get("Status")
    except (ValueError, RuntimeError):
        found = "no presentation context for the instances"
        raise _lasting(destination, "context-refused", found, "their class") from None
    if status is None:
        raise _passing(destination, "broken-off", "no answer to C-STORE", "one")
    if status in OUT_OF_RESOURCES:
        raise _passing(destination, "no-room", f"status {status:#06x}", "room")
    if status != 0 and status not in WARNINGS:
        raise _lasting(destination, "refused", f"status {status:#06x}", "success")


def _passing(
    destination: Destination, cause: str, found: str, needed: str
) -> PassingError:
    return PassingError(
        f"destination {destination.name}",
        cause=cause,
        found=found,
        needed=needed,
        mend="it is tried again; look at the destination if it lasts",
    )


def _lasting(
    destination: Destination, cause: str, found: str, needed: str
) -> LastingError:
    return LastingError(
        f"destination {destination.name}",
        cause=cause,
        found=found,
        needed=needed,
        mend="correct the destination or its settings, then re-run the job",
    )
