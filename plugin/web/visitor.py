"""Who asks, and what they may see and do."""

from dataclasses import dataclass
from enum import IntEnum


class Standing(IntEnum):
    """How far a visitor is trusted; each may do what those before may."""

    NOBODY = 0
    READER = 1
    """On this machine: reads pages without identifiers."""
    KNOWN = 2
    """Let in by the reverse proxy: reads identifiers too."""
    OPERATOR = 3
    """Has the token: also changes."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """One request's sender; ``csrf`` is the form token of a signed-in browser."""

    standing: Standing
    csrf: str = ""

    @property
    def may_read(self) -> bool:
        """Whether pages are shown at all."""
        return self.standing >= Standing.READER

    @property
    def sees_identifiers(self) -> bool:
        """Whether UIDs, AE titles and session names are shown."""
        return self.standing >= Standing.KNOWN

    @property
    def may_change(self) -> bool:
        """Whether jobs may be re-run and drafts be decided on."""
        return self.standing >= Standing.OPERATOR

    @property
    def is_signed_in(self) -> bool:
        """Whether a browser's session speaks, so that forms work."""
        return self.may_change and bool(self.csrf)
