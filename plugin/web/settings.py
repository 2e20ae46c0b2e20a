"""Settings of the HTTP status, checked when they are made."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from plugin.errors import ConfigError

TOKEN_VARIABLE: Final = "BRS_HTTP_TOKEN"
TOKEN_CHARACTERS: Final = 16
LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
HOST_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where the pages are, and who may see and change what.

    Attributes
    ----------
    token_sha256
        SHA-256 of the token, as ``read_token`` returns it; empty: nobody may change.
    hosts
        Names by which browsers reach the pages, besides addresses and localhost.
    proxy_user_header, proxy_addresses
        The header in which a reverse proxy names the user that it has let in, and the
        addresses from which that header is believed.
    behind_tls
        A reverse proxy in front speaks HTTPS: cookies are for HTTPS alone, and
        browsers are told to stay with it.
    """

    address: str = "127.0.0.1"
    port: int = 8080
    token_sha256: str = field(default="", repr=False)
    hosts: tuple[str, ...] = ()
    proxy_user_header: str | None = None
    proxy_addresses: tuple[str, ...] = ()
    behind_tls: bool = False
    threads: int = 8

    def __post_init__(self) -> None:
        _check_address(self.address)
        _check_range("http port", self.port, 0, 65_535)
        _check_range("http threads", self.threads, 1, 64)
        for host in self.hosts:
            _check(host, HOST_NAME, "http hosts", "a name such as brs.hospital.example")
        if self.token_sha256:
            _check(self.token_sha256, DIGEST, "http token_sha256", "64 hex digits")
        self._check_proxy()
        if not self.is_local and not self.token_sha256 and not self.proxy_user_header:
            raise _open_to_all(self.address)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return (
            self.address == "localhost"
            or ipaddress.ip_address(self.address).is_loopback
        )

    @property
    def has_proxy(self) -> bool:
        """Whether what comes from this machine may be somebody else's request."""
        return self.behind_tls or self.proxy_user_header is not None

    def is_proxy(self, address: str | None) -> bool:
        """Tell whether a peer is one of the trusted reverse proxies."""
        networks = (ipaddress.ip_network(n) for n in self.proxy_addresses)
        peer = parse_ip(address)
        return peer is not None and any(peer in network for network in networks)

    def _check_proxy(self) -> None:
        for network in self.proxy_addresses:
            _check_network(network)
        if self.proxy_user_header is None:
            return
        _check(
            self.proxy_user_header, HEADER_NAME, "http proxy_user_header", "a header"
        )
        if not self.proxy_addresses:
            raise ConfigError(
                "http proxy_user_header",
                found="no proxy_addresses from which the header is believed",
                needed="the reverse proxy's address",
                mend="set proxy_addresses, for example to 127.0.0.1",
            )


def read_token(environ: Mapping[str, str], token_file: Path | None = None) -> str:
    """Return the SHA-256 of the token in the environment or a file; empty without one.

    Raises
    ------
    ConfigError
        If the token is too short, or the file cannot be read.
    """
    token = environ.get(TOKEN_VARIABLE, "").strip()
    where = TOKEN_VARIABLE
    if not token and token_file is not None:
        token, where = _token_in(token_file), str(token_file)
    elif not token:
        return ""
    if len(token) < TOKEN_CHARACTERS:
        raise ConfigError(
            f"the HTTP token in {where}",
            found=f"{len(token)} characters",
            needed=f"at least {TOKEN_CHARACTERS}",
            mend="make one with `openssl rand -hex 24`",
        )
    return digest(token)


def digest(token: str) -> str:
    """Return the SHA-256 of a token, 64 hex digits; the token itself is not kept."""
    return sha256(token.encode()).hexdigest()


def parse_ip(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, a mapped IPv4 one as IPv4; None where the text is none."""
    try:
        found = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    mapped = found.ipv4_mapped if found.version == 6 else None
    return mapped or found


def _token_in(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the HTTP token file {path}",
            found=getattr(error, "strerror", None) or "no text",
            needed="a file with the token on its only line",
            mend="create it, readable by this user alone",
        ) from None


def _check_address(address: str) -> None:
    if address != "localhost" and parse_ip(address) is None:
        raise ConfigError(
            f"http address {address!r}",
            found="no IP address",
            needed="an address of this machine, 127.0.0.1 by default",
            mend="correct the address; 0.0.0.0 is every IPv4 address",
        )


def _check_network(network: str) -> None:
    try:
        ipaddress.ip_network(network)
    except ValueError:
        raise ConfigError(
            f"http proxy_addresses {network!r}",
            found="no IP address or network",
            needed="an address as 10.0.0.7, or a network as 10.0.0.0/24",
            mend="write the reverse proxy's IP address",
        ) from None


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(
            name,
            found=str(value),
            needed=f"{low} to {high}",
            mend="correct the setting",
        )


def _check(text: str, pattern: re.Pattern[str], name: str, needed: str) -> None:
    """Refuse what does not match; the text is not quoted, it may be a secret."""
    if not pattern.fullmatch(text):
        raise ConfigError(
            name,
            found=f"{len(text)} characters that are none",
            needed=needed,
            mend="correct the setting",
        )


def _open_to_all(address: str) -> ConfigError:
    return ConfigError(
        f"http address {address}",
        found="pages that any machine could read",
        needed="a token, or a reverse proxy that knows its users",
        mend=f"set {TOKEN_VARIABLE} or token_file, or stay with 127.0.0.1",
    )
