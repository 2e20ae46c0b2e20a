"""One association that we request, on a connection that is open already."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import T_CONNECT, AddressInformation

from plugin.receiving.settings import check_ae_title
from plugin.receiving.transport import Wire, silence
from plugin.sending.answers import Failure, no_context, rejected, unanswered
from plugin.sending.connection import Line, connect, tls_failure
from plugin.sending.destination import Destination
from plugin.sending.limits import Limits

PDU_BYTES = 131_072
"""What we take in one piece; what we send in one piece is the peer's to say."""
POLL_S = 0.1
JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Offer:
    """What an association is asked for, and in what words a refusal tells of it."""

    what: str
    contexts: Sequence[PresentationContext]
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = ()
    handlers: Sequence[tuple[evt.EventType, Any]] = field(default=())


class ClientSocket(Wire):
    """An open connection, as pynetdicom wants it; remembers why it broke."""

    def __init__(
        self, assoc: Association, client: socket.socket, address: AddressInformation
    ) -> None:
        self._client = client
        self.failure: OSError | None = None
        super().__init__(assoc, address=address)
        # A silent peer must not hold up the end of the process.
        assoc.dul.daemon = True

    def connect(self, primitive: T_CONNECT) -> None:
        """Say that the connection is there."""
        self._is_connected = True
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)
        self._ready.set()

    def close(self) -> None:
        """Close, and keep having been connected.

        The requestor looks whether it is connected before it looks for the answer. A
        peer that rejects and hangs up in between would seem not to have answered.
        """
        super().close()
        self._is_connected = True

    def recv(self, nr_bytes: int) -> bytearray:
        """Return that many bytes, fewer when the connection ended."""
        try:
            return super().recv(nr_bytes)
        except OSError as error:
            self.failure = error
            raise

    def send(self, bytestream: bytes) -> None:
        """Send; when the peer has hung up, its last word says why."""
        try:
            self._client.sendall(bytestream)
        except OSError as error:
            has_ended = not isinstance(error, TimeoutError)
            self.failure = (self._last_word() if has_ended else None) or error
            self.event_queue.put("Evt17")

    def _last_word(self) -> OSError | None:
        """Return the TLS alert that came before the end, if one did."""
        try:
            self._client.recv(1)
        except OSError as error:
            return error
        return None

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        return self._client


class _Caller(AE):
    """An application entity that calls on a connection it is given."""

    def __init__(self, ae_title: str, client: socket.socket) -> None:
        super().__init__(ae_title)
        self._client = client

    def _create_socket(
        self,
        assoc: Association,
        address: AddressInformation,
        tls_args: tuple[ssl.SSLContext, str] | None,
    ) -> ClientSocket:
        return ClientSocket(assoc, self._client, address)


class Gate(threading.Event):
    """Holds pynetdicom's own loop still until it is opened.

    Between requests that loop reads on, and under load it takes the answer that the
    next request waits for. We read answers ourselves, so it has nothing to do.
    """

    def __init__(self) -> None:
        super().__init__()
        self._has_come = threading.Event()
        self._is_open = False

    def hold(self, association: Association) -> None:
        """Return once the loop of an association waits here."""
        association._reactor_checkpoint = self
        while association.is_alive() and not self._has_come.wait(POLL_S):
            pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, as the loop does."""
        self._has_come.set()
        return super().wait(timeout)

    def set(self) -> None:
        """Let the loop go on, if the gate is open: each request ends with this."""
        if self._is_open:
            super().set()

    def open(self) -> None:
        """Let the loop run to its end."""
        self._is_open = True
        self.set()


@contextmanager
def associated(
    peer: Destination, offer: Offer, *, calling_ae: str, limits: Limits
) -> Iterator[Association]:
    """Hold an association with a peer; released at the end, aborted after an error.

    Raises
    ------
    PassingError, LastingError
        If there is no connection, or the peer refuses the association.
    """
    check_ae_title(calling_ae)
    silence()
    # A file's bytes go out as they are on disk: nothing is decoded or encoded anew.
    _config.STORE_SEND_CHUNKED_DATASET = True
    line = connect(peer, limits)
    with line.client:
        association = _requested(peer, offer, line, calling_ae, limits)
        with _held(association):
            yield association


@contextmanager
def _held(association: Association) -> Iterator[None]:
    """Keep an association to its requests; release it, or abort it after an error."""
    gate = Gate()
    gate.hold(association)
    try:
        yield
        if association.is_established:
            association.release()
    except BaseException:
        if association.is_established:
            association.abort()
        raise
    finally:
        gate.open()
        association.join(JOIN_S)


def _requested(
    peer: Destination,
    offer: Offer,
    line: Line,
    calling_ae: str,
    limits: Limits,
) -> Association:
    entity = _Caller(calling_ae, line.client)
    entity.acse_timeout = limits.answer_s
    entity.dimse_timeout = limits.answer_s
    entity.network_timeout = None
    association = entity.associate(
        line.address,
        peer.port,
        contexts=list(offer.contexts),
        ae_title=peer.ae_title,
        max_pdu=PDU_BYTES,
        ext_neg=list(offer.roles),
        evt_handlers=list(offer.handlers),
    )
    if not association.is_established:
        raise _refusal(peer, offer, association)
    return association


def _refusal(peer: Destination, offer: Offer, association: Association) -> Failure:
    """Return why there is no association."""
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return rejected(peer, answer)
    if association.rejected_contexts and not association.accepted_contexts:
        return no_context(peer, offer.what)
    return lost(peer, association, "an association request")


def lost(peer: Destination, association: Association, request: str) -> Failure:
    """Return why a request has no answer: TLS that was refused late, or silence."""
    wire = association.dul.socket
    failure = wire.failure if isinstance(wire, ClientSocket) else None
    if isinstance(failure, ssl.SSLError):
        return tls_failure(peer, failure)
    return unanswered(peer, request)


def accepts(association: Association, abstract_syntax: str) -> bool:
    """Tell whether the peer accepted at least one context of a class."""
    return any(
        context.abstract_syntax == abstract_syntax
        for context in association.accepted_contexts
    )
