"""The DICOM Storage SCP: an instance is answered with success once it is durable.

The dataset is written as received. Nothing of it is decoded but four UIDs.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from plugin.errors import ConfigError
from plugin.receiving.admission import Admission, kept_classes
from plugin.receiving.landing import Landing
from plugin.receiving.settings import ListenerConfig
from plugin.receiving.storing import SUCCESS, Receipt, Storing
from plugin.receiving.transport import Server, silence

logger = logging.getLogger(__name__)

STOP_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Hooks:
    """What hears of a listener's work, each in the association's thread.

    ``received`` runs after the instance is durable and before success is answered;
    when it raises, the sender is told to send again. ``released`` hears the name of an
    association that its sender ended in order. ``echoed`` runs before an echo is
    answered.
    """

    received: Callable[[Receipt], None] | None = None
    released: Callable[[str], None] | None = None
    echoed: Callable[[], None] | None = None


NO_HOOKS = Hooks()


class Listener:
    """A Storage and Verification SCP from ``with`` until its end."""

    def __init__(
        self,
        config: ListenerConfig,
        landing: Landing,
        *,
        hooks: Hooks = NO_HOOKS,
        clock: Callable[[], float] = time.monotonic,
        grace_s: float = 10.0,
    ) -> None:
        self.config = config
        self._landing = landing
        self._hooks = hooks
        self._storing = Storing(landing, hooks.received, kept_classes(config))
        self._admission = Admission(config, clock)
        self._grace_s = grace_s
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self._running().server_address[1])

    def counts(self) -> dict[str, int]:
        """Return how many instances ended how, since the start."""
        return self._storing.counts()

    def associations(self) -> int:
        """Return how many senders are associated now."""
        return len(_established(self._running()))

    def __enter__(self) -> Self:
        silence()
        self._landing.__enter__()
        try:
            self._server = self._bound()
        except BaseException:
            self._landing.__exit__(None, None, None)
            raise
        serve = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": STOP_POLL_S},
            name="dicom-listener",
            daemon=True,
        )
        serve.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        server, self._server = self._running(), None
        server.shutdown()
        self._wait_for(server)
        for association in _established(server):
            association.abort()
        self._wait_for(server)
        for silent in server.active_associations:
            if silent.dul.socket is not None:
                silent.dul.socket.close()
        self._landing.__exit__(kind, error, trace)

    def _answered_echo(self, event: evt.Event) -> int:
        if self._hooks.echoed is not None:
            self._hooks.echoed()
        return SUCCESS

    def hasten(self) -> None:
        """Wait no longer for senders when the listener ends."""
        self._grace_s = 0.0

    def _wait_for(self, server: Server) -> None:
        """Return when no sender is left, or when the grace is over."""
        start_s = time.monotonic()
        while _established(server) and time.monotonic() < start_s + self._grace_s:
            time.sleep(STOP_POLL_S)

    def _ended_well(self, event: evt.Event) -> None:
        """Tell that a sender has sent what it wanted to."""
        if self._hooks.released is not None:
            self._hooks.released(event.assoc.name)

    def _running(self) -> Server:
        """Return the server, which only lives inside ``with``."""
        if self._server is None:
            raise ConfigError(
                "the DICOM listener",
                found="one that is not started",
                needed="one inside its with block",
                mend="enter the listener first",
            )
        return self._server

    def _bound(self) -> Server:
        """Return a server that holds its port."""
        entity = AE(self.config.ae_title)
        entity.maximum_pdu_size = self.config.pdu_bytes
        entity.network_timeout = self.config.idle_s
        entity.acse_timeout = self.config.opening_s
        # The limit is our own: it counts established ones, not silent connections.
        entity.maximum_associations = self.config.associations * 4
        entity.add_supported_context(Verification)
        handlers: list[tuple[evt.EventType, Any]] = [
            (evt.EVT_REQUESTED, self._admission.requested),
            (evt.EVT_C_ECHO, self._answered_echo),
            (evt.EVT_C_STORE, self._storing.store),
            (evt.EVT_RELEASED, self._ended_well),
            (evt.EVT_ABORTED, _aborted),
        ]
        try:
            server = Server(entity, self.config, handlers)
        except OSError as error:
            raise ConfigError(
                f"{self.config.address}:{self.config.port}",
                found=error.strerror or type(error).__name__,
                needed="an address of this machine and a free port",
                mend="choose another address or port, or stop what holds it",
            ) from error
        # The server takes itself off this list when it is shut down.
        entity._servers.append(server)
        return server


def _established(server: Server) -> list[Association]:
    """Return the senders that may still be sending."""
    return [a for a in server.active_associations if a.is_established]


def _aborted(event: evt.Event) -> None:
    """Say that a sender went away; what was answered stays."""
    logger.info("an association from %s was aborted", event.assoc.requestor.address)
