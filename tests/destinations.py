"""Destinations that do what a test says, without any network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from plugin.queue.causes import LastingError, PassingError
from plugin.sending.deliver import Delivered
from plugin.sending.destination import Destination, Verify


def destination(name: str, *sources: str, verify: Verify = Verify.FIND) -> Destination:
    return Destination(name, "PEER", "127.0.0.1", 104, sources, verify)


def away() -> PassingError:
    return PassingError(
        "peer", cause="unreachable", found="no answer", needed="one", mend="wait"
    )


def refusing() -> LastingError:
    return LastingError(
        "peer", cause="refused", found="0xA900", needed="success", mend="ask"
    )


@dataclass
class Peers:
    """Stands for ``deliver``: what every destination has, and how it fails."""

    failing: dict[str, Exception] = field(default_factory=dict)
    stored: list[tuple[str, str]] = field(default_factory=list)
    """Destination and SOP instance UID of every C-STORE."""
    asked: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def __call__(
        self, files: Sequence[Path], destination: Destination, *, calling_ae: str
    ) -> Delivered:
        self.meanwhile()
        name = destination.name
        self.asked.append(name)
        if name in self.failing:
            raise self.failing[name]
        uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in files]
        new = tuple(uid for uid in uids if (name, uid) not in self.stored)
        self.stored += [(name, uid) for uid in new]
        is_asked = destination.verify is Verify.FIND
        there = tuple(uid for uid in uids if uid not in new)
        return Delivered(new, there, is_confirmed=is_asked)
