"""The ROI API on the stand-in: its checks, their order, codes and words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hospital import PRE, SHAPE, client, hospital, seg_bytes, write_session
from standin.refused import Refused
from standin.server import StandIn
from synthetic import uid

ROI = "/xapi/roi/projects/BREAST"
SID = "XNAT_E00001"
PUT = f"{ROI}/sessions/{SID}/collections"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with hospital(tmp_path) as found:
        yield found


def put(
    server: StandIn,
    body: bytes | None = None,
    *,
    label: str = "BRS_1",
    user: str = "alice",
    session: str = SID,
    overwrite: str = "false",
) -> requests.Response:
    path = f"{ROI}/sessions/{session}/collections/{label}"
    body = seg_bytes() if body is None else body
    return client(server, user).send("PUT", path, body, type="SEG", overwrite=overwrite)


def refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.text


def test_a_seg_becomes_an_assessor_with_its_file(server: StandIn) -> None:
    answer = put(server)
    assert answer.status_code == 200
    assert answer.text.startswith("RoiCollection_")
    who = client(server)
    row = who.rows(f"/data/experiments/{SID}/assessors")[0]
    assert row["ID"] == answer.text
    assert (row["label"], row["xsiType"]) == ("BRS_1", "icr:roiCollectionData")
    assert (row["session_ID"], row["session_label"]) == (SID, "MR1")
    out = f"/data/experiments/{SID}/assessors/{answer.text}/out/resources/SEG/files"
    assert who.get(f"{out}/BRS_1.dcm").content == seg_bytes()
    stored = server.directory(SID) / "ASSESSORS" / "BRS_1" / "SEG" / "BRS_1.dcm"
    assert stored.read_bytes() == seg_bytes()
    assert who.rows("/data/workflows")[-1]["pipeline_name"] == "Upload ROI Collection"


def test_the_document_of_a_collection_says_what_the_viewer_reads(
    server: StandIn,
) -> None:
    key = put(server, seg_bytes(name="SERIES NAME")).text
    path = f"/data/experiments/{SID}/assessors/{key}"
    item = client(server).get(path, format="json").json()["items"][0]
    fields = item["data_fields"]
    assert (fields["name"], fields["collectionType"]) == ("SERIES NAME", "SEG")
    assert (fields["date"], fields["time"]) == ("2024-01-31", "10:15:00")
    assert fields["UID"] == uid("seg", "study", "SERIES NAME")
    references = {child["field"]: child["items"] for child in item["children"]}
    series = references["references/seriesUID"][0]["data_fields"]["seriesUID"]
    assert series == uid("study", "series", PRE)


def test_the_content_type_must_be_octets(server: StandIn) -> None:
    answer = requests.put(
        f"{server.url}{PUT}/x?type=SEG",
        data=seg_bytes(),
        headers={"Content-Type": "application/dicom"},
        auth=("alice", "secret"),
        timeout=20,
    )
    assert answer.status_code == 415


def test_the_session_goes_by_its_id_not_its_label(server: StandIn) -> None:
    assert put(server, session="MR1").status_code == 422


def test_a_collaborator_is_403_before_anything_is_read(server: StandIn) -> None:
    assert put(server, b"no SEG", user="bob").status_code == 403
    assert put(server, b"no SEG", user="eve").status_code == 403


def test_the_modality_is_checked_before_the_label(server: StandIn) -> None:
    put(server)
    server.state.archive.experiment(SID).values["modality"] = "XA"
    expected = (422, "Collection type SEG not supported for modality XA")
    assert refusal(put(server)) == expected


def test_a_label_belongs_to_one_session_of_the_project(
    server: StandIn, tmp_path: Path
) -> None:
    put(server)
    folder = write_session(tmp_path / "second", study="two")
    other = server.add_session("BREAST", subject="S2", label="MR2", dicom=folder)
    answer = put(server, b"not even read", session=other, overwrite="true")
    assert refusal(answer) == (409, "ROI collection exists in a different session")


def test_replacing_must_be_asked_for_and_keeps_the_id(server: StandIn) -> None:
    first = put(server)
    assert refusal(put(server, b"not even read")) == (
        422,
        "ROI collection exists, overwrite not specified",
    )
    second = put(server, seg_bytes(name="new"), overwrite="true")
    assert second.text == first.text
    found = client(server).get(f"{ROI}/collections/BRS_1", type="SEG")
    assert found.content == seg_bytes(name="new")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\0" * 200])
def test_what_is_no_seg_is_refused(server: StandIn, body: bytes) -> None:
    assert put(server, body).status_code == 422
    assert client(server).rows(f"/data/experiments/{SID}/assessors") == []


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        (seg_bytes(study="another"), "study UID"),
        (seg_bytes(series=(PRE, 99)), "series UID"),
        (seg_bytes(instances=[uid("study", 5, 0, 0), "1.2.3"]), "SOP instance UID"),
    ],
)
def test_what_a_seg_refers_to_must_be_there(
    server: StandIn, body: bytes, missing: str
) -> None:
    expected = (422, f"Missing dependencies: {missing}")
    assert refusal(put(server, body)) == expected
    kept = put(server).text
    assert refusal(put(server, body, overwrite="true")) == expected
    assert client(server).get(f"{ROI}/collections/{kept}").content == seg_bytes()


def test_a_scan_without_uid_cannot_be_referred_to(server: StandIn) -> None:
    del server.state.archive.experiment(SID).scans["5"].values["UID"]
    assert put(server).text == "Missing dependencies: series UID"
    uids = client(server).get(f"{ROI}/sessions/{SID}/uididmap").json()
    assert uids == {uid("study", "series", 6): "6"}


def test_the_preflight_calls_tell_what_is_there(server: StandIn) -> None:
    who = client(server)
    uids = who.get(f"{ROI}/sessions/{SID}/uididmap").json()
    assert uids[uid("study", "series", PRE)] == "5"
    known = who.get(f"{ROI}/sessions/{SID}/scans/5/uids").json()
    assert set(known) == {uid("study", 5, 0, index) for index in range(SHAPE[0])}
    assert who.get(f"{ROI}/sessions/{SID}/scans/77/uids").status_code == 422
    assert who.get(f"{ROI}/exists/BRS_1").json() is False
    put(server)
    assert who.get(f"{ROI}/exists/BRS_1").json() is True


@pytest.mark.parametrize(
    ("user", "rights"),
    [
        ("olga", (True, True, True, True)),
        ("alice", (True, True, True, False)),
        ("bob", (False, True, False, False)),
    ],
)
def test_permissions_follow_the_role(
    server: StandIn, user: str, rights: tuple[bool, ...]
) -> None:
    found = client(server, user).get(f"{ROI}/permissions/RoiCollection").json()
    assert tuple(found[key] for key in ("create", "read", "edit", "delete")) == rights


def test_a_project_that_is_hidden_or_missing_is_403(server: StandIn) -> None:
    path = "permissions/RoiCollection"
    assert client(server, "eve").get(f"{ROI}/{path}").status_code == 403
    missing = client(server, "olga").get(f"/xapi/roi/projects/NONE/{path}")
    assert missing.status_code == 403
    assert missing.text.startswith("Bad project ID or not visible")


def test_a_shared_sessions_mask_belongs_to_the_project_it_came_by(
    server: StandIn,
) -> None:
    server.share_session(SID, "OTHER")
    put(server)
    eve, path = client(server, "eve"), f"/xapi/roi/projects/OTHER/sessions/{SID}"
    answer = eve.send("PUT", f"{path}/collections/BRS_1", seg_bytes(), type="SEG")
    assert answer.status_code == 200
    rows = client(server).rows(f"/data/experiments/{SID}/assessors")
    assert [row["project"] for row in rows] == ["BREAST", "OTHER"]


def test_the_type_is_named_and_known(server: StandIn) -> None:
    who, path = client(server), f"{PUT}/BRS_1"
    assert who.send("PUT", path, seg_bytes()).status_code == 400
    assert who.send("PUT", path, seg_bytes(), type="NIFTY").status_code == 422
    put(server)
    assert who.get(f"{ROI}/collections/BRS_1", type="AIM").status_code == 422
    assert who.get(f"{ROI}/collections/BRS_1").content == seg_bytes()


def test_regions_are_listed_and_collections_deleted_by_owners(server: StandIn) -> None:
    key = put(server).text
    rois = client(server).get(f"{ROI}/rois/{key}").json()
    assert [roi["name"] for roi in rois] == ["right breast", "left breast"]
    assert {roi["roiCollectionId"] for roi in rois} == {key}
    path = f"{ROI}/collections/{key}"
    assert client(server).send("DELETE", path).status_code == 403
    olga = client(server, "olga")
    assert olga.send("DELETE", path).status_code == 200
    assert olga.send("DELETE", path).status_code == 422
    assert olga.get(path).status_code == 422


def test_without_the_plugin_there_is_no_roi_api(server: StandIn) -> None:
    server.plugins.remove("ohifViewerPlugin")
    assert put(server).status_code == 404
    plugins = client(server).get("/xapi/plugins").json()
    assert set(plugins) == {"containers"}
    path = "/xapi/plugins/ohifViewerPlugin"
    assert client(server).get(path).status_code == 404


def test_a_test_saves_a_mask_as_the_viewer_does(server: StandIn) -> None:
    key = server.add_collection(SID, "SEG_20240131_101500", seg_bytes(), user="alice")
    rows = client(server).rows(f"/data/experiments/{SID}/assessors")
    assert rows[0]["ID"] == key
    with pytest.raises(Refused, match="overwrite not specified"):
        server.add_collection(SID, "SEG_20240131_101500", seg_bytes(), user="alice")
    with pytest.raises(Refused, match="403"):
        server.add_collection(SID, "other", seg_bytes(), user="bob")
