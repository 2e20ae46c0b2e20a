"""Storage SCPs to be compared: DCMTK's storescp, Orthanc, and ours alone.

python -m benchmarks.receivers FOLDER PORT --fsync
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import click

from benchmarks.machine import DEBIAN
from plugin.jobs import Queue
from plugin.listener import Listener
from plugin.receiving.landing import Landing
from plugin.receiving.settings import ListenerConfig

AE_TITLE: Final = "RECEIVER"
START_S: Final = 120.0
POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Receiver:
    """One that listens on loopback and keeps what it is sent below ``folder``."""

    name: str
    port: int
    folder: Path
    pid: int

    def peak_mib(self) -> float | None:
        """Return the most memory it ever held; None where the system does not say."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return None
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
        return int(peak) / 1024


def program(name: str) -> str:
    """Return the path of a peer's program.

    Raises
    ------
    RuntimeError
        If it is not installed.
    """
    path = shutil.which(name, path=DEBIAN)
    if path is None:
        raise RuntimeError(f"{name} is not installed: apt-get install dcmtk orthanc")
    return path


def quick() -> dict[str, str]:
    """Return the environment in which DCMTK sends small packets at once."""
    return {**os.environ, "TCP_NODELAY": "1"}


@contextmanager
def storescp(folder: Path) -> Iterator[Receiver]:
    """Yield DCMTK's receiver, one process per association."""
    options = ("--fork", "--bit-preserving", "--max-pdu", 131072, "-aet", AE_TITLE)
    port = free_port()
    words = [program("storescp"), *options, "-od", folder, port]
    with _running("DCMTK storescp", words, port, folder) as receiver:
        yield receiver


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Yield an Orthanc with its own defaults, but for what keeps it to itself."""
    port = free_port()
    settings: dict[str, Any] = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpServerEnabled": False,
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings))
    with _running("Orthanc", [program("Orthanc"), config], port, folder) as receiver:
        yield receiver


@contextmanager
def ours(folder: Path, *, fsync: bool = True) -> Iterator[Receiver]:
    """Yield the listener and the queue of `brs serve`, without workers."""
    port, flag = free_port(), "--fsync" if fsync else "--no-fsync"
    words = [sys.executable, "-m", "benchmarks.receivers", folder, port, flag]
    name = "brs" if fsync else "brs, nothing flushed"
    with _running(name, words, port, folder) as receiver:
        yield receiver


def free_port() -> int:
    """Return a port on which nobody listened a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(
    name: str, words: Sequence[Any], port: int, folder: Path
) -> Iterator[Receiver]:
    """Run a receiver until its user is done with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in words], stdout=log, stderr=log, env=quick()
        )
        try:
            _await(port, process)
            yield Receiver(name, port, folder, process.pid)
        finally:
            process.terminate()
            process.wait()


def _await(port: int, process: "subprocess.Popen[bytes]") -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(POLL_S)
        else:
            return
    raise RuntimeError(f"nothing listens on port {port}")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("port", type=int)
@click.option("--fsync/--no-fsync", default=True)
def main(folder: Path, port: int, *, fsync: bool) -> None:
    """Receive into FOLDER until told to end."""
    config = ListenerConfig(AE_TITLE, any_caller=True, port=port, min_free_bytes=0)
    with (
        nullcontext() if fsync else patch("os.fsync"),
        Listener(config, Landing(Queue(folder / "work"))),
    ):
        threading.Event().wait()


if __name__ == "__main__":
    main()
