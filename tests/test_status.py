"""What the pages say: the queue, what runs, what was found, and never who it is."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from queue_case import HandClock
from status_inputs import Service, preview, result, sign_in, study_uid, words

from plugin.jobs import Cause, Policy, State
from plugin.web.fresh import Fresh
from plugin.web.overview import costs_of
from plugin.web.records import Result, read_result
from plugin.web.words import HIDDEN, age, many, parts_of, size, without_uids

HOSTILE = "<script>alert('x')</script>\"' onerror=alert(1)"
HOSTILE_IDS = (
    "..",
    "../../etc/passwd",
    "%2e%2e",
    "x" * 300,
    "A" * 16,
    "0123456789abcdef",
    "a.b",
    "-rf",
    "job%00id",
)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def service(tmp_path: Path, clock: HandClock) -> Service:
    return Service(tmp_path, clock)


@pytest.fixture
def client(service: Service) -> Iterator[FlaskClient]:
    service.health()
    with service.client() as client:
        yield client


def page(client: FlaskClient, address: str = "/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def test_an_empty_service_is_ready_and_says_so(client: FlaskClient) -> None:
    said = words(page(client))
    assert "Ready, and nothing waits." in said
    assert "No study is done yet." in said
    assert "What a study costs" not in said


def test_the_overview_counts_every_state(service: Service, client: FlaskClient) -> None:
    for name in "ab":
        service.done(name)
    service.parked("p")
    service.running("r", "infer", 0.25)
    for name in "xyz":
        service.queued(name)
    service.receive("i")
    said = words(page(client))
    assert "1 being received 3 queued 1 running 2 done 1 parked" in said
    assert "1 study is being segmented, 4 waiting." in said


def test_a_running_job_shows_its_stage_and_share(
    service: Service, client: FlaskClient
) -> None:
    job = service.running("r", "infer", 0.25)
    worker = {"name": "gpu-0", "pid": os.getpid(), "state": "busy", "job": job.job_id}
    service.health(workers=[worker])
    html = page(client)
    assert 'class="now" aria-current="step"' in html
    assert "on gpu-0" in words(html)
    assert "infer 25 %" in words(html)
    # Of six stages the two before are full, the three after empty.
    assert re.findall(r'<progress[^>]*value="([\d.]+)"', html) == [
        *("1", "1", "0.25"),
        *("0", "0", "0"),
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": 7}', '{"stage": "x"}'])
def test_a_damaged_progress_file_does_not_break_the_page(
    service: Service, client: FlaskClient, text: str
) -> None:
    job = service.running("r", "read", 0.5)
    (job.folder / "progress.json").write_text(text)
    assert job.job_id in page(client)
    assert "Being segmented." in words(page(client, f"/jobs/{job.job_id}"))


def test_a_done_study_shows_verdict_times_and_energy(
    service: Service, client: FlaskClient
) -> None:
    service.done("a", picture=preview())
    said = words(page(client))
    assert "publish" in said
    assert "read 2.0 s infer 8.0 s judge 1.0 s write 1.0 s" in said
    assert "energy 0.400 Wh" in said


def test_the_latest_preview_is_shown_large_and_those_before_small(
    service: Service, client: FlaskClient, clock: HandClock
) -> None:
    before = service.done("a", picture=preview())
    clock.tick(1)
    latest = service.done("b", picture=preview())
    large, small = re.findall(r'<img src="(/jobs/[^"]*)', page(client))
    assert large.startswith(f"/jobs/{latest}/preview.png")
    assert small.startswith(f"/jobs/{before}/small.webp")
    assert client.get(large).data == preview()
    picture = client.get(small)
    assert (picture.mimetype, picture.data[:4]) == ("image/webp", b"RIFF")


def test_what_was_not_measured_is_unknown(
    service: Service, client: FlaskClient
) -> None:
    service.done("a", result(energy_kwh=None))
    said = words(page(client))
    assert "energy unknown" in said
    assert "Energy unknown Carbon footprint unknown" in said
    assert "0.000 Wh" not in said


def test_costs_are_medians_of_what_was_measured(tmp_path: Path) -> None:
    found = [
        as_result(tmp_path, infer_s=4.0, energy_kwh=0.0001),
        as_result(tmp_path, infer_s=8.0, energy_kwh=0.0003),
        as_result(tmp_path, infer_s=90.0, energy_kwh=None),
    ]
    costs = costs_of(found)
    assert costs.stages_s == {"read": 2, "infer": 8, "judge": 1, "write": 1}
    assert costs.total_s == 2 + 8 + 1 + 1
    assert costs.energy_kwh == median([0.0001, 0.0003])
    assert (costs.studies, costs.energy_unknown) == (3, 1)


def as_result(folder: Path, *, infer_s: float, energy_kwh: float | None) -> Result:
    (folder / "result").mkdir(exist_ok=True)
    values = result(infer_s=infer_s, energy_kwh=energy_kwh)
    (folder / "result" / "result.json").write_text(json.dumps(values))
    found = read_result(folder)
    assert found is not None
    return found


def test_no_result_has_no_costs() -> None:
    costs = costs_of([])
    assert (costs.total_s, costs.energy_kwh, costs.cfp_kg) == (None, None, None)


def test_a_destination_that_was_never_asked_is_unknown(
    service: Service,
) -> None:
    service.health(
        destinations={"pacs": {"reachable": False, "at": None, "text": "refused"}}
    )
    with service.client(destinations=("pacs", "later")) as client:
        said = words(page(client))
    assert "pacs silent unknown" in said
    assert "later unknown unknown" in said


def test_what_fails_is_the_first_thing_said(service: Service) -> None:
    service.health(workers=[{"name": "w", "pid": 2**22 + 1, "state": "idle"}])
    with service.client(listening=lambda: False) as client:
        said = words(page(client))
    assert "Not ready: listener and workers fail." in said
    assert "0 of 1 workers alive" in said


def test_the_list_is_paged_and_filtered(
    service: Service, client: FlaskClient, clock: HandClock
) -> None:
    for at in range(51):
        service.done(f"s{at}")
        clock.tick(1)
    service.parked("p")
    first, second = (
        page(client, "/jobs?state=done"),
        page(client, "/jobs?state=done&page=2"),
    )
    assert (ids_in(first), ids_in(second)) == (50, 1)
    assert "Page 1 of 2" in words(first)
    assert 'href="?state=done&amp;page=2"' in first
    assert ids_in(page(client, "/jobs?state=failed")) == 1
    assert "52 studies" in words(page(client, "/jobs"))
    assert ids_in(page(client, "/jobs?state=done&page=999999")) == 1


def ids_in(html: str) -> int:
    return len(re.findall(r'<tr role="row">\s*<th scope="row"', html))


@pytest.mark.parametrize(
    "query", ["state=gone", "page=0", "page=-1", "page=x", "page=1e9", "page=٣"]
)
def test_an_impossible_query_is_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"/jobs?{query}").status_code == 400


def test_a_parked_job_says_what_is_missing_and_how_to_mend_it(
    service: Service, client: FlaskClient
) -> None:
    job_id = service.parked("p")
    said = words(page(client, f"/jobs/{job_id}"))
    assert "One phase of 160 slices." in said
    assert "Cause incomplete" in said
    assert "Missing a pre- and a post-contrast series of equal slice counts" in said
    assert "Mend send the missing series to this AE title" in said


def test_a_waiting_job_says_why_and_how_long(
    service: Service, client: FlaskClient
) -> None:
    job = service.taken("w")
    job.retry(Cause("pacs-busy", "the PACS is busy", passing=True), wait_s=120)
    said = words(page(client, f"/jobs/{job.job_id}"))
    assert "Waits for its next run." in said
    assert "Next run in 2 min" in said
    assert "pacs-busy" in said


def test_the_journal_is_shown_with_times_and_causes(
    service: Service, client: FlaskClient
) -> None:
    job_id = service.parked("p")
    html = page(client, f"/jobs/{job_id}")
    table = html.partition("Journal")[2]
    assert re.findall(r"<td role=\"cell\">([a-z-]+)</td>", table)[:3] == [
        *("parked", "incomplete"),
        "taken",
    ]
    assert 'datetime="2026-03-01T12:00:00+00:00"' in table
    assert "gpu-0" in words(table)


def test_a_very_long_journal_is_cut_and_says_so(
    service: Service, client: FlaskClient
) -> None:
    job = service.taken("long")
    for _ in range(300):
        job.progress("step")
    # received, enqueued and taken come before.
    assert f"{300 + 3 - 200} older events" in words(page(client, f"/jobs/{job.job_id}"))


def test_a_damaged_journal_is_a_page_of_its_own(
    service: Service, client: FlaskClient
) -> None:
    job_id = service.done("a")
    (service.work / "done" / job_id / "job.json").write_text("{")
    said = words(page(client, f"/jobs/{job_id}"))
    assert "The journal cannot be read" in said
    assert job_id in page(client, "/jobs")


def test_deliveries_are_told_by_destination(
    service: Service, client: FlaskClient
) -> None:
    job_id = service.done("a", sent="waiting")
    said = words(page(client, f"/jobs/{job_id}"))
    assert "Segmented, confirmed by 0 of 1 destination." in said
    assert "unreachable no connection to 10.0.0.7:104" in said


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        '{"verdict": 3}',
        '{"timings_s": {"read": "x"}, "bag": []}',
        "{" * 9,
    ],
)
def test_a_damaged_result_is_no_result(
    service: Service, client: FlaskClient, text: str
) -> None:
    job_id = service.done("a")
    (service.work / "done" / job_id / "result" / "result.json").write_text(text)
    page(client)
    page(client, f"/jobs/{job_id}")
    page(client, f"/api/v1/jobs/{job_id}")


def test_hostile_text_stays_text(service: Service, client: FlaskClient) -> None:
    reasons = [HOSTILE]
    job_id = service.done("a", result("review", reasons=reasons), picture=preview())
    parked_id = service.parked("p", text=HOSTILE)
    sign_in(client)
    for address in ("/", "/jobs", f"/jobs/{job_id}", f"/jobs/{parked_id}"):
        html = page(client, address)
        assert "<script>alert" not in html
        assert "onerror=alert(1)" in words(html)
        assert not re.search(r"<[^>]* onerror=", html)


@pytest.mark.parametrize("job_id", HOSTILE_IDS)
@pytest.mark.parametrize("rest", ["", "/preview.png", "/small.webp"])
def test_a_hostile_id_is_no_job(client: FlaskClient, job_id: str, rest: str) -> None:
    assert client.get(f"/jobs/{job_id}{rest}").status_code in (404, 308)
    assert client.get(f"/api/v1/jobs/{job_id}").status_code in (404, 308)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n broken"])
def test_a_damaged_preview_is_not_found(
    service: Service, client: FlaskClient, data: bytes
) -> None:
    job_id = service.done("a", picture=data)
    assert client.get(f"/jobs/{job_id}/small.webp").status_code == 404


def test_no_identifier_is_shown_without_leave(
    service: Service, client: FlaskClient
) -> None:
    ids = [service.done("a", picture=preview()), service.parked("p")]
    addresses = ["/", "/jobs", "/metrics", "/api/v1/jobs", "/annotation", "/training"]
    addresses += [
        f"{start}/{name}" for start in ("/jobs", "/api/v1/jobs") for name in ids
    ]
    hidden = [study_uid(name) for name in ("a", "p", "mask", "pre")] + ["MR3T"]
    for address in addresses:
        html = page(client, address)
        assert not [text for text in hidden if text in html], address
    assert HIDDEN in page(client, f"/jobs/{ids[1]}")


def test_a_signed_in_person_sees_identifiers(
    service: Service, client: FlaskClient
) -> None:
    job_id = service.done("a")
    sign_in(client)
    html = page(client, f"/jobs/{job_id}")
    assert study_uid("a") in html
    assert study_uid("mask") in html
    assert "MR3T" in html


def test_rerun_and_park_by_form(service: Service, client: FlaskClient) -> None:
    done, waiting = service.done("a"), service.queued("b")
    csrf = sign_in(client)
    for job_id, verb, state in (
        (done, "rerun", State.QUEUED),
        (waiting, "park", State.FAILED),
    ):
        answer = client.post(f"/jobs/{job_id}/{verb}", data={"csrf": csrf})
        assert answer.status_code == 303
        assert answer.location == f"/jobs/{job_id}"
        listed = service.queue.find(job_id)
        assert listed is not None
        assert listed.state is state
    assert "parked by an operator" in words(page(client, f"/jobs/{waiting}"))


def test_a_change_is_seen_at_once(service: Service, client: FlaskClient) -> None:
    job_id = service.done("a")
    csrf = sign_in(client)
    assert "1 done" in words(page(client))
    client.post(f"/jobs/{job_id}/rerun", data={"csrf": csrf})
    assert "1 queued" in words(page(client))


def test_a_job_that_moves_while_it_is_looked_at_is_found(
    service: Service, client: FlaskClient
) -> None:
    job = service.running("r", "send", 1.0)
    page(client, f"/jobs/{job.job_id}")
    service.finish(job, result())
    assert "Segmented, sent and confirmed." in words(
        page(client, f"/jobs/{job.job_id}")
    )


def test_pages_follow_the_service_until_they_are_held_still(
    client: FlaskClient,
) -> None:
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in page(
        client
    )
    still = page(client, "/?refresh=off")
    assert "http-equiv" not in still
    assert "<script" not in still


def test_thousands_of_jobs_are_no_burden(tmp_path: Path) -> None:
    service = Service(tmp_path, policy=Policy(keep_done=5_000))
    service.health()
    first = service.done("a")
    template = service.work / "done" / first / "job.json"
    for at in range(2_000):
        folder = service.work / "done" / f"{at:016x}"
        folder.mkdir()
        (folder / "job.json").write_text(
            template.read_text().replace(first, folder.name)
        )
    with service.client() as client:
        assert "2,001 done" in words(page(client))
        html = page(client, "/jobs?state=done&page=41")
    assert ids_in(html) == 1
    assert len(html) < 20_000


def test_a_value_is_made_once_for_as_long_as_it_is_fresh() -> None:
    made = iter(range(9))
    now = [0.0]
    fresh = Fresh(lambda: next(made), keep_s=2.0, clock=lambda: now[0])
    assert [fresh(), fresh()] == [0, 0]
    now[0] = 2.0
    assert fresh() == 1
    fresh.drop()
    assert fresh() == 2


@given(st.lists(st.integers(0, 10**12), min_size=5, max_size=9))
def test_every_uid_is_hidden(parts: list[int]) -> None:
    uid = ".".join(["1.2.840", *map(str, parts)])
    assert without_uids(f"series {uid}: found") == f"series {HIDDEN}: found"
    assert without_uids(f"({uid}).") == f"({HIDDEN})."


def test_a_uid_from_a_uuid_is_hidden_and_a_version_is_not() -> None:
    assert without_uids("2.25.329800735698586629295641978511506172918") == HIDDEN
    text = "brs 0.1.0 on 127.0.0.1 took 1.25 s"
    assert without_uids(text) == text


def test_words_for_people() -> None:
    assert [age(s) for s in (0.4, 59, 60, 7200, 200_000)] == [
        *("0 s", "59 s", "1 min", "2 h", "2 d")
    ]
    assert [size(n) for n in (12, 2048, 3 << 30)] == ["12 bytes", "2.0 KiB", "3.0 GiB"]
    assert [many(1, "study"), many(2, "study"), many(1200, "job")] == [
        *("1 study", "2 studies", "1,200 jobs")
    ]
    assert parts_of("plain")["found"] == "plain"
