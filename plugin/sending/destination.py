"""Peers that masks are sent to, and which study goes to which."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from plugin.errors import ConfigError
from plugin.receiving.settings import TlsFiles, check_ae_title

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,252}")
HIGHEST_PORT = 65_535


class Verify(StrEnum):
    """How a destination is asked whether it has what was sent.

    ``FIND``: by C-FIND, before and after. ``NONE``: it cannot be asked; then its
    success status is all there is, and every attempt sends again.
    """

    FIND = "find"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ClientTls(TlsFiles):
    """PEM files; the peer must show a certificate that ``authority`` signed.

    ``check_host`` false lets that certificate carry another host's name.
    """

    check_host: bool = True


@dataclass(frozen=True, slots=True)
class Destination:
    """One peer: its name among ours, its address, and whose studies go there."""

    name: str
    ae_title: str
    host: str
    port: int
    sources: tuple[str, ...] = ()
    """Calling AE titles whose studies go here; empty: all."""
    verify: Verify = Verify.FIND
    tls: ClientTls | None = None

    def __post_init__(self) -> None:
        for title in (self.ae_title, *self.sources):
            check_ae_title(title)
        if not NAME.fullmatch(self.name):
            raise _refused("name", self.name, "1 to 40 letters, digits, or . _ -")
        if not HOST.fullmatch(self.host):
            raise _refused("host", self.host, "a host name or an IP address")
        if not 0 < self.port <= HIGHEST_PORT:
            raise _refused("port", str(self.port), f"1 to {HIGHEST_PORT}")

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"{self.ae_title.strip()} at {self.host}:{self.port}"

    def takes_from(self, source_aes: Iterable[str]) -> bool:
        """Tell whether a study that came from these AE titles goes here."""
        wanted = {title.strip() for title in self.sources}
        return not wanted or not wanted.isdisjoint(t.strip() for t in source_aes)


def destinations_for(
    source_aes: Iterable[str], destinations: Iterable[Destination]
) -> tuple[Destination, ...]:
    """Return where a study goes that came from these AE titles, in given order."""
    titles = tuple(source_aes)
    return tuple(each for each in destinations if each.takes_from(titles))


def _refused(field: str, found: str, needed: str) -> ConfigError:
    return ConfigError(
        f"a destination's {field}",
        found=f"'{found}'",
        needed=needed,
        mend="correct the destination",
    )
