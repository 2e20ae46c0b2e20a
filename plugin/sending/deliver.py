"""Send files to a destination, once, and see that they arrived.

What is there already is found by a query and not sent again, so a crash between
sending and recording costs a query. What was sent is looked for by the same query.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from plugin.queue.causes import LastingError, PassingError
from plugin.sending.answers import (
    Meaning,
    meaning,
    no_context,
    refused_status,
    said,
)
from plugin.sending.association import Offer, associated, lost
from plugin.sending.destination import Destination, Verify
from plugin.sending.limits import Limits
from plugin.sending.outgoing import Outgoing, read_outgoing, store_contexts
from plugin.sending.query import find, find_context

logger = logging.getLogger(__name__)

FIRST_LOOK_S = 0.2
NOT_ASKED = "not verified: this destination is set not to be asked"


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the files at one destination."""

    sent: tuple[str, ...]
    """SOP instance UIDs that were stored now."""
    already: tuple[str, ...]
    """SOP instance UIDs that were there before."""
    is_confirmed: bool
    """A query after storing found them all."""
    notes: tuple[str, ...] = ()
    """Warnings of the destination, and what could not be checked; for people."""


def deliver(
    files: Sequence[Path],
    destination: Destination,
    *,
    calling_ae: str,
    locks: Path | None = None,
    limits: Limits | None = None,
) -> Delivered:
    """Store what the destination does not have yet; return once it has them all.

    One association for one call. Two callers who share ``locks`` (by default the
    folder of the first file) never send the same at the same time: the later one
    gets a PassingError.

    Raises
    ------
    PassingError
        If the destination is away, busy or silent, or does not show what it stored.
    LastingError
        If it refuses, or a file cannot be sent.
    """
    limits = limits or Limits()
    outgoing = [read_outgoing(path) for path in files]
    if not outgoing:
        return Delivered((), (), is_confirmed=True)
    contexts = store_contexts(outgoing)
    if destination.verify is Verify.FIND:
        contexts.append(find_context())
    offer = Offer("the class and syntax of the files", contexts)
    with (
        _alone(outgoing, destination, locks),
        associated(
            destination, offer, calling_ae=calling_ae, limits=limits
        ) as association,
    ):
        return _Visit(association, destination, limits).deliver(outgoing)


def echo(
    destination: Destination, *, calling_ae: str, limits: Limits | None = None
) -> str:
    """Return empty text when the destination answers a C-ECHO, else why it does not."""
    offer = Offer("verification (C-ECHO)", [build_context(Verification)])
    limits = limits or Limits()
    try:
        with associated(
            destination, offer, calling_ae=calling_ae, limits=limits
        ) as association:
            status = association.send_c_echo().get("Status")
            if status is None:
                raise lost(destination, association, "C-ECHO")
    except (PassingError, LastingError) as error:
        return f"{error.found}; {error.mend}"
    return "" if status == 0 else said(status)


@dataclass(frozen=True, slots=True)
class _Visit:
    """One association with a destination, and the files' way through it."""

    association: Association
    destination: Destination
    limits: Limits

    def deliver(self, outgoing: Sequence[Outgoing]) -> Delivered:
        is_asked = self.destination.verify is Verify.FIND
        there = self.known(outgoing) if is_asked else set()
        missing = [each for each in outgoing if each.sop_uid not in there]
        notes = dict.fromkeys(note for each in missing for note in self.store(each))
        if is_asked:
            self.confirm(missing)
        else:
            notes[NOT_ASKED] = None
        for note in notes:
            logger.warning("%s: %s", self.destination, note)
        return Delivered(
            sent=tuple(each.sop_uid for each in missing),
            already=tuple(e.sop_uid for e in outgoing if e.sop_uid in there),
            is_confirmed=is_asked,
            notes=tuple(notes),
        )

    def known(self, outgoing: Sequence[Outgoing]) -> set[str]:
        """Return the SOP instance UIDs among these that the destination has."""
        return {each.sop_uid for each in outgoing if self._has(each)}

    def _has(self, each: Outgoing) -> bool:
        """Ask for one instance: the query that every archive can answer."""
        keys = {
            "StudyInstanceUID": each.study_uid,
            "SeriesInstanceUID": each.series_uid,
            "SOPInstanceUID": each.sop_uid,
        }
        found = find(self.association, self.destination, "IMAGE", keys)
        # Some peers ignore a key and return every instance.
        return any(row.get("SOPInstanceUID") == each.sop_uid for row in found.rows)

    def store(self, each: Outgoing) -> list[str]:
        """Store one file as it is; return what the destination remarked."""
        self.association.dimse_timeout = self.limits.store_s(each.size)
        try:
            answer = self.association.send_c_store(each.path)
        except ValueError as error:
            wanted = f"{each.sop_class.name} in {each.syntax.name}"
            raise no_context(self.destination, wanted) from error
        except RuntimeError as error:
            # The association ended between two requests.
            raise lost(self.destination, self.association, "C-STORE") from error
        self.association.dimse_timeout = self.limits.answer_s
        status = answer.get("Status")
        if status is None:
            raise lost(self.destination, self.association, "C-STORE")
        if meaning(status) is Meaning.DONE:
            return []
        if meaning(status) is Meaning.NOTED:
            return [f"stored with {said(status)}"]
        raise refused_status(self.destination, "C-STORE", status)

    def confirm(self, sent: Sequence[Outgoing]) -> None:
        """Wait until a query finds what was sent: some archives index later."""
        end_s = time.monotonic() + self.limits.confirm_s
        wait_s = FIRST_LOOK_S
        missing = [each for each in sent if not self._has(each)]
        while missing and time.monotonic() + wait_s < end_s:
            time.sleep(wait_s)
            wait_s *= 2
            missing = [each for each in missing if not self._has(each)]
        if missing:
            raise PassingError(
                f"C-STORE to {self.destination}",
                cause="not-confirmed",
                found=f"{len(missing)} of {len(sent)} stored instances not to be found",
                needed="every instance found by C-FIND after it was stored",
                mend="look at the destination; it is asked again before it is sent",
            )


@contextmanager
def _alone(
    outgoing: Sequence[Outgoing], destination: Destination, locks: Path | None
) -> Iterator[None]:
    """Hold the right to send these files there, against all other processes."""
    handle = _lock_handle(outgoing, destination, locks)
    try:
        _lock(handle, destination)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, destination: Destination) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PassingError(
            str(destination),
            cause="being-sent",
            found="another worker that sends the same now",
            needed="one at a time",
            mend="nothing; it is tried again",
        ) from error


def _lock_handle(
    outgoing: Sequence[Outgoing], destination: Destination, locks: Path | None
) -> int:
    if locks is None:
        return os.open(outgoing[0].path.parent, os.O_RDONLY | os.O_DIRECTORY)
    locks.mkdir(parents=True, exist_ok=True)
    uids = sorted(each.sop_uid for each in outgoing)
    name = sha256("\n".join((str(destination), *uids)).encode()).hexdigest()[:32]
    return os.open(locks / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
