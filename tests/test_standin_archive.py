"""The archive's routes on the stand-in: listings, documents, roles, creation."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hospital import client, hospital, write_session
from standin.server import StandIn
from synthetic import Plan, slices, uid, write

SESSION = "/data/projects/BREAST/subjects/S1/experiments/MR1"
FIELD = "xnat:mrSessionData/fields/field[name=approved]/field"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with hospital(tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    "path",
    [
        SESSION,
        "/data/archive/projects/BREAST/subjects/XNAT_S00001/experiments/XNAT_E00001",
        "/data/experiments/XNAT_E00001",
        "/data/archive/experiments/XNAT_E00001",
        "/REST/experiments/XNAT_E00001",
    ],
)
def test_scans_are_listed_below_every_routed_form(server: StandIn, path: str) -> None:
    rows = client(server).rows(f"{path}/scans")
    assert [row["ID"] for row in rows] == ["5", "6"]
    assert set(rows[0]) == {
        "xnat_imagescandata_id",
        "ID",
        "type",
        "quality",
        "xsiType",
        "note",
        "series_description",
        "URI",
    }


@pytest.mark.parametrize("below", ["scans", "assessors", "files", "nothing/at/all"])
def test_a_path_that_is_not_routed_answers_with_the_experiment(
    server: StandIn, below: str
) -> None:
    path = f"/data/projects/BREAST/experiments/MR1/{below}"
    answer = client(server).get(path, format="json")
    assert answer.status_code == 200
    assert answer.json()["items"][0]["data_fields"]["ID"] == "XNAT_E00001"
    assert "ResultSet" not in answer.json()


def test_resources_below_the_short_form_are_routed(server: StandIn) -> None:
    server.add_files("XNAT_E00001", "BRS", {"a": b"1"})
    path = "/data/projects/BREAST/experiments/MR1/resources"
    rows = client(server).rows(path)
    assert [row["label"] for row in rows] == ["BRS"]
    assert "URI" not in rows[0]
    assert "ID" not in rows[0]
    assert client(server).rows(f"{path}/BRS/files")[0]["Name"] == "a"


def test_a_document_is_xml_unless_json_is_asked_for(server: StandIn) -> None:
    answer = client(server).get("/data/experiments/XNAT_E00001")
    assert answer.headers["Content-Type"].startswith("text/xml")
    assert 'UID="' + uid("study") in answer.text


def test_every_value_of_a_listing_is_text(server: StandIn) -> None:
    who = client(server)
    paths = (
        "/data/projects",
        "/data/projects/BREAST/subjects",
        "/data/projects/BREAST/experiments",
        f"{SESSION}/scans",
        f"{SESSION}/scans/5/resources",
        f"{SESSION}/scans/5/files",
    )
    for path in paths:
        found = who.get(path, format="json").json()["ResultSet"]
        assert found["totalRecords"] == str(len(found["Result"]))
        assert found["Result"]
        assert all(isinstance(v, str) for row in found["Result"] for v in row.values())


def test_experiments_have_the_columns_that_are_asked_for(server: StandIn) -> None:
    rows = client(server).rows(
        "/data/projects/BREAST/experiments",
        columns="label,xsiType,subject_ID,xnat:mrSessionData/UID,no_such_column",
    )
    assert rows == [
        {
            "ID": "XNAT_E00001",
            "URI": "/data/experiments/XNAT_E00001",
            "label": "MR1",
            "xsiType": "xnat:mrSessionData",
            "subject_ID": "XNAT_S00001",
            "xnat:mrsessiondata/uid": uid("study"),
        }
    ]


def test_experiments_are_filtered_by_their_type(server: StandIn) -> None:
    server.add_session(
        "BREAST", subject="S1", label="CT1", xsi_type="xnat:ctSessionData"
    )
    who, path = client(server), "/data/projects/BREAST/experiments"
    assert len(who.rows(path)) == 2
    assert [r["label"] for r in who.rows(path, xsiType="xnat:mrSessionData")] == ["MR1"]
    assert len(who.rows(path, xsiType="xnat:imageSessionData")) == 2


def test_a_shared_session_names_its_owner(server: StandIn) -> None:
    server.share_session("XNAT_E00001", "OTHER", "MR1_HERE")
    eve = client(server, "eve")
    row = eve.rows("/data/projects/OTHER/experiments")[0]
    assert (row["project"], row["label"]) == ("BREAST", "MR1_HERE")
    assert len(eve.rows("/data/experiments/XNAT_E00001/scans")) == 2
    path = "/data/experiments/XNAT_E00001/resources/BRS"
    assert eve.send("PUT", path).status_code == 403


def test_a_session_that_cannot_be_read_is_listed_and_403(server: StandIn) -> None:
    server.state.unreadable.add("XNAT_E00001")
    who = client(server)
    assert len(who.rows("/data/projects/BREAST/experiments")) == 1
    assert who.get("/data/experiments/XNAT_E00001/scans").status_code == 403


def test_a_project_of_others_is_not_there(server: StandIn) -> None:
    eve = client(server, "eve")
    assert eve.get("/data/projects/BREAST").status_code == 404
    assert eve.get("/data/experiments/XNAT_E00001").status_code == 403
    assert [r["ID"] for r in eve.rows("/data/projects")] == ["OTHER"]
    assert eve.rows("/data/experiments") == []


@pytest.mark.parametrize(
    ("user", "created", "deleted"),
    [("olga", 200, 200), ("alice", 200, 403), ("bob", 403, 403), ("eve", 403, 403)],
)
def test_owners_delete_members_write_collaborators_read(
    server: StandIn, user: str, created: int, deleted: int
) -> None:
    server.add_files("XNAT_E00001", "OLD", {"a": b"1"})
    who, base = client(server, user), "/data/experiments/XNAT_E00001/resources"
    assert who.send("PUT", f"{base}/NEW").status_code == created
    assert who.send("PUT", f"{base}/OLD/files/b", b"2").status_code == created
    assert who.send("DELETE", f"{base}/OLD/files/a").status_code == deleted
    assert who.send("DELETE", f"{base}/OLD").status_code == deleted


def test_creating_answers_201_and_changing_200(server: StandIn) -> None:
    who = client(server)
    subject = "/data/projects/BREAST/subjects/S2"
    assert who.send("PUT", subject).status_code == 201
    assert who.send("PUT", subject, gender="female").status_code == 200
    session = f"{subject}/experiments/MR2"
    made = who.send("PUT", session, xsiType="xnat:mrSessionData", date="2024-02-01")
    assert (made.status_code, made.text) == (201, "XNAT_E00002")
    assert who.send("PUT", session, note="seen").status_code == 200
    scan = {"xsiType": "xnat:mrScanData", "xnat:mrScanData/type": "t1"}
    assert who.send("PUT", f"{session}/scans/9", **scan).status_code == 201
    assert who.send("PUT", f"{session}/scans/9", quality="unusable").status_code == 200
    assert who.rows(f"{session}/scans")[0]["type"] == "t1"


def test_a_new_session_needs_a_type_and_a_subject(server: StandIn) -> None:
    who = client(server)
    base = "/data/projects/BREAST"
    made = who.send("PUT", f"{base}/experiments/X", xsiType="xnat:mrSessionData")
    assert made.status_code == 400
    assert who.send("PUT", f"{base}/subjects/S1/experiments/X").status_code == 400


def test_custom_fields_are_kept_only_below_the_subject(server: StandIn) -> None:
    who = client(server)
    given = {FIELD: "yes", "xsiType": "xnat:mrSessionData"}
    flat = "/data/experiments/XNAT_E00001"
    fields = server.state.archive.experiment("XNAT_E00001").fields
    assert who.send("PUT", flat, **given).status_code == 200
    assert fields == {}
    assert who.send("PUT", SESSION, **{FIELD: "yes"}).status_code == 200
    assert fields == {}
    assert who.send("PUT", SESSION, **given).status_code == 200
    assert fields == {"approved": "yes"}
    subject = {"xnat:subjectData/fields/field[name=group]/field": "A"}
    who.send("PUT", "/data/projects/BREAST/subjects/S1", **subject)
    assert server.state.archive.subjects["XNAT_S00001"].fields == {"group": "A"}


def test_json_custom_fields_are_another_store(server: StandIn) -> None:
    who, path = (
        client(server),
        "/xapi/custom-fields/projects/BREAST/experiments/XNAT_E00001/fields",
    )
    assert who.send("PUT", path, {"approved": True}).json() == {"approved": True}
    assert who.send("PUT", path, {"by": "reader"}).json() == {
        "approved": True,
        "by": "reader",
    }
    assert who.send("DELETE", f"{path}/by").json() == {"approved": True}
    assert server.state.archive.experiment("XNAT_E00001").fields == {}
    assert client(server, "bob").send("PUT", path, {"x": 1}).status_code == 403


def test_series_of_one_number_get_a_suffix_and_their_own_folder(
    server: StandIn, tmp_path: Path
) -> None:
    folder = write_session(tmp_path / "clash")
    plan = Plan(number=5, shape=(1, 4, 4), study="study")
    more = slices(
        plan.with_tags(SeriesInstanceUID=uid("clash"), SOPInstanceUID="1.2.3")
    )
    write(more, folder / "more")
    sid = server.add_session("BREAST", subject="S2", label="MR2", dicom=folder)
    rows = client(server).rows(f"/data/experiments/{sid}/scans")
    assert sorted(row["ID"] for row in rows) == ["5", "5-MR1", "6"]
    scans = server.directory(sid) / "SCANS"
    assert len(list((scans / "5-MR1" / "DICOM").glob("*.dcm"))) == 1
    assert (scans / "5" / "DICOM" / "scan_5_catalog.xml").is_file()


def test_scans_without_uid_files_or_plain_ids_are_possible(server: StandIn) -> None:
    server.add_scan("XNAT_E00001", "9", xsi_type="xnat:otherDicomScanData", uid="")
    server.add_scan(
        "XNAT_E00001", "a b#1", files={"x.dcm": b"x"}, type="odd", uid="1.2"
    )
    who = client(server)
    rows = who.rows(f"{SESSION}/scans", columns="ID,UID,xsiType")
    assert [(r["ID"], r["UID"]) for r in rows[2:]] == [("9", ""), ("a b#1", "1.2")]
    assert who.rows(f"{SESSION}/scans/9/resources") == []
    uri = who.rows(f"{SESSION}/scans/ALL/files")[-1]["URI"]
    assert who.get(uri).content == b"x"


def test_an_owner_gives_roles_and_others_do_not(server: StandIn) -> None:
    path = "/data/projects/BREAST/users/Members/eve"
    assert client(server).send("PUT", path).status_code == 403
    assert client(server, "olga").send("PUT", path).status_code == 200
    rows = client(server).rows("/data/projects/BREAST/users")
    assert {"login": "eve", "displayname": "Members"}.items() <= rows[-1].items()
    assert client(server, "eve").get("/data/projects/BREAST").status_code == 200


def test_the_prearchive_code_is_bare_text(server: StandIn) -> None:
    who, path = client(server, "olga"), "/data/projects/BREAST/prearchive_code"
    assert who.get(path).text == "4"
    assert who.send("PUT", f"{path}/0").status_code == 200
    assert who.get(path).text == "0"


def test_deleting_needs_the_owner_and_leaves_nothing(server: StandIn) -> None:
    assert client(server).send("DELETE", SESSION).status_code == 403
    assert client(server, "olga").send("DELETE", SESSION).status_code == 200
    assert client(server).get(SESSION).status_code == 404
    assert client(server).rows("/data/projects/BREAST/experiments") == []
