"""Receivers of other makers, and one that answers as a test tells it to."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from orthanc import free_port
from peers import program
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)

from plugin.sending.destination import Destination, Verify

START_S = 20
PENDING, SUCCESS = 0xFF00, 0x0000


@dataclass(frozen=True, slots=True)
class Program:
    """A running DCMTK server, its port, and where it keeps files and log."""

    port: int
    files: Path
    log: Path

    def destination(self, **settings: Any) -> Destination:
        """Return it as a destination; storescp cannot be asked."""
        given = {"name": "peer", "ae_title": "PEER", "host": "127.0.0.1"} | settings
        return Destination(port=self.port, **given)

    def said(self, line: str) -> int:
        """Return how often the log says so."""
        return self.log.read_text(errors="replace").count(line)


@contextmanager
def storescp(folder: Path, *options: str | Path) -> Iterator[Program]:
    """Yield a storescp that keeps every dataset bit by bit."""
    files = folder / "files"
    files.mkdir(parents=True)
    port = free_port()
    words = ["--bit-preserving", "-v", "-od", files, "-aet", "PEER", *options]
    with _running("storescp", [*words, port], folder) as log:
        _await_port(port)
        yield Program(port, files, log)


@contextmanager
def dcmqrscp(
    folder: Path, *options: str, movers: Sequence[tuple[str, int]] = ()
) -> Iterator[Program]:
    """Yield a dcmqrscp; ``movers`` are AE titles and ports that C-MOVE may name."""
    files, port = folder / "files", free_port()
    files.mkdir(parents=True)
    hosts = [f"{t.lower()} = ({t}, 127.0.0.1, {p})" for t, p in movers]
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        + "\n".join(["HostTable BEGIN", *hosts, "HostTable END"])
        + "\nVendorTable BEGIN\nVendorTable END\nAETable BEGIN\n"
        + f"PEER {files} RW (200, 1024mb) ANY\nAETable END\n"
    )
    words = ["-v", "--config", config, *options]
    with _running("dcmqrscp", words, folder) as log:
        _await_port(port)
        yield Program(port, files, log)


@contextmanager
def _running(name: str, words: Sequence[Any], folder: Path) -> Iterator[Path]:
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program(name), *map(str, words)],
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(20)


def _await_port(port: int) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"nothing listens on {port}")


@dataclass(slots=True)
class Scripted:
    """A peer that stores and finds as it is told, and counts what it was asked."""

    port: int = 0
    store_status: int = SUCCESS
    find_status: int = SUCCESS
    late_finds: int = 0
    """So many queries find nothing yet, after the first."""
    stored: list[str] = field(default_factory=list)
    queries: int = 0

    @property
    def destination(self) -> Destination:
        return Destination("peer", "PEER", "127.0.0.1", self.port)

    @property
    def unasked(self) -> Destination:
        return Destination("peer", "PEER", "127.0.0.1", self.port, verify=Verify.NONE)

    def store(self, event: evt.Event) -> int:
        if self.store_status >> 12 in (0x0, 0xB):
            self.stored.append(str(cast(C_STORE, event.request).AffectedSOPInstanceUID))
        return self.store_status

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.queries += 1
        if self.find_status != SUCCESS:
            yield self.find_status, None
            return
        is_late = 1 < self.queries <= 1 + self.late_finds
        for uid in [] if is_late else self.stored:
            row = Dataset()
            row.QueryRetrieveLevel, row.SOPInstanceUID = "IMAGE", uid
            yield PENDING, row


@contextmanager
def scripted(
    *, also: Callable[[AE], None] = lambda entity: None, **script: Any
) -> Iterator[Scripted]:
    """Yield a pynetdicom peer; ``also`` may change its application entity."""
    peer = Scripted(**script)
    entity = AE("PEER")
    for sop_class in (MRImageStorage, SegmentationStorage, StudyRootFind):
        entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
    also(entity)
    handlers: list[Any] = [(evt.EVT_C_STORE, peer.store), (evt.EVT_C_FIND, peer.find)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    peer.port = server.server_address[1]
    try:
        yield peer
    finally:
        server.shutdown()
