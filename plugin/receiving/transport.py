"""Connections of the listener: TLS, time limits, and bytes that stay bounded."""

import itertools
import logging
import socket
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.transport import (
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from plugin.errors import ConfigError
from plugin.receiving.settings import ListenerConfig, TlsFiles

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity

logger = logging.getLogger(__name__)

# An association request names up to 128 contexts, each with its transfer syntaxes.
REQUEST_BYTES = 262_144
# Commands and PDU headers around the dataset of one message.
MESSAGE_OVERHEAD_BYTES = 1 << 20
HEADER_BYTES = 6
# A-ABORT, source service provider, invalid PDU parameter value (PS3.8 9.3.8).
ABORT = bytes.fromhex("07000000000400000206")
_numbers = itertools.count(1)


class Wire(AssociationSocket):
    """Reads in large pieces, and leaves no descriptor behind."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Return that many bytes, fewer when the connection ended."""
        data = bytearray(nr_bytes)
        got = 0
        with memoryview(data) as view:
            while got < nr_bytes and (read := self._read_into(view[got:])):
                got += read
        del data[got:]
        return data

    def close(self) -> None:
        """Close, also when the peer closed first: a descriptor must not wait for gc."""
        client = self.socket
        super().close()
        if client is not None:
            client.close()

    def _read_into(self, view: memoryview) -> int:
        """Return how many bytes came; 0 is the end."""
        return cast(socket.socket, self.socket).recv_into(view)


class BoundedSocket(Wire):
    """Reads no PDU and no message longer than agreed.

    A store request is answered before the next one is sent (no asynchronous
    operations are agreed on), so what came since the last answer is one message.
    """

    def __init__(
        self, assoc: Association, client: socket.socket, config: ListenerConfig
    ) -> None:
        super().__init__(assoc, client_socket=client)
        self._pdu_bytes = config.pdu_bytes
        self._message_bytes = config.max_object_bytes + MESSAGE_OVERHEAD_BYTES
        self._unanswered_bytes = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Return that many bytes, fewer when the connection ended."""
        self._unanswered_bytes += nr_bytes
        agreed = self.assoc.is_established
        if nr_bytes > (self._pdu_bytes if agreed else REQUEST_BYTES):
            self._refuse("a PDU longer than agreed")
        if self._unanswered_bytes > self._message_bytes:
            self._refuse("an object over the size limit")
        return super().recv(nr_bytes)

    def send(self, bytestream: bytes) -> None:
        """Send, and count anew."""
        self._unanswered_bytes = 0
        super().send(bytestream)

    def _refuse(self, found: str) -> None:
        """Abort and end the connection; pynetdicom takes OSError for its end."""
        logger.warning("aborted an association: %s", found)
        super().send(ABORT)
        raise ConnectionAbortedError(found)


class BoundedRequestHandler(RequestHandler):
    """Makes associations on bounded sockets."""

    server: "Server"

    def _create_association(self) -> Association:
        """Return an association for the connection, its handlers bound."""
        assoc = Association(self.ae, "acceptor")
        assoc._server = self.server
        # The server finds its associations by the first word; the second is unique.
        assoc.name = f"AcceptorThread@{next(_numbers)}"
        client = cast(socket.socket, self.request)
        assoc.set_socket(BoundedSocket(assoc, client, self.server.config))
        assoc.acceptor.maximum_length = self.ae.maximum_pdu_size
        assoc.acceptor.ae_title = self.server.ae_title
        assoc.acceptor.address_info = self.local
        own = self.ae.implementation_class_uid, self.ae.implementation_version_name
        assoc.acceptor.implementation_class_uid = own[0]
        assoc.acceptor.implementation_version_name = own[1]
        assoc.acceptor.supported_contexts = self.server.contexts
        assoc.requestor.address_info = self.remote
        for event, handler in self.server.handlers:
            assoc.bind(event, handler)
        return assoc


class Server(ThreadedAssociationServer):
    """Accepts connections; nothing a stranger does holds up the next one."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(
        self,
        ae: "ApplicationEntity",
        config: ListenerConfig,
        handlers: list[tuple[evt.EventType, Any]],
    ) -> None:
        self.config = config
        self.handlers = handlers
        self._tls = server_tls(config.tls) if config.tls else None
        self._opening = threading.BoundedSemaphore(config.associations * 2)
        super().__init__(
            ae,
            (config.address, config.port),
            config.ae_title,
            ae.supported_contexts,
            evt_handlers=[],
            request_handler=BoundedRequestHandler,
        )

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Return a connection: small answers leave at once, silence ends it."""
        client, address = cast(socket.socket, self.socket).accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(self.config.opening_s)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Tell whether the connection is read at all; a refused one is closed."""
        host = client_address[0]
        config = self.config
        if not config.any_caller and not any(
            caller.sends_from(host) for caller in config.callers
        ):
            logger.warning("refused a connection from %s: not on the allow-list", host)
            return False
        if len(self.active_associations) >= config.associations * 3:
            logger.warning("refused a connection from %s: too many are open", host)
            return False
        return True

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Open TLS in the connection's own thread, then the association."""
        client = request
        if self._tls is not None:
            client = self._secured(request, client_address[0])
        if client is None:
            self.shutdown_request(request)
            return
        client.settimeout(self.config.idle_s)
        super().finish_request(client, client_address)

    def _secured(self, client: socket.socket, host: str) -> ssl.SSLSocket | None:
        """Return the connection inside TLS, None when the peer cannot or may not."""
        if not self._opening.acquire(blocking=False):
            logger.warning("refused a connection from %s: too many are opening", host)
            return None
        try:
            return cast(ssl.SSLContext, self._tls).wrap_socket(client, server_side=True)
        except OSError as error:
            cause = getattr(error, "reason", None) or type(error).__name__
            logger.warning("refused a connection from %s: TLS %s", host, cause)
            return None
        finally:
            self._opening.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say that a connection failed before it was an association."""
        kind = sys.exc_info()[0]
        name = kind.__name__ if kind else "unknown"
        logger.error("a connection from %s failed: %s", client_address[0], name)


def server_tls(files: TlsFiles) -> ssl.SSLContext:
    """Return TLS 1.2 or newer with client certificates required (PS3.15 B.12)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    load_pem(context, files)
    return context


def load_pem(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Give a context our certificate and the authority that peers must have."""
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authority)
    except OSError as error:
        raise ConfigError(
            f"TLS files {files.certificate}, {files.key}, {files.authority}",
            found=getattr(error, "reason", None) or type(error).__name__,
            needed="a certificate, its key and the authority of the peers, PEM",
            mend="correct the paths and their rights",
        ) from error


def silence() -> None:
    """Keep pynetdicom quiet: its lines and traces quote what peers sent."""
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
