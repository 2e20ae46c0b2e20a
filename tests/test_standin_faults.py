"""What the stand-in lets go wrong: each kind of fault, as a client meets it."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hospital import client, hospital
from standin.faults import Faulty
from standin.server import Fault, StandIn

DATA = bytes(range(256)) * 400
GET = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
FILE = "/data/experiments/XNAT_E00001/resources/BRS/files/data"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with hospital(tmp_path) as found:
        found.add_files("XNAT_E00001", "BRS", {"data": DATA})
        yield found


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_status_comes_as_often_as_told(server: StandIn, status: int) -> None:
    server.faults.append(Fault(path=r"/files/data$", status=status, times=2))
    who = client(server)
    found = [who.get(FILE).status_code for _ in range(3)]
    assert found == [status, status, 200]
    assert [r.status for r in server.requests[-3:]] == found


def test_a_fault_strikes_its_path_and_method_only(server: StandIn) -> None:
    server.faults.append(Fault(path="/files/", method="PUT", status=500))
    who = client(server)
    assert who.get(FILE).status_code == 200
    assert who.get("/data/projects").status_code == 200
    assert who.send("PUT", FILE, b"x", overwrite="true").status_code == 500
    assert who.get(FILE).content == DATA


def test_a_login_page_comes_as_data(server: StandIn) -> None:
    server.faults.append(Fault(path=FILE, html_login=True))
    answer = client(server).get(FILE)
    assert answer.status_code == 200
    assert answer.text.startswith("<!DOCTYPE")


def test_a_body_is_cut_off(server: StandIn) -> None:
    server.faults.append(Fault(path=FILE, cut_after_bytes=1000))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client(server).get(FILE)
    assert client(server).get(FILE).content == DATA


def test_a_zip_is_cut_off(server: StandIn) -> None:
    server.faults.append(Fault(path="/scans/5/files", cut_after_bytes=100))
    path = "/data/experiments/XNAT_E00001/scans/5/files"
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client(server).get(path, format="zip")


def test_a_body_is_short_and_well_formed(server: StandIn) -> None:
    server.faults.append(Fault(path=FILE, truncate=1000))
    answer = client(server).get(FILE)
    assert answer.headers["Content-Length"] == "1000"
    assert answer.content == DATA[:1000]


def test_a_body_has_other_bytes_and_the_same_length(server: StandIn) -> None:
    server.faults.append(Fault(path=FILE, corrupt=True))
    answer = client(server).get(FILE).content
    assert len(answer) == len(DATA)
    assert sum(a != b for a, b in zip(answer, DATA, strict=True)) == 1


def test_an_answer_comes_late(server: StandIn) -> None:
    server.faults.append(Fault(path=FILE, delay_s=0.4))
    began = time.monotonic()
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(
            server.url + FILE, auth=("alice", "secret"), timeout=(5.0, 0.1)
        ).close()
    assert time.monotonic() - began < 0.4


def test_an_upload_is_cut_and_stores_nothing(server: StandIn) -> None:
    server.faults.append(Fault(path="/files/new", method="PUT", drop_upload=True))
    who, path = (
        client(server),
        FILE.replace("data", "new").replace("/new/", "/data/", 1),
    )
    with pytest.raises(requests.exceptions.ConnectionError):
        who.send("PUT", path, b"x" * 5_000_000)
    assert [row["Name"] for row in who.rows(path.rpartition("/")[0])] == ["data"]
    assert who.send("PUT", path, b"x" * 5_000_000).status_code == 200
    folder = server.directory("XNAT_E00001") / "RESOURCES" / "BRS"
    assert {p.name for p in folder.iterdir()} == {"data", "new", "BRS_catalog.xml"}


def test_a_body_that_is_left_in_the_middle_is_closed() -> None:
    """The server forgets it when a client resets: a file would stay open."""
    body = io.BytesIO(b"one\ntwo\n")
    answer = iter(Faulty(lambda *_: body, lambda *_: None)(GET, lambda *_: None))
    assert next(answer) == b"one\n"
    del answer
    assert body.closed
