"""A stand-in server with two projects and one small session, and clients for it."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from standin.server import StandIn
from synthetic import post_plan, pre_plan, uid, write_pair

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
SHAPE = (3, 4, 4)
STUDY = "study"
PRE, POST = 5, 6


class Client:
    """HTTP calls of one user; nothing is raised for a status."""

    def __init__(self, url: str, user: str, secret: str) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.auth = (user, secret)

    def get(self, path: str, **query: str) -> requests.Response:
        return self.http.get(self.url + path, params=query, timeout=20)

    def rows(self, path: str, **query: str) -> list[dict[str, str]]:
        found = self.get(path, format="json", **query).json()
        return list(found["ResultSet"]["Result"])

    def send(
        self, method: str, path: str, body: Any = None, **query: str
    ) -> requests.Response:
        """Send a body as octets, a dict or list as JSON, nothing as nothing."""
        more: dict[str, Any] = {"params": query, "timeout": 20}
        if isinstance(body, dict | list):
            more["json"] = body
        elif body is not None:
            more |= {
                "data": body,
                "headers": {"Content-Type": "application/octet-stream"},
            }
        return self.http.request(method, self.url + path, **more)


@contextmanager
def hospital(folder: Path) -> Iterator[StandIn]:
    """Yield a server: project BREAST with session MR1 (scans 5 and 6), and OTHER."""
    dicom = write_session(folder / "dicom")
    with StandIn.start(folder / "xnat") as server:
        for name in ("olga", "alice", "bob", "eve"):
            server.add_user(name, "secret")
        server.add_project(
            "BREAST", owners=("olga",), members=("alice",), collaborators=("bob",)
        )
        server.add_project("OTHER", owners=("olga",), members=("eve",))
        server.add_session("BREAST", subject="S1", label="MR1", dicom=dicom)
        yield server


def write_session(folder: Path, *, study: str = STUDY) -> Path:
    """Write a pair of tiny series and return their folder."""
    plans = (pre_plan(), post_plan())
    pre, post = (replace(p, shape=SHAPE, study=study, patient=study) for p in plans)
    write_pair(folder, pre, post)
    return folder


def client(server: StandIn, user: str = "alice") -> Client:
    return Client(server.url, user, "admin" if user == "admin" else "secret")


def seg_bytes(
    *,
    study: str = STUDY,
    series: Sequence[int] = (PRE,),
    instances: Sequence[str] | None = None,
    name: str = "BRS breast",
) -> bytes:
    """Return a DICOM SEG with everything the ROI API reads, and no pixels."""
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seg.SOPClassUID, seg.SOPInstanceUID = SEG_CLASS, uid("seg", study, name)
    seg.StudyInstanceUID, seg.SeriesDescription = uid(study), name
    seg.StudyDate, seg.StudyTime = "20240131", "101500"
    seg.SegmentSequence = [_segment(1, "right breast"), _segment(2, "left breast")]
    seg.ReferencedSeriesSequence = [_series(study, each, instances) for each in series]
    buffer = io.BytesIO()
    seg.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _segment(number: int, label: str) -> Dataset:
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = number, label
    return segment


def _series(study: str, number: int, instances: Sequence[str] | None) -> Dataset:
    phase = number - PRE
    known = [uid(study, number, phase, index) for index in range(SHAPE[0])]
    series = Dataset()
    series.SeriesInstanceUID = uid(study, "series", number)
    series.ReferencedInstanceSequence = []
    for instance in known if instances is None else instances:
        item = Dataset()
        item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        item.ReferencedSOPInstanceUID = instance
        series.ReferencedInstanceSequence.append(item)
    return series
