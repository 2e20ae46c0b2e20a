"""What a doctor asks of a DICOM peer: TLS, echo, and what it lets us do."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydicom.uid import UID, ExplicitVRLittleEndian, SegmentationStorage
from pynetdicom import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Verification,
)

from plugin.check import Check, Verdict, failed, ok, warning
from plugin.sending.association import Offer, accepts, associated
from plugin.sending.certificate import expiry, own_expiry
from plugin.sending.connection import connect
from plugin.sending.deliver import require_echo
from plugin.sending.destination import ClientTls, Destination, Verify
from plugin.sending.limits import Limits

SOON_DAYS = 30

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return this moment."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Examined:
    """A peer, who we are to it, and how long it may take."""

    peer: Destination
    calling_ae: str
    limits: Limits

    def accepted(self, *classes: UID) -> frozenset[UID]:
        """Return those of these classes that the peer accepts from us."""
        contexts = [build_context(uid, ExplicitVRLittleEndian) for uid in classes]
        # Verification is always accepted: an association with nothing else is aborted.
        offer = Offer("any of them", [*contexts, build_context(Verification)])
        with associated(
            self.peer, offer, calling_ae=self.calling_ae, limits=self.limits
        ) as association:
            return frozenset(uid for uid in classes if accepts(association, uid))


def peer_checks(examined: Examined, clock: Clock = now) -> tuple[Check, ...]:
    """Return the checks of a peer that masks are sent to."""
    return (
        Check("tls", lambda: _tls(examined, clock)),
        Check("echo", lambda: _echo(examined), needs=("tls",)),
        Check("store", lambda: _store(examined), needs=("echo",)),
        Check("find", lambda: _find(examined), needs=("echo",)),
    )


def _tls(examined: Examined, clock: Clock) -> Verdict:
    """Open TLS as every association does, and look at both certificates' ends."""
    peer = examined.peer
    if peer.tls is None:
        return warning(
            "none: images and names can be read on the way",
            "use TLS, or a network that nobody else is on",
        )
    ours = own_expiry(peer.tls)
    client = connect(peer, examined.limits).client
    with client:
        shown = client.getpeercert() if isinstance(client, ssl.SSLSocket) else None
    days = {"ours": _days(ours, clock), "the peer's": _days(expiry(shown), clock)}
    said = ", ".join(f"{whose} for {left} more days" for whose, left in days.items())
    said = f"certificates valid: {said}; {_host_said(peer.tls)}"
    if min(days.values()) < SOON_DAYS:
        return warning(said, "renew the one that ends first")
    return ok(said)


def _host_said(tls: ClientTls) -> str:
    return "host name matches" if tls.check_host else "host name not checked"


def _days(end: datetime, clock: Clock) -> int:
    return (end - clock()).days


def _echo(examined: Examined) -> Verdict:
    require_echo(examined.peer, calling_ae=examined.calling_ae, limits=examined.limits)
    return ok(f"{examined.peer} answers to {examined.calling_ae.strip()}")


def _store(examined: Examined) -> Verdict:
    if examined.accepted(SegmentationStorage):
        return ok("takes DICOM-SEG")
    return failed(
        "takes no DICOM-SEG from us",
        f"let it accept {SegmentationStorage} ({SegmentationStorage.name}) from "
        f"{examined.calling_ae.strip()}",
    )


def _find(examined: Examined) -> Verdict:
    if examined.accepted(StudyRootFind):
        return ok("answers queries (C-FIND, study root)")
    if examined.peer.verify is Verify.NONE:
        return warning(
            "cannot be asked, as it is set: what is sent is not verified",
            "let it answer C-FIND, and set verify to find",
        )
    return failed(
        "answers no query from us",
        f"let {examined.calling_ae.strip()} query it (C-FIND, study root)",
    )
