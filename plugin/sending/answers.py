"""What a peer's refusals and statuses mean: what may pass, and what will not.

Status families: PS3.7 annex C, and PS3.4 B.2.3 (store), C.4.1 to C.4.3 (find, move,
get). A peer's own comment is never quoted: it may name a patient.
"""

from enum import StrEnum

from pynetdicom.pdu_primitives import A_ASSOCIATE

from plugin.queue.causes import LastingError, PassingError
from plugin.sending.destination import Destination

Failure = PassingError | LastingError

SUCCESS = 0x0000
DUPLICATE = 0x0111
WARNINGS = {
    0x0001: "warning",
    0x0107: "attribute list error",
    0x0116: "attribute value out of range",
    0xB000: "data elements coerced",
    0xB006: "elements discarded",
    0xB007: "data set does not match its class",
    DUPLICATE: "the peer says that it has it already",
}
PASSING = {
    0x0110: "processing failure",
    0x0213: "resource limitation",
    0xFE00: "cancelled by the peer",
}
LASTING = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0112: "no such SOP instance",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class and instance conflict",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0xA801: "move destination unknown to the peer",
}
FAMILIES = {
    0xA7: ("out of resources", True),
    0xA9: ("data set does not match its class", False),
}
TRANSIENT = 2
"""Result of an association's rejection that may pass (PS3.8 9.3.4)."""
REJECTIONS: dict[tuple[int | None, int | None, int | None], tuple[str, str]] = {
    (1, 1, 3): ("calling-ae-unknown", "make our AE title known at the peer"),
    (1, 1, 7): ("called-ae-unknown", "correct the peer's AE title in the settings"),
}


class Meaning(StrEnum):
    """What a final status says about an instance or a request."""

    DONE = "done"
    NOTED = "noted"
    """Done, with a warning that is passed on."""
    PASSING = "passing"
    LASTING = "lasting"


def meaning(status: int) -> Meaning:
    """Return what a status means; one that no standard names is lasting."""
    if status == SUCCESS:
        return Meaning.DONE
    if status in WARNINGS or status >> 12 == 0xB:
        return Meaning.NOTED
    if status in PASSING or FAMILIES.get(status >> 8, ("", False))[1]:
        return Meaning.PASSING
    return Meaning.LASTING


def said(status: int) -> str:
    """Return a status for people: its number, and what the standard calls it."""
    known = WARNINGS | PASSING | LASTING
    family = FAMILIES.get(status >> 8, ("", False))[0]
    if not family and status >> 12 == 0xC:
        family = "cannot understand"
    name = known.get(status) or family or "a status of its own"
    return f"status 0x{status:04X} ({name})"


def refused_status(peer: Destination, request: str, status: int) -> Failure:
    """Return the error of a request that ended with a failure status."""
    code = f"{request.lower()}-{status:04x}"
    if meaning(status) is Meaning.PASSING:
        return PassingError(
            f"{request} to {peer}",
            cause=code,
            found=said(status),
            needed="success",
            mend="look at the peer's own log if it lasts; it is tried again",
        )
    return LastingError(
        f"{request} to {peer}",
        cause=code,
        found=said(status),
        needed="success",
        mend="look at the peer's own log, then run it again",
    )


def rejected(peer: Destination, answer: A_ASSOCIATE) -> Failure:
    """Return the error of an association that the peer rejected."""
    reason = (answer.result, answer.result_source, answer.diagnostic)
    cause, mend = REJECTIONS.get(reason, ("association-rejected", "ask the peer"))
    found = f"a rejection ({answer.reason_str})"
    if answer.result == TRANSIENT:
        return PassingError(
            str(peer),
            cause="peer-busy",
            found=found,
            needed="an association",
            mend="it is tried again; raise the peer's limit if it lasts",
        )
    return LastingError(
        str(peer), cause=cause, found=found, needed="an association", mend=mend
    )


def no_context(peer: Destination, wanted: str) -> LastingError:
    """Return the error of a peer that does not take what we offer."""
    return LastingError(
        str(peer),
        cause="not-supported",
        found=f"a peer that does not accept {wanted}",
        needed="that class in the transfer syntax of the file",
        mend="let the peer accept it",
    )


def unanswered(peer: Destination, request: str) -> PassingError:
    """Return the error of a peer that fell silent or hung up."""
    return PassingError(
        f"{request} to {peer}",
        cause="no-answer",
        found="no answer: the connection ended, or the time did",
        needed="an answer",
        mend="check the peer and the network; it is tried again",
    )
