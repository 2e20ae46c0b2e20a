"""Who may associate, and for which presentation contexts."""

import logging
import threading
from collections.abc import Callable, Iterable
from functools import cache

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    SegmentationStorage,
)
from pynetdicom import AllStoragePresentationContexts, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    LabelMapSegmentationStorage,
    Verification,
)

from plugin.receiving.settings import ListenerConfig, Others

logger = logging.getLogger(__name__)

Rejection = tuple[int, int, int]

# Result, source, reason (PS3.8 9.3.4).
CALLER_UNKNOWN: Rejection = (1, 1, 3)
CALLED_UNKNOWN: Rejection = (1, 1, 7)
CONGESTED: Rejection = (2, 3, 1)
LIMIT_REACHED: Rejection = (2, 3, 2)
REASONS = {
    CALLER_UNKNOWN: "calling AE title or host not on the allow-list",
    CALLED_UNKNOWN: "called AE title is not ours",
    CONGESTED: "too many associations a minute",
    LIMIT_REACHED: "too many associations at once",
}
IMAGE_CLASSES = frozenset(
    {
        MRImageStorage,
        EnhancedMRImageStorage,
        LegacyConvertedEnhancedMRImageStorage,
    }
)
MASK_CLASSES = frozenset({SegmentationStorage, LabelMapSegmentationStorage})
KEPT_CLASSES = IMAGE_CLASSES | MASK_CLASSES
STORAGE_CLASSES = frozenset(
    cx.abstract_syntax for cx in AllStoragePresentationContexts if cx.abstract_syntax
)
UNCOMPRESSED = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
MINUTE_S = 60.0


def kept_classes(config: ListenerConfig) -> frozenset[UID]:
    """Return the storage classes whose instances are kept."""
    return KEPT_CLASSES if config.masks else IMAGE_CLASSES


class Pace:
    """How many associations a minute, all senders together."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._since_s = clock()
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Tell whether one more may come now."""
        with self._lock:
            now_s = self._clock()
            gained = (now_s - self._since_s) * self._per_minute / MINUTE_S
            self._left = min(float(self._per_minute), self._left + gained)
            self._since_s = now_s
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Admission:
    """Answers association requests by the settings."""

    def __init__(self, config: ListenerConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._kept = kept_classes(config)
        self._pace = Pace(config.associations_per_minute, clock)

    def requested(self, event: evt.Event) -> None:
        """Reject the association, or say which of its contexts are supported."""
        association = event.assoc
        if rejection := self._rejection(association):
            _reject(association, rejection)
            return
        association.acceptor.supported_contexts = self._contexts(association)

    def _rejection(self, association: Association) -> Rejection | None:
        """Return why the association is refused, None when it is welcome."""
        request = association.requestor.primitive
        caller = request.calling_ae_title.strip() if request else ""
        called = request.called_ae_title.strip() if request else ""
        if called != self._config.ae_title.strip():
            return CALLED_UNKNOWN
        if not self._is_known(caller, association.requestor.address or ""):
            return CALLER_UNKNOWN
        if _running(association) >= self._config.associations:
            return LIMIT_REACHED
        return None if self._pace.allows() else CONGESTED

    def _is_known(self, ae_title: str, address: str) -> bool:
        """Tell whether this AE title may call from this address."""
        return self._config.any_caller or any(
            caller.ae_title.strip() == ae_title and caller.sends_from(address)
            for caller in self._config.callers
        )

    def _contexts(self, association: Association) -> list[PresentationContext]:
        """Return the supported ones among what was proposed."""
        proposed: dict[UID, list[UID]] = {}
        for context in association.requestor.requested_contexts:
            if context.abstract_syntax is not None:
                proposed.setdefault(context.abstract_syntax, []).extend(
                    context.transfer_syntax
                )
        supported = [Verification, *self._supported(proposed)]
        return [
            build_context(sop_class, list(self._syntaxes(sop_class, proposed)))
            for sop_class in supported
        ]

    def _supported(self, proposed: Iterable[UID]) -> list[UID]:
        """Return the storage classes that are taken."""
        taken = self._kept
        if self._config.others is Others.DISCARD:
            taken = self._kept | STORAGE_CLASSES
        return [sop_class for sop_class in proposed if sop_class in taken]

    def _syntaxes(
        self, sop_class: UID, proposed: dict[UID, list[UID]]
    ) -> tuple[UID, ...]:
        """Return the transfer syntaxes; what is dropped may come in any."""
        if sop_class in self._kept:
            return readable_syntaxes()
        return tuple(proposed.get(sop_class, UNCOMPRESSED))


@cache
def readable_syntaxes() -> tuple[UID, ...]:
    """Return the transfer syntaxes whose pixels this installation can read."""
    compressed = [uid for uid in AllTransferSyntaxes if uid not in UNCOMPRESSED]
    return (*UNCOMPRESSED, *(uid for uid in compressed if _has_decoder(uid)))


def _has_decoder(transfer_syntax: UID) -> bool:
    """Tell whether a decoder is installed."""
    try:
        return get_decoder(transfer_syntax).is_available
    except NotImplementedError:
        return False


def _running(association: Association) -> int:
    """Return how many other associations are established on this server."""
    server = association._server
    others = server.active_associations if server else []
    return sum(other.is_established for other in others)


def _reject(association: Association, rejection: Rejection) -> None:
    """Answer with a rejection, then end the connection."""
    logger.warning(
        "rejected an association from %s: %s",
        association.requestor.address,
        REASONS[rejection],
    )
    association.acse.send_reject(*rejection)
    association.kill()
