"""The pages of the archive: whom to annotate and why, drafts, trainings."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from rounds import ROUND, opening
from status_inputs import BEARER, Service, sign_in, study_uid, words
from status_project import NAMES, draft, ranked, trained

from plugin.archive import Archive
from plugin.errors import ArchiveError
from plugin.folder_archive import FolderArchive
from plugin.masks import read_record
from plugin.provenance import MaskState
from plugin.web.project import Project

FIRST = NAMES[0]


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    return ranked(tmp_path / "archive")


@pytest.fixture
def client(tmp_path: Path, archive: FolderArchive) -> Iterator[FlaskClient]:
    service = Service(tmp_path)
    service.health()
    with service.client(archive=archive) as client:
        yield client


def page(client: FlaskClient, address: str, headers: Mapping[str, str] = BEARER) -> str:
    """Return a page, once the archive has answered."""
    for _ in range(100):
        answer = client.get(address, headers=headers)
        html = answer.get_data(as_text=True)
        if answer.status_code != 503 and "is being asked" not in html:
            break
        time.sleep(0.1)
    assert answer.status_code == 200, words(html)
    return html


def session(name: str) -> str:
    return f"/annotation/session?name={name}"


# whom to annotate


def test_the_queue_is_the_ranking_with_reasons_and_histograms(
    client: FlaskClient,
) -> None:
    html = page(client, "/annotation")
    # The paper's share, 30 % of 30 patients.
    assert "Annotate the first 9 of 30 sessions." in words(html)
    shown = re.findall(r"name=(BREAST_\d+)", html)
    assert tuple(shown) == NAMES[:25]
    assert NAMES[25] in page(client, "/annotation?page=2")
    assert html.count("<figure") == 2
    assert "represents 30 sessions with nearest point 5-150 mm" in words(html)


def test_the_list_tells_what_is_recorded_of_each_mask(
    client: FlaskClient, archive: FolderArchive
) -> None:
    draft(archive, NAMES[0])
    draft(archive, NAMES[1], MaskState.HUMAN)
    archive.write(NAMES[2], "mask.json", b"{")
    rows = page(client, "/annotation").split("</tr>")[1:5]
    assert [words(row).split()[-1] for row in rows] == [
        *("model-draft", "human", "unreadable", "none")
    ]


def test_sessions_names_are_for_the_authorised(
    client: FlaskClient, archive: FolderArchive
) -> None:
    draft(archive, FIRST)
    html = page(client, "/annotation", headers={})
    assert "Annotate the first 9 of 30 sessions." in words(html)
    assert not [name for name in NAMES if name in html]
    for address in (session(FIRST), f"/annotation/preview.png?name={FIRST}"):
        assert client.get(address).status_code == 403


# drafts


def test_a_draft_is_shown_with_its_preview_and_doubts(
    client: FlaskClient, archive: FolderArchive
) -> None:
    draft(archive, FIRST)
    html = page(client, session(FIRST))
    assert "A draft waits for a decision." in words(html)
    assert "Dice 0.87 with the mirrored images' mask" in words(html)
    picture = client.get(f"/annotation/preview.png?name={FIRST}", headers=BEARER)
    assert picture.data == archive.read(FIRST, "preview.png")


@pytest.mark.parametrize(
    ("decision", "state", "said"),
    [
        ("accept", MaskState.MODEL_APPROVED, "Accepted by a radiologist."),
        ("reject", MaskState.REJECTED, "Rejected by a radiologist."),
    ],
)
def test_a_decision_is_recorded_beside_the_mask_and_shown(
    client: FlaskClient,
    archive: FolderArchive,
    decision: str,
    state: MaskState,
    said: str,
) -> None:
    uid = draft(archive, FIRST)
    page(client, session(FIRST))
    form = {"csrf": sign_in(client), "name": FIRST, "mask": uid, "role": "Radiologist"}
    answer = client.post("/annotation/decision", data=form | {"decision": decision})
    assert (answer.status_code, answer.location) == (303, session(FIRST))
    record = read_record(archive, FIRST)
    assert record is not None
    assert (record.state, record.reviewer_role) == (state, "radiologist")
    assert record.reviewed_at == "2026-03-01T12:00:00+00:00"
    assert said in words(page(client, session(FIRST)))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"mask": study_uid("another")}, 409),
        ({"role": "Dr. Jane Doe, MD"}, 400),
        ({"role": ""}, 400),
        ({"decision": "maybe"}, 400),
        ({"name": "../../etc"}, 404),
        ({"name": NAMES[1]}, 409),
    ],
)
def test_a_decision_that_does_not_fit_changes_nothing(
    client: FlaskClient, archive: FolderArchive, change: dict[str, str], status: int
) -> None:
    uid = draft(archive, FIRST)
    page(client, session(FIRST))
    form = {"csrf": sign_in(client), "name": FIRST, "mask": uid, "role": "radiologist"}
    form |= {"decision": "accept"} | change
    assert client.post("/annotation/decision", data=form).status_code == status
    record = read_record(archive, FIRST)
    assert record is not None
    assert record.state is MaskState.MODEL_DRAFT


def test_a_persons_mask_is_not_offered_for_a_decision(
    client: FlaskClient, archive: FolderArchive
) -> None:
    draft(archive, FIRST, MaskState.HUMAN)
    html = page(client, session(FIRST))
    assert "A person drew this mask." in words(html)
    assert "Accept the mask" not in html


# training


def test_a_training_is_watched_fold_by_fold(
    client: FlaskClient, archive: FolderArchive
) -> None:
    trained(archive)
    said = words(page(client, "/training"))
    assert "3 of 5 folds are trained." in said
    # 3 folds of 0.1 kWh, at 0.475 kg per kWh: 142.5 g.
    assert "300 Wh" in said
    assert "143 g" in said
    assert "0.850" in said


def test_folds_of_another_training_are_told_apart(
    client: FlaskClient, archive: FolderArchive
) -> None:
    trained(archive)
    manifest = json.loads(archive.read(None, "fold-1.json") or b"")
    other = json.dumps(manifest | {"engine": "torch-cpu-fp32"}).encode()
    archive.write(None, "fold-1.json", other)
    said = words(page(client, "/training"))
    assert "The folds have 2 different settings or cases" in said


def test_the_checkpoint_and_the_rounds_are_shown(
    client: FlaskClient, archive: FolderArchive
) -> None:
    manifest = {
        "weights_sha256": "ab" * 32,
        "package_version": "0.1.0",
        "fold": 1,
        "training_cases": ["a", "b"],
        "metrics": {"validation_dice": 0.8504, "stopped_by": "patience"},
    }
    archive.write(None, "checkpoint.json", json.dumps(manifest).encode())
    for name, data in {
        "0001.json": ROUND.to_json(),
        "0002.json": b"{",
        "0003.open.json": opening(3).to_json(),
    }.items():
        archive.write(None, f"rounds/{name}", data)
    said = words(page(client, "/training"))
    assert "Validation Dice 0.850" in said
    assert "Stopped by patience" in said
    assert "Round 3 state open until its masks are drawn asked for 2 sessions" in said
    assert "Round 2 record cannot be read" in said
    assert "Dice 0.850 on 2 tested sessions drawn 1 published, 1 to review, 1 held" in (
        said
    )
    assert "minutes saved 8 of 20 (assumed pace) energy 1.00 kWh" in said
    assert "advice go on reason one round says nothing of the next" in said
    unknown = words(page(client, "/training", headers={}))
    assert "3 so far; sign in to see them." in unknown


# an archive that is not as it should be


def test_an_empty_project_says_what_makes_it_less_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    service = Service(tmp_path)
    with service.client(archive=str(tmp_path / "empty")) as client:
        assert "brs rank on this archive makes one." in words(
            page(client, "/annotation")
        )
        assert "No fold has been trained yet." in words(page(client, "/training"))


def test_without_an_archive_the_pages_say_so(tmp_path: Path) -> None:
    with Service(tmp_path).client() as client:
        for address in ("/annotation", "/training"):
            assert "No archive is configured." in words(page(client, address))
        assert client.get(session("x"), headers=BEARER).status_code == 404


@pytest.mark.parametrize("text", ["{", "[]", '{"footprint": {}}', "\xff"])
def test_a_damaged_file_is_told_and_breaks_no_page(
    client: FlaskClient, archive: FolderArchive, text: str
) -> None:
    trained(archive)
    for name in ("ranking.json", "fold-0.json"):
        archive.write(None, name, text.encode("latin-1"))
    unread = "The archive could not be read."
    assert unread in words(page(client, "/annotation"))
    said = words(page(client, "/training"))
    assert unread in said or "2 of 5 folds are trained." in said


def test_while_the_ranking_is_not_known_nothing_is_called_missing(
    tmp_path: Path, archive: FolderArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    read = archive.read

    def slow(session_id: str | None, name: str) -> bytes | None:
        gate.wait(10)
        return read(session_id, name)

    monkeypatch.setattr(archive, "read", slow)
    with Service(tmp_path).client(archive=archive) as client:
        answer = client.get(session(FIRST), headers=BEARER)
        gate.set()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


def test_an_archive_that_does_not_answer_holds_up_no_page_and_is_named(
    archive: FolderArchive,
) -> None:
    now, gate = [0.0], threading.Event()
    project = Project(archive, wait_s=0.01, fresh_s=20, clock=lambda: now[0])

    def slow(_: Archive) -> str:
        gate.wait(10)
        return "answer"

    first = project.read("key", slow)
    assert (first.value, first.is_pending, first.problem) == (None, True, "")
    gate.set()
    until(lambda: project.read("key", slow).value == "answer")
    now[0] = 21.0
    until(lambda: bool(project.read("key", refuse).problem))
    failed = project.read("key", refuse)
    assert (failed.value, failed.age_s) == ("answer", 21.0)
    assert failed.problem == "no connection. try later."


def refuse(_: Archive) -> str:
    raise ArchiveError("archive", found="no connection", needed="one", mend="try later")


def until(is_so: Callable[[], bool]) -> None:
    """Wait for the archive's thread."""
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end, "the archive's thread gave no answer"
        time.sleep(0.01)
