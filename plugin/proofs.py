"""What is known about engines, kept in a cache that may be lost and with a project.

A container starts with an empty cache: what the project keeps spares it the question.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from model.atomic import write_atomically
from model.fidelity import QUESTION, Fidelity
from plugin.errors import ArchiveError

if TYPE_CHECKING:
    from plugin.archive import Archive

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a proof is about: another one of any of these needs another proof."""

    weights_sha256: str
    engine: str
    runtime: str
    """The program that computes, and its version."""
    processor: str
    question: str = QUESTION

    @property
    def place(self) -> str:
        """Return the path of its file: one safe name for all of it."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"engines/{self.engine}-{self.weights_sha256[:12]}-{digest}.json"


@dataclass(frozen=True, slots=True)
class Proofs:
    """Fidelities that were measured before, one small file each."""

    folder: Path
    project: "Archive | None" = None
    """An archive whose project keeps them too, for machines that start empty."""

    def find(self, subject: Subject) -> Fidelity | None:
        """Return what was measured, None when nothing was or the file is damaged."""
        here = _fidelity(self._here(subject), subject)
        return here or _fidelity(self._in_project(subject), subject)

    def keep(self, subject: Subject, fidelity: Fidelity) -> None:
        """Store a measurement; where nothing can be written it is made again."""
        record = {"subject": asdict(subject), "fidelity": asdict(fidelity)}
        data = json.dumps(record, indent=1, sort_keys=True).encode()
        try:
            write_atomically(self.folder / subject.place, data)
        except OSError as error:
            logger.warning(
                "engine checks are not kept: %s: %s", self.folder, error.strerror
            )
        try:
            if self.project is not None:
                self.project.write(None, subject.place, data)
        except ArchiveError as error:
            logger.warning("engine checks are not kept in the project: %s", error)

    def _here(self, subject: Subject) -> bytes | None:
        try:
            return (self.folder / subject.place).read_bytes()
        except OSError:
            return None

    def _in_project(self, subject: Subject) -> bytes | None:
        if self.project is None:
            return None
        try:
            return self.project.read(None, subject.place)
        except (ArchiveError, OSError) as error:
            logger.warning("the project's engine checks cannot be read: %s", error)
            return None


def _fidelity(data: bytes | None, subject: Subject) -> Fidelity | None:
    """Return what a record says of a subject, None if it is of another or damaged."""
    try:
        record = json.loads(data or b"")
        if record["subject"] != asdict(subject):
            return None
        found = Fidelity(**record["fidelity"])
        return replace(found, dice=float(found.dice))
    except (ValueError, KeyError, TypeError):
        return None
