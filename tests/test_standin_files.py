"""Files on the stand-in: uploads and their traps, listings, zips, digests."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hospital import client, hospital
from standin.server import StandIn

SESSION = "/data/experiments/XNAT_E00001"
BRS = f"{SESSION}/resources/BRS"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with hospital(tmp_path) as found:
        yield found


def zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def names(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_an_existing_resource_is_409(server: StandIn) -> None:
    who = client(server)
    assert who.send("PUT", BRS).status_code == 200
    again = who.send("PUT", BRS)
    assert again.status_code == 409
    assert "Specified resource already exists." in again.text


def test_a_path_below_a_resource_needs_the_word_files(server: StandIn) -> None:
    assert client(server).send("PUT", f"{BRS}/mask.nii", b"1").status_code == 400


def test_a_duplicate_put_answers_200_and_writes_nothing(server: StandIn) -> None:
    who = client(server)
    assert who.send("PUT", f"{BRS}/files/a/b", b"first").text == ""
    again = who.send("PUT", f"{BRS}/files/a/b", b"second")
    assert again.status_code == 200
    assert again.json() == {"duplicates": ["a/b"]}
    assert again.headers["Content-Type"].startswith("text/html")
    assert who.get(f"{BRS}/files/a/b").content == b"first"
    who.send("PUT", f"{BRS}/files/a/b", b"third", overwrite="true")
    assert who.get(f"{BRS}/files/a/b").content == b"third"
    stored = server.directory("XNAT_E00001") / "RESOURCES" / "BRS"
    assert (stored / "a" / "b").read_bytes() == b"third"
    assert 'URI="a/b"' in (stored / "BRS_catalog.xml").read_text()


def test_of_two_puts_at_once_one_wins(server: StandIn) -> None:
    path = f"{server.url}{BRS}/files/round"
    answers: list[str] = []

    def put(body: bytes) -> None:
        login, octets = (
            ("alice", "secret"),
            {"Content-Type": "application/octet-stream"},
        )
        answer = requests.put(path, data=body, auth=login, headers=octets, timeout=20)
        answers.append(answer.text)

    threads = [threading.Thread(target=put, args=(b"%d" % n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, answers)) == [False] + [True] * 5


@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain"])
def test_an_upload_without_data_is_400(server: StandIn, content_type: str) -> None:
    answer = requests.put(
        f"{server.url}{BRS}/files/x",
        data=b"" if "octet" in content_type else b"text",
        headers={"Content-Type": content_type},
        auth=("alice", "secret"),
        timeout=20,
    )
    assert answer.status_code == 400
    assert client(server).rows(f"{SESSION}/resources") == []


def test_other_bodies_need_inbody_or_a_form(server: StandIn) -> None:
    login, url = ("alice", "secret"), f"{server.url}{BRS}/files"
    plain = {"Content-Type": "text/plain"}
    inbody = requests.put(
        f"{url}/x?inbody=true", data=b"1", headers=plain, auth=login, timeout=20
    )
    form = requests.post(url, files={"f": ("y", b"2")}, auth=login, timeout=20)
    assert (inbody.status_code, form.status_code) == (200, 200)
    assert {r["Name"] for r in client(server).rows(f"{BRS}/files")} == {"x", "y"}


def test_archives_are_unpacked_on_request(server: StandIn) -> None:
    who = client(server)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("d/t")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"tar"))
    files = f"{BRS}/files"
    zipped = zip_of(z=b"zip")
    assert who.send("PUT", f"{files}/a.zip", zipped, extract="true").text == ""
    who.send("PUT", f"{files}/a.tar.gz", packed.getvalue(), extract="true")
    who.send("PUT", f"{files}/kept.zip", zipped)
    assert who.get(f"{files}/z").content == b"zip"
    assert who.get(f"{files}/d/t").content == b"tar"
    assert who.get(f"{files}/kept.zip").content == zipped
    assert len(who.rows(files)) == 3


def test_a_member_outside_the_resource_is_refused(server: StandIn) -> None:
    body = zip_of(**{"../../outside": b"x"})
    answer = client(server).send("PUT", f"{BRS}/files/a.zip", body, extract="true")
    assert answer.status_code == 400
    assert not list(server.state.root.rglob("outside"))


def test_a_collaborators_upload_is_refused_or_silently_dropped(server: StandIn) -> None:
    bob = client(server, "bob")
    assert bob.send("PUT", f"{BRS}/files/x", b"1").status_code == 403
    server.state.silent_refusal = True
    silent = bob.send("PUT", f"{BRS}/files/x", b"1")
    assert (silent.status_code, silent.text) == (200, "")
    assert bob.rows(f"{SESSION}/resources") == []


def test_files_have_rows_with_size_address_and_digest(server: StandIn) -> None:
    who = client(server)
    body = b"mask"
    about = {"format": "NIFTI", "content": "MASK", "tags": "brs"}
    who.send("PUT", f"{BRS}/files/d/a b.nii", body, **about)
    row = who.rows(f"{BRS}/files")[0]
    number = who.rows(f"{SESSION}/resources")[0]["xnat_abstractresource_id"]
    assert row == {
        "Name": "a b.nii",
        "Size": "4",
        "URI": f"{SESSION}/resources/{number}/files/d/a%20b.nii",
        "collection": "BRS",
        "file_tags": "brs",
        "file_format": "NIFTI",
        "file_content": "MASK",
        "cat_ID": number,
        "digest": hashlib.md5(body, usedforsecurity=False).hexdigest(),
    }
    assert who.get(row["URI"]).content == body
    head = who.http.head(server.url + row["URI"], timeout=20)
    assert (head.headers["Content-Length"], head.content) == ("4", b"")


def test_digests_are_empty_when_checksums_are_off(server: StandIn) -> None:
    server.checksums = False
    rows = client(server).rows(f"{SESSION}/scans/ALL/files")
    assert {row["digest"] for row in rows} == {""}


def test_scans_are_chosen_by_all_by_list_and_by_type(server: StandIn) -> None:
    who = client(server)
    chosen = {
        "ALL": 6,
        "5": 3,
        "5,6": 6,
        "t1_fl3d_tra post": 3,
    }
    for key, count in chosen.items():
        rows = who.rows(f"{SESSION}/scans/{key}/files")
        assert len(rows) == count
        assert all(row["collection"] == "DICOM" for row in rows)
    assert who.get(f"{SESSION}/scans/77/files").status_code == 404


def test_the_files_of_a_session_are_its_own_unless_all_are_asked_for(
    server: StandIn,
) -> None:
    server.add_files("XNAT_E00001", "BRS", {"a": b"1"})
    who = client(server)
    assert [row["Name"] for row in who.rows(f"{SESSION}/files")] == ["a"]
    assert len(who.rows(f"{SESSION}/files", all="true")) == 7


def test_a_zip_names_session_scan_type_resource_and_path(server: StandIn) -> None:
    server.add_files("XNAT_E00001", "BRS", {"d/a": b"1"})
    who = client(server)
    scans = names(who.get(f"{SESSION}/scans/5,6/files", format="zip"))
    prefixes = {name.rpartition("/")[0] for name in scans}
    assert prefixes == {
        "MR1/scans/5-t1_fl3d_tra_pre/resources/DICOM/files",
        "MR1/scans/6-t1_fl3d_tra_post/resources/DICOM/files",
    }
    own = names(who.get(f"{BRS}/files", format="zip"))
    assert own == ["MR1/resources/BRS/files/d/a"]


def test_a_zip_has_no_length_and_an_empty_one_is_404(server: StandIn) -> None:
    who = client(server)
    answer = who.get(f"{SESSION}/scans/5/resources/DICOM/files", format="zip")
    assert "Content-Length" not in answer.headers
    assert answer.headers["Content-Type"] == "application/zip"
    who.send("PUT", BRS)
    assert who.get(f"{BRS}/files", format="zip").status_code == 404
    assert who.rows(f"{BRS}/files") == []


def test_files_of_the_project_lie_in_its_folder(server: StandIn) -> None:
    path = "/data/projects/BREAST/resources/BRS/files/rounds/0001.json"
    who = client(server, "admin")
    assert client(server).send("PUT", path, b"{}").status_code == 403
    assert who.send("PUT", path, b"{}").status_code == 200
    stored = server.project_directory("BREAST") / "resources" / "BRS"
    assert (stored / "rounds" / "0001.json").read_bytes() == b"{}"
    assert who.get(path).content == b"{}"
    assert who.rows("/data/projects/BREAST/files")[0]["URI"].startswith(
        "/data/projects/BREAST/resources/"
    )


def test_a_deleted_file_leaves_the_disk_unless_told_otherwise(server: StandIn) -> None:
    server.add_files("XNAT_E00001", "BRS", {"a": b"1", "b": b"2"})
    olga, stored = client(server, "olga"), server.directory("XNAT_E00001")
    olga.send("DELETE", f"{BRS}/files/a")
    olga.send("DELETE", f"{BRS}/files/b", removeFiles="false")
    assert olga.send("DELETE", f"{BRS}/files/c").status_code == 404
    assert olga.rows(f"{BRS}/files") == []
    assert not (stored / "RESOURCES" / "BRS" / "a").exists()
    assert (stored / "RESOURCES" / "BRS" / "b").exists()


def test_a_missing_file_is_404(server: StandIn) -> None:
    server.add_files("XNAT_E00001", "BRS", {"a": b"1"})
    assert client(server).get(f"{BRS}/files/nothing").status_code == 404
    assert client(server).get(f"{SESSION}/resources/X/files").status_code == 404


def test_every_upload_is_noted_as_a_workflow(server: StandIn) -> None:
    who = client(server)
    who.send("PUT", f"{BRS}/files/a", b"1")
    row = who.rows("/data/workflows")[-1]
    assert row["pipeline_name"] == "Upload File"
    assert (row["id"], row["status"]) == ("XNAT_E00001", "Complete")
    path = f"/data/workflows/{row['wrk_workflowData_id']}"
    who.send("PUT", path, **{"wrk:workflowData/status": "Failed"})
    assert who.get(path).json()["items"][0]["data_fields"]["status"] == "Failed"
