"""Settings of the DICOM listener, checked when they are made."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from plugin.errors import ConfigError

AE_TITLE_CHARACTERS = 16
GIB = 1 << 30
MIB = 1 << 20


class Others(StrEnum):
    """What becomes of storage classes that no breast mask is made from.

    A router sends whole studies: reports and presentation states come along. When
    their presentation contexts are refused, many routers call the whole transfer
    failed and send it again for ever. So they are taken and dropped by default, with
    the warning status B006 (elements discarded), which every sender counts as sent.
    """

    DISCARD = "discard"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Caller:
    """A calling AE title that may send; ``hosts`` empty means from anywhere."""

    ae_title: str
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ae_title(self.ae_title)
        for host in self.hosts:
            _check_host(host)

    def sends_from(self, address: str) -> bool:
        """Tell whether this caller may call from an IP address."""
        if not self.hosts:
            return True
        found = ipaddress.ip_address(address)
        return any(found in ipaddress.ip_network(host) for host in self.hosts)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; senders must show a certificate that ``authority`` signed."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """Where to listen, whom to trust, and the limits that keep memory and disk bounded.

    At most ``associations * max_object_bytes`` are held in memory at once. Without
    ``masks`` a DICOM-SEG is one of the others: a service that sends masks out must
    not work on what comes back.
    """

    ae_title: str
    callers: tuple[Caller, ...] = ()
    any_caller: bool = False
    address: str = "127.0.0.1"
    port: int = 11112
    tls: TlsFiles | None = None
    others: Others = Others.DISCARD
    masks: bool = True
    associations: int = 10
    associations_per_minute: int = 3000
    pdu_bytes: int = 131_072
    max_object_bytes: int = GIB
    min_free_bytes: int = 2 * GIB
    idle_s: float = 60.0
    opening_s: float = 15.0

    def __post_init__(self) -> None:
        check_ae_title(self.ae_title)
        self._check_whole()
        if not self.any_caller and not self.callers:
            raise ConfigError(
                "the DICOM listener",
                found="no calling AE title that may send",
                needed="at least one, or any_caller",
                mend="name the PACS's AE title",
            )

    def _check_whole(self) -> None:
        """Refuse limits that would let nothing in, or everything."""
        limits = (
            ("port", self.port, 0, 65_535),
            ("associations", self.associations, 1, 1000),
            ("associations_per_minute", self.associations_per_minute, 1, 10**6),
            ("pdu_bytes", self.pdu_bytes, 4096, MIB),
            ("max_object_bytes", self.max_object_bytes, 1, 1 << 40),
            ("min_free_bytes", self.min_free_bytes, 0, 1 << 60),
        )
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise ConfigError(
                    name,
                    found=str(value),
                    needed=f"{low} to {high}",
                    mend="set it within the range",
                )


def check_ae_title(title: str) -> None:
    """Refuse what is no AE title (PS3.5 6.2, VR AE)."""
    printable = title.isascii() and title.isprintable() and "\\" not in title
    if not printable or not 0 < len(title.strip()) <= AE_TITLE_CHARACTERS:
        raise ConfigError(
            f"AE title {title!r}",
            found=f"{len(title)} characters",
            needed="1 to 16 printable ASCII characters without backslash",
            mend="correct the AE title",
        )


def _check_host(host: str) -> None:
    """Refuse host names: a name server's answer is no reason to trust."""
    try:
        ipaddress.ip_network(host)
    except ValueError as error:
        raise ConfigError(
            f"host {host!r}",
            found="no IP address or network",
            needed="an address as 10.0.0.7, or a network as 10.0.0.0/24",
            mend="write the sender's IP address",
        ) from error
