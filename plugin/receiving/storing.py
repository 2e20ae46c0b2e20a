"""C-STORE requests to answers: no success before the disk has the instance."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_STORE

from plugin.errors import InputError
from plugin.jobs import Arrival, StorageError
from plugin.receiving.admission import KEPT_CLASSES
from plugin.receiving.identity import Identity, identify
from plugin.receiving.landing import DiskFullError, Landing

logger = logging.getLogger(__name__)

# Statuses of the Storage Service Class (PS3.4 B.2.3).
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
NOT_ITS_CLASS = 0xA900
ELEMENTS_DISCARDED = 0xB006
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0xC001

FAILURES = frozenset({"malformed", "no room", "not written", "failed"})
"""Endings of instances that were not kept although they should have been."""

PREAMBLE = b"\0" * 128 + b"DICM"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One instance that is durable, who sent it, and on which association."""

    identity: Identity
    outcome: Arrival
    source_ae: str
    association: str


class Storing:
    """Answers C-STORE requests; ``received`` hears of each durable instance."""

    def __init__(
        self,
        landing: Landing,
        received: Callable[[Receipt], None] | None,
        kept: frozenset[UID] = KEPT_CLASSES,
    ) -> None:
        self._landing = landing
        self._received = received
        self._classes = kept
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()

    def counts(self) -> dict[str, int]:
        """Return how many instances ended how, since the start."""
        with self._counting:
            return dict(self._counts)

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE request; whatever happens, no success without the disk."""
        try:
            ending, status = self._stored(event)
        # The door to strangers: an unforeseen fault costs one instance's answer.
        except Exception as error:  # noqa: BLE001
            logger.error("an instance could not be kept: %s", type(error).__name__)
            ending, status = "failed", PROCESSING_FAILURE
        with self._counting:
            self._counts[ending] += 1
        return status

    def _stored(self, event: evt.Event) -> tuple[str, int]:
        """Return what became of an instance, and its status."""
        request = cast(C_STORE, event.request)
        if request.AffectedSOPClassUID not in self._classes:
            return "discarded", ELEMENTS_DISCARDED
        encoded = request.DataSet or BytesIO()
        try:
            identity = identify(encoded, UID(event.context.transfer_syntax))
        except InputError as error:
            logger.warning("refused an instance: %s", error)
            return "malformed", CANNOT_UNDERSTAND
        if not _as_announced(request, identity):
            logger.warning(
                "study %s: refused an instance that is not the announced one",
                identity.study_key,
            )
            return "malformed", NOT_ITS_CLASS
        return self._kept(event, encoded, identity)

    def _kept(
        self, event: evt.Event, encoded: BytesIO, identity: Identity
    ) -> tuple[str, int]:
        """Write an instance and tell of it."""
        source = _sender(event)
        try:
            with encoded.getbuffer() as dataset:
                outcome = self._landing.keep(identity, _head(event, source), dataset)
        except DiskFullError:
            logger.error("study %s: refused, the disk is full", identity.study_key)
            return "no room", OUT_OF_RESOURCES
        except OSError as error:
            return _not_written(identity, error.strerror)
        except StorageError as error:
            return _not_written(identity, error.found)
        if self._received is not None:
            self._received(Receipt(identity, outcome, source, event.assoc.name))
        return outcome, SUCCESS


def _not_written(identity: Identity, why: str | None) -> tuple[str, int]:
    logger.error("study %s: not written, %s", identity.study_key, why)
    return "not written", OUT_OF_RESOURCES


def _sender(event: evt.Event) -> str:
    """Return who sends: the caller, or who answers our own call (C-GET)."""
    assoc = event.assoc
    sender = assoc.acceptor if assoc.is_requestor else assoc.requestor
    return sender.ae_title.strip()


def _as_announced(request: C_STORE, identity: Identity) -> bool:
    """Tell whether the dataset is the instance that the command names."""
    announced = request.AffectedSOPClassUID, request.AffectedSOPInstanceUID
    return announced == (identity.sop_class_uid, identity.sop_uid)


def _head(event: evt.Event, source: str) -> bytes:
    """Return preamble and file meta information, with who sent it (PS3.10 7.1)."""
    meta = event.file_meta
    meta.SourceApplicationEntityTitle = source
    head = BytesIO(PREAMBLE)
    head.seek(len(PREAMBLE))
    write_file_meta_info(DicomFileLike(head), meta, enforce_standard=True)
    return head.getvalue()
