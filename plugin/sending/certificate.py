"""Until when a certificate is valid, asked of OpenSSL by public means."""

import ssl
from datetime import UTC, datetime
from typing import Any

from plugin.errors import ConfigError
from plugin.receiving.settings import TlsFiles
from plugin.receiving.transport import load_pem

STEPS = 10


def own_expiry(files: TlsFiles) -> datetime:
    """Return the end of our own certificate, as a peer would see it.

    A handshake with ourselves in memory, which trusts this one certificate: key and
    certificate belong together if it ends.

    Raises
    ------
    ConfigError
        If the files cannot be read, or the certificate is no longer valid.
    """
    server, client = _contexts(files)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server),
    ]
    try:
        for _ in range(STEPS):
            for end in ends:
                _step(end)
    except ssl.SSLError as error:
        raise _invalid(files, error) from error
    return expiry(ends[0].getpeercert())


def expiry(shown: Any) -> datetime:
    """Return the end of a verified certificate, as the ssl module shows it."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)


def _contexts(files: TlsFiles) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    load_pem(server, files)
    server.load_verify_locations(files.certificate)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    load_pem(client, files)
    return server, client


def _step(end: ssl.SSLObject) -> None:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return


def _invalid(files: TlsFiles, error: ssl.SSLError) -> ConfigError:
    said = getattr(error, "verify_message", "") or error.reason or "an error"
    return ConfigError(
        f"our certificate {files.certificate}",
        found=said,
        needed="a certificate that is valid today",
        mend="renew it",
    )
