"""A connection to a peer: open within its time, with TLS where it is wanted."""

import socket
import ssl
from typing import NamedTuple

from plugin.queue.causes import LastingError, PassingError
from plugin.receiving.transport import load_pem
from plugin.sending.answers import Failure
from plugin.sending.destination import ClientTls, Destination
from plugin.sending.limits import Limits

# Verification results of OpenSSL (X509_V_ERR_...).
EXPIRED = 10
HOST_MISMATCHES = {62, 64}
HANDSHAKE_BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class Line(NamedTuple):
    """An open connection, and the address that the peer's name led to."""

    client: socket.socket
    address: str


def connect(peer: Destination, limits: Limits) -> Line:
    """Return an open connection, on which no read or write blocks for ever.

    Raises
    ------
    PassingError, LastingError
        If the peer cannot be reached, or TLS cannot be agreed on.
    """
    context = client_tls(peer.tls) if peer.tls else None
    try:
        client = socket.create_connection((peer.host, peer.port), limits.connect_s)
        address = str(client.getpeername()[0])
    except OSError as error:
        raise _unreachable(peer, error) from error
    # Small messages go at once: waiting to fill a packet costs 40 ms per instance.
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is not None:
        client = _secured(client, context, peer)
    client.settimeout(limits.stall_s)
    return Line(client, address)


def client_tls(tls: ClientTls) -> ssl.SSLContext:
    """Return TLS 1.2 or newer that shows our certificate and checks the peer's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.check_host
    load_pem(context, tls)
    return context


def _secured(
    client: socket.socket, context: ssl.SSLContext, peer: Destination
) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(client, server_hostname=peer.host)
    except OSError as error:
        client.close()
        raise tls_failure(peer, error) from error


def tls_failure(peer: Destination, error: OSError) -> Failure:
    """Return why TLS was not agreed on: a certificate will not mend itself."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(peer, error)
    if isinstance(error, ssl.SSLError) and not isinstance(error, HANDSHAKE_BROKEN):
        return LastingError(
            str(peer),
            cause="tls-refused",
            found=f"TLS that ended with {error.reason or 'an error'}",
            needed="a peer that speaks TLS 1.2 or newer and trusts our certificate",
            mend="check that the port is a TLS port, and that our certificate has not "
            "expired and is trusted there",
        )
    return PassingError(
        str(peer),
        cause="tls-broken",
        found=f"a connection that ended while TLS was opened ({_kind(error)})",
        needed="a TLS handshake",
        mend="check that the port is a TLS port; it is tried again",
    )


def _untrusted(peer: Destination, error: ssl.SSLCertVerificationError) -> LastingError:
    mend = "give the authority that signed the peer's certificate"
    if error.verify_code == EXPIRED:
        mend = "renew the peer's certificate"
    elif error.verify_code in HOST_MISMATCHES:
        mend = "use the host name of the certificate, or switch the host check off"
    return LastingError(
        str(peer),
        cause="tls-certificate",
        found=f"a certificate that is not trusted: {error.verify_message}",
        needed="a valid certificate of the configured authority",
        mend=mend,
    )


def _unreachable(peer: Destination, error: OSError) -> PassingError:
    return PassingError(
        str(peer),
        cause="unreachable",
        found=error.strerror or _kind(error),
        needed="a peer that listens there",
        mend="check host, port, firewall and the peer; it is tried again",
    )


def _kind(error: OSError) -> str:
    return type(error).__name__
