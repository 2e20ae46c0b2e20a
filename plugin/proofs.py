"""What is known about engines on this machine, kept in a cache that may be lost."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from model.atomic import write_atomically
from model.fidelity import QUESTION, Fidelity

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
    def file_name(self) -> str:
        """Return one safe name for all of it."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{self.engine}-{self.weights_sha256[:12]}-{digest}.json"


@dataclass(frozen=True, slots=True)
class Proofs:
    """Fidelities that were measured before, one small file each."""

    folder: Path

    def find(self, subject: Subject) -> Fidelity | None:
        """Return what was measured, None when nothing was or the file is damaged."""
        try:
            record = json.loads(self._path(subject).read_text())
            return Fidelity(**record["fidelity"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, subject: Subject, fidelity: Fidelity) -> None:
        """Store a measurement; where nothing can be written it is made again."""
        record = {"subject": asdict(subject), "fidelity": asdict(fidelity)}
        text = json.dumps(record, indent=1, sort_keys=True)
        try:
            write_atomically(self._path(subject), text.encode())
        except OSError as error:
            logger.warning(
                "engine checks are not kept: %s: %s", self.folder, error.strerror
            )

    def _path(self, subject: Subject) -> Path:
        return self.folder / "engines" / subject.file_name
