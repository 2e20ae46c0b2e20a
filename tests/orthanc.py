"""A real Orthanc on loopback, in a folder of its own, on free ports."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import requests
from peers import program
from pydicom import Dataset

PLUGINS = Path("/usr/share/orthanc/plugins")
START_S = 30
STOP_S = 30


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running server: what a PACS admin sees by REST, and its DICOM address."""

    url: str
    port: int
    ae_title: str = "ORTHANC"

    @property
    def uri(self) -> str:
        """Return the archive URI."""
        return f"dicom://{self.ae_title}@127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        """Return what a GET answers, as JSON."""
        answer = requests.get(self.url + path, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        """Return what a POST answers; a body of bytes goes as it is."""
        data = body if isinstance(body, bytes) else json.dumps(body)
        answer = requests.post(self.url + path, data=data, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def put(self, path: str, body: Any) -> None:
        """Change a setting."""
        requests.put(self.url + path, json=body, timeout=20).raise_for_status()

    def upload(self, *paths: Path) -> None:
        """Store files, or all files of folders."""
        for path in paths:
            for file in [path] if path.is_file() else sorted(path.rglob("*.dcm")):
                self.post("/instances", file.read_bytes())

    def instances(self, **tags: str) -> list[str]:
        """Return Orthanc's ids of the instances whose tags match."""
        return list(self.post("/tools/find", {"Level": "Instance", "Query": tags}))

    def file(self, instance: str) -> bytes:
        """Return an instance as a DICOM file."""
        answer = requests.get(f"{self.url}/instances/{instance}/file", timeout=20)
        answer.raise_for_status()
        return answer.content

    def dataset(self, instance: str) -> Dataset:
        """Return an instance, read whole."""
        return pydicom.dcmread(BytesIO(self.file(instance)))


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def orthanc(
    folder: Path,
    *,
    modalities: Mapping[str, tuple[str, int]] | None = None,
    **settings: Any,
) -> Iterator[Orthanc]:
    """Yield a server; ``modalities`` are AE title and port by name, on loopback.

    Further settings are Orthanc's own, by their names in its configuration.
    """
    folder.mkdir(parents=True)
    server = Orthanc(f"http://127.0.0.1:{free_port()}", free_port())
    config = _config(folder, server, modalities or {}) | settings
    path = folder / "orthanc.json"
    path.write_text(json.dumps(config))
    # Nagle's algorithm would take 40 ms per instance.
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [_binary(), path], stdout=log, stderr=log, env=environment
        )
        try:
            _await_start(server, process, folder / "orthanc.log")
            yield server
        finally:
            _stop(process)


def _binary() -> str:
    """Return Orthanc's path: Debian keeps it where only root looks."""
    path = Path("/usr/sbin/Orthanc")
    return str(path) if path.is_file() else program("Orthanc")


def _config(
    folder: Path, server: Orthanc, modalities: Mapping[str, tuple[str, int]]
) -> dict[str, Any]:
    return {
        "Name": "tests",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(p) for p in PLUGINS.glob("libOrthancDicomWeb.so")],
        "HttpPort": int(server.url.rpartition(":")[2]),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": server.ae_title,
        "DicomPort": server.port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {
            name: [title, "127.0.0.1", port]
            for name, (title, port) in modalities.items()
        },
        "StableAge": 1,
        "SynchronousCMove": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }


def _await_start(
    server: Orthanc, process: "subprocess.Popen[bytes]", log: Path
) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            server.get("/system")
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"Orthanc did not start: {log.read_text()[-2000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End it; what needs a database must wait until it has really ended."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)
