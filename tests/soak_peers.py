"""Around a soak: a PACS that counts, and routers that do not give up."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Verification,
)
from scp_peers import storing

PENDING, SUCCESS = 0xFF00, 0x0000
PAUSE_S = 0.2


@dataclass(slots=True)
class Pacs:
    """Keeps the UID of every mask it was given, as often as it was given."""

    port: int = 0
    status: int = SUCCESS
    """What it answers to a C-STORE."""
    stored: list[str] = field(default_factory=list)
    _server: Any = None

    def come(self) -> None:
        """Listen, after the first time on the same port."""
        entity = AE("PEER")
        for sop_class in (SegmentationStorage, StudyRootFind, Verification):
            entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
        ]
        place = ("127.0.0.1", self.port)
        self._server = entity.start_server(place, block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]

    def go(self) -> None:
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        if self.status != SUCCESS:
            return self.status
        self.stored.append(str(cast(C_STORE, event.request).AffectedSOPInstanceUID))
        return SUCCESS

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if event.identifier.SOPInstanceUID in self.stored:
            yield PENDING, event.identifier


@dataclass(slots=True)
class Routers:
    """Send each study again until all of it is accepted."""

    port: int
    pool: ThreadPoolExecutor
    accepted: set[Path] = field(default_factory=set)
    """Files that were answered with success."""
    refusals: int = 0
    is_over: bool = False
    _tasks: list[Future[None]] = field(default_factory=list)

    def send(self, files: Sequence[Path]) -> None:
        self._tasks.append(self.pool.submit(self._send, files))

    @property
    def are_idle(self) -> bool:
        return all(task.done() for task in self._tasks)

    def end(self) -> None:
        """Return when no router sends any more; raise what one has raised."""
        self.is_over = True
        for task in self._tasks:
            task.result()

    def _send(self, files: Sequence[Path]) -> None:
        while not self.accepted.issuperset(files) and not self.is_over:
            said = storing(self.port, *files).said
            self.refusals += said.count("OutOfResources")
            self.accepted |= set(successes(said))
            time.sleep(PAUSE_S)


def successes(said: str) -> Iterator[Path]:
    """Yield the files that storescu has sent and had a success for."""
    path = None
    for line in said.splitlines():
        if line.startswith("I: Sending file: "):
            path = Path(line.removeprefix("I: Sending file: "))
        elif line == "I: Received Store Response (Success)" and path is not None:
            yield path
