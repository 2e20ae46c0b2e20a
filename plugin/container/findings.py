"""What a lint says: one line per finding."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth a look."""

    severity: Severity
    message: str

    def line(self, source: str) -> str:
        """Return ``error: SOURCE: message`` as one printable line."""
        text = f"{self.severity}: {source}: {' '.join(self.message.split())}"
        return text.encode("utf-8", "backslashreplace").decode()


def error(message: str) -> Finding:
    """Return a finding that stops an installation or a launch."""
    return Finding("error", message)


def warning(message: str) -> Finding:
    """Return a finding that lets both go on, with a surprise."""
    return Finding("warning", message)
