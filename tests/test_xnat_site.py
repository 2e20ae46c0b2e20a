"""Does a real XNAT do what we rely on? The same questions to it and to the stand-in.

Without more this asks the stand-in. A site asks its own test server, as the owner of an
empty project there; a session is added and, at the end, deleted again:

    BRS_TEST_XNAT=xnat+https://xnat-test.example.org/PROJECT \\
    XNAT_USER=... XNAT_PASS=... pytest tests/test_xnat_site.py
"""

import io
import os
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pydicom
import pytest
import requests
from sessions import untrained_segmenter, write_pair
from standin.server import StandIn
from xnat_project import QUICK, digests, drawn, files_of, opened

from plugin import seg
from plugin.masks import has_trainable_mask
from plugin.segment import Delivery, segment_archive
from plugin.xnat import roi
from plugin.xnat.client import Patience, path_of
from plugin.xnat.target import XnatTarget, parse_target
from plugin.xnat_archive import XnatArchive

ARCHIVED_WITHIN_S = 900
LABEL = f"brs-test-{uuid4().hex[:8]}"
URI = os.environ.get("BRS_TEST_XNAT", "")


@dataclass
class Asked:
    """The server that is asked, and the one session that was added to it."""

    target: XnatTarget
    archive: XnatArchive
    session_id: str
    source: Path

    def http(self, method: str, path: str, **more: Any) -> requests.Response:
        """Send a request of our own, not by the code under test."""
        login = (self.target.user, self.target.secret)
        url = self.target.host + path
        return requests.request(method, url, auth=login, timeout=300, **more)

    def file(self, name: str) -> str:
        where = ("experiments", self.session_id, "resources", "BRS", "files", name)
        return "/data" + path_of(*where)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("site")
    if URI:
        yield from with_session(parse_target(URI, os.environ), folder, Patience())
        return
    with StandIn.start(folder / "xnat") as server:
        server.add_user("alice", "alice-secret")
        server.add_project("BREAST", owners=("alice",))
        target = XnatTarget(server.url, "BREAST", "alice", "alice-secret")
        yield from with_session(target, folder, QUICK)


def with_session(
    target: XnatTarget, folder: Path, patience: Patience
) -> Iterator[Asked]:
    write_pair(folder / "source", patient=LABEL)
    archive = XnatArchive(target, patience)
    asked = Asked(target, archive, LABEL, folder / "source")
    send(asked)
    asked.session_id = archived(asked)
    yield asked
    asked.http("DELETE", own_path(asked), params={"removeFiles": "true"})
    archive.close()


def own_path(asked: Asked) -> str:
    return "/data" + path_of("projects", asked.target.project, "experiments", LABEL)


def send(asked: Asked) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for path in files_of(asked.source):
            target.write(path, path.relative_to(asked.source))
    query = {
        "import-handler": "DICOM-zip",
        "dest": f"/archive/projects/{asked.target.project}",
        "project": asked.target.project,
        "subject": LABEL,
        "session": LABEL,
        "inbody": "true",
    }
    answer = asked.http(
        "POST", "/data/services/import", params=query, data=packed.getvalue()
    )
    assert answer.ok, answer.status_code


def archived(asked: Asked) -> str:
    """Return the session's id once XNAT has archived it."""
    deadline = time.monotonic() + ARCHIVED_WITHIN_S
    while time.monotonic() < deadline:
        found = asked.http("GET", own_path(asked), params={"format": "json"})
        if found.ok:
            return str(found.json()["items"][0]["data_fields"]["ID"])
        time.sleep(5)
    pytest.fail(f"not archived within {ARCHIVED_WITHIN_S} s: see the prearchive")


def test_the_session_is_listed_and_pulled_as_it_was_sent(
    asked: Asked, tmp_path: Path
) -> None:
    assert asked.session_id in asked.archive.sessions()
    folder = asked.archive.fetch(asked.session_id, tmp_path / "w")
    assert len(files_of(folder)) == len(files_of(asked.source))
    if not URI:  # a site's anonymisation script may rewrite headers
        assert digests(folder) == digests(asked.source)


def test_a_put_without_overwrite_answers_200_and_keeps_the_old_file(
    asked: Asked,
) -> None:
    asked.archive.prepare(asked.session_id)
    octets = {"Content-Type": "application/octet-stream"}
    name = asked.file("old")
    assert asked.http("PUT", name, data=b"one", headers=octets).ok
    again = asked.http("PUT", name, data=b"two", headers=octets)
    assert (again.status_code, again.json()) == (200, {"duplicates": ["old"]})
    assert asked.http("GET", name).content == b"one"


def test_a_file_is_stored_replaced_and_missed(asked: Asked) -> None:
    archive = asked.archive
    for data in (b"first", b"second and longer"):
        archive.write(asked.session_id, "a b/c.txt", data)
        assert archive.read(asked.session_id, "a b/c.txt") == data
    assert archive.read(asked.session_id, "nothing") is None


def test_a_resource_that_is_there_is_a_conflict(asked: Asked) -> None:
    asked.archive.prepare(asked.session_id)
    path = asked.file("").removesuffix("/files/")
    assert asked.http("PUT", path).status_code == 409


def test_a_path_that_is_not_routed_answers_with_the_parent(asked: Asked) -> None:
    found = asked.http("GET", own_path(asked) + "/scans", params={"format": "json"})
    assert "items" in found.json(), "no listing: the code under test must not use it"


@pytest.mark.slow
def test_a_mask_is_shown_once_and_comes_back(asked: Asked, tmp_path: Path) -> None:
    if not roi.is_available(asked.archive.client):
        pytest.skip("the server has no OHIF viewer plugin")
    outcomes = []
    for name in ("first", "second"):
        (item,) = segment_archive(
            asked.archive,
            untrained_segmenter(),
            Delivery(tmp_path / name, tmp_path / f"{name}-work"),
            sessions=[asked.session_id],
        )
        outcomes.append((item.outcome, item.not_shown))
    assert outcomes == [("segmented", ""), ("unchanged", "")]
    assert len(roi.collections(asked.archive.client, asked.session_id)) == 1
    found = asked.archive.mask_paths(asked.session_id, tmp_path / "m")
    masks = [path for path in found if path.suffix == ".dcm"]
    assert len(masks) == 2, "in the viewer, and in the resource"
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in masks}) == 1
    assert not has_trainable_mask(asked.archive, asked.session_id, tmp_path / "t")


def test_a_mask_drawn_by_a_person_is_training_material(
    asked: Asked, tmp_path: Path
) -> None:
    if not roi.is_available(asked.archive.client):
        pytest.skip("the server has no OHIF viewer plugin")
    session = opened(asked.archive, asked.session_id, tmp_path / "w")
    human = drawn(session)
    seg.write(human, tmp_path / "human.dcm")
    client, project = asked.archive.client, asked.target.project
    label = f"SEG_{LABEL}"
    roi.push(client, project, asked.session_id, label, tmp_path / "human.dcm")
    assert has_trainable_mask(asked.archive, asked.session_id, tmp_path / "m")
