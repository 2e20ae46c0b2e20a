"""The Event Service, the import service and the prearchive on the stand-in."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xnat
from hospital import client, hospital, seg_bytes, write_session
from sample_command import command
from standin.server import StandIn

SESSION_EVENT = "org.nrg.xnat.eventservice.events.SessionEvent"
ASSESSOR_EVENT = "org.nrg.xnat.eventservice.events.ImageAssessorEvent"
SUBSCRIPTION = "/xapi/events/subscription"
IMPORT = "/data/services/import"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with hospital(tmp_path) as found:
        client(found, "admin").send("POST", "/xapi/commands", command())
        yield found


def body(server: StandIn, **changes: Any) -> dict[str, Any]:
    wrapper = next(iter(server.state.commands.by_id.values()))["xnat"][0]["id"]
    event_filter = {
        "event-type": SESSION_EVENT,
        "status": "CREATED",
        "project-ids": ["BREAST"],
        "payload-filter": '@.xsiType == "xnat:mrSessionData"',
    }
    return {
        "name": "new sessions",
        "active": True,
        "action-key": f"org.nrg.containers.services.CommandActionProvider:{wrapper}",
        "attributes": {"mode": "b"},
        "act-as-event-user": False,
        "event-filter": event_filter | changes.pop("event_filter", {}),
        **changes,
    }


def subscribed(server: StandIn, **changes: Any) -> int:
    admin = client(server, "admin")
    admin.send("PUT", "/xapi/events/prefs", {"enabled": True})
    answer = admin.send("POST", SUBSCRIPTION, body(server, **changes))
    assert answer.status_code == 201, answer.text
    return int(answer.text.rpartition(":")[2])


def test_the_service_is_off_at_first(server: StandIn) -> None:
    admin = client(server, "admin")
    assert admin.get("/xapi/events/prefs").json() == {"enabled": False}
    answer = admin.send("POST", SUBSCRIPTION, body(server))
    assert (answer.status_code, answer.text) == (405, "Event Service disabled.")


def test_a_subscription_answers_with_name_and_number(server: StandIn) -> None:
    admin = client(server, "admin")
    admin.send("PUT", "/xapi/events/prefs", {"enabled": True})
    answer = admin.send("POST", SUBSCRIPTION, body(server))
    assert (answer.status_code, answer.text) == (201, "new sessions:1")
    assert answer.headers["Content-Type"].startswith("text/plain")
    listed = admin.get("/xapi/events/subscriptions").json()
    assert [(s["id"], s["active"]) for s in listed] == [(1, True)]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"action-key": "org.nrg.containers.services.CommandActionProvider:99"}, 424),
        ({"action-key": "nonsense"}, 424),
        ({"event_filter": {"event-type": "SessionEvent"}}, 424),
        ({"event_filter": {"status": "ARRIVED"}}, 424),
        ({"actionKey": "x"}, 500),
    ],
)
def test_a_wrong_subscription_is_refused(
    server: StandIn, changes: dict[str, Any], status: int
) -> None:
    admin = client(server, "admin")
    admin.send("PUT", "/xapi/events/prefs", {"enabled": True})
    answer = admin.send("POST", SUBSCRIPTION, body(server, **changes))
    assert answer.status_code == status


def test_owners_subscribe_for_their_project_only(server: StandIn) -> None:
    client(server, "admin").send("PUT", "/xapi/events/prefs", {"enabled": True})
    document = body(server, event_filter={"project-ids": []})
    path = "/xapi/projects/BREAST/events/subscription"
    assert client(server).send("POST", path, document).status_code == 403
    assert (
        client(server, "olga").send("POST", SUBSCRIPTION, document).status_code == 403
    )
    assert client(server, "olga").send("POST", path, document).status_code == 201
    found = client(server, "olga").get(f"{path}s").json()
    assert found[0]["event-filter"]["project-ids"] == ["BREAST"]


def test_a_new_session_launches_the_wrapper_with_its_address(server: StandIn) -> None:
    subscribed(server)
    sid = server.add_session("BREAST", subject="S2", label="MR2")
    assert [launch.inputs for launch in server.launches] == [
        {"mode": "b", "session": f"/archive/experiments/{sid}"}
    ]
    delivered = client(server, "admin").send("POST", "/xapi/events/delivered").json()
    assert [(d["object"], d["status"]) for d in delivered] == [(sid, "CREATED")]


def test_other_projects_types_and_paused_subscriptions_launch_nothing(
    server: StandIn,
) -> None:
    key = subscribed(server)
    server.add_session("OTHER", subject="S2", label="MR2")
    server.add_session(
        "BREAST", subject="S2", label="CT", xsi_type="xnat:ctSessionData"
    )
    client(server, "admin").send("POST", f"{SUBSCRIPTION}/{key}/deactivate")
    server.add_session("BREAST", subject="S2", label="MR3")
    assert server.launches == []


def test_our_own_mask_fires_an_event_of_its_own(server: StandIn) -> None:
    subscribed(server)
    looping = {"event-type": ASSESSOR_EVENT, "payload-filter": ""}
    subscribed(server, name="loop", event_filter=looping)
    server.add_collection("XNAT_E00001", "BRS", seg_bytes())
    assert [event.event_type for event in server.state.events.delivered] == [
        ASSESSOR_EVENT
    ]


def test_a_subscription_is_deleted(server: StandIn) -> None:
    key, admin = subscribed(server), client(server, "admin")
    assert admin.send("DELETE", f"{SUBSCRIPTION}/{key}").status_code == 204
    assert admin.get(f"{SUBSCRIPTION}/{key}").status_code == 404


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in folder.rglob("*.dcm"):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


@pytest.fixture
def upload(tmp_path: Path) -> bytes:
    return zipped(write_session(tmp_path / "new", study="new"))


def test_an_import_is_archived_with_an_event(server: StandIn, upload: bytes) -> None:
    subscribed(server)
    into = {"project": "BREAST", "subject": "S2", "session": "MR2"}
    answer = client(server).send("POST", IMPORT, upload, **into)
    assert (
        answer.text == "/data/archive/projects/BREAST/subjects/S2/experiments/MR2\r\n"
    )
    path = answer.text.strip()
    assert len(client(server).rows(f"{path}/scans/ALL/files")) == 6
    assert len(server.launches) == 1


def test_an_import_waits_where_the_project_says_so(
    server: StandIn, upload: bytes
) -> None:
    server.state.archive.project("BREAST").prearchive_code = 0
    into = {"project": "BREAST", "subject": "S2", "session": "MR2"}
    who = client(server)
    uri = who.send("POST", IMPORT, upload, **into).text.strip()
    row = who.rows("/data/prearchive/projects/BREAST")[0]
    assert (row["name"], row["status"]) == ("MR2", "READY")
    assert uri == f"/data{row['url']}"
    assert len(who.rows("/data/projects/BREAST/experiments")) == 1
    archived = who.send("POST", "/data/services/archive", src=row["url"])
    assert archived.text.strip().endswith("/experiments/MR2")
    assert who.rows("/data/prearchive/projects/BREAST") == []


def test_a_second_import_conflicts_or_merges(server: StandIn, tmp_path: Path) -> None:
    subscribed(server, event_filter={"status": "MERGED"})
    body = zipped(write_session(tmp_path / "again"))
    into = {"project": "BREAST", "subject": "S1", "session": "MR1"}
    who = client(server)
    who.send("POST", IMPORT, body, **into)
    assert who.rows("/data/prearchive/projects/BREAST")[0]["status"] == "CONFLICT"
    who.send("POST", IMPORT, body, overwrite="append", **into)
    assert len(who.rows("/data/experiments/XNAT_E00001/scans")) == 2
    assert [e.status for e in server.state.events.delivered] == ["MERGED"]


@pytest.mark.parametrize(
    "query",
    [
        {"import-handler": "nonsense"},
        {"overwrite": "append", "prearchive_code": "1"},
    ],
)
def test_an_odd_import_is_400(
    server: StandIn, upload: bytes, query: dict[str, str]
) -> None:
    into = {"project": "BREAST", **query}
    assert client(server).send("POST", IMPORT, upload, **into).status_code == 400


def test_an_import_without_dicom_or_without_the_right_is_refused(
    server: StandIn, upload: bytes
) -> None:
    into = {"project": "BREAST"}
    assert client(server).send("POST", IMPORT, b"text", **into).status_code == 400
    assert client(server, "bob").send("POST", IMPORT, upload, **into).status_code == 403


def test_xnatpy_imports_and_sees_the_prearchive(
    server: StandIn, tmp_path: Path, upload: bytes
) -> None:
    (tmp_path / "new.zip").write_bytes(upload)
    with xnat.connect(
        server.url, user="alice", password="secret", loglevel="CRITICAL"
    ) as connection:
        found = connection.services.import_(
            str(tmp_path / "new.zip"),
            project="BREAST",
            subject="S2",
            experiment="MR2",
            destination="/prearchive",
        )
        assert found.status == "READY"
        assert len(connection.prearchive.sessions("BREAST")) == 1
