"""Where masks go, and how it is known that they arrived."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from plugin.errors import ConfigError
from plugin.receiving.settings import check_ae_title

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class Verify(StrEnum):
    """How a destination shows that it holds an instance."""

    FIND = "find"
    """By C-FIND at IMAGE level."""
    NONE = "none"
    """It cannot be asked: its answer to C-STORE must do."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files: our certificate, its key, and the authority of the peer."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer that takes masks.

    ``sources`` are the calling AE titles whose studies go there; empty: all.
    """

    name: str
    ae_title: str
    host: str
    port: int
    sources: tuple[str, ...] = ()
    verify: Verify = Verify.FIND
    tls: ClientTls | None = None

    def __post_init__(self) -> None:
        check_ae_title(self.ae_title)
        for source in self.sources:
            check_ae_title(source)
        if not NAME.fullmatch(self.name):
            raise _wrong("name", self.name, "up to 32 of a-z, 0-9 and hyphen")
        if not 0 < self.port <= 65_535:
            raise _wrong("port", str(self.port), "1 to 65535")


def _wrong(key: str, found: str, needed: str) -> ConfigError:
    return ConfigError(
        f"destination {key}", found=found, needed=needed, mend="correct the destination"
    )
