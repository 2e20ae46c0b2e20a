"""What programs are told: JSON of the jobs, health, readiness and metrics."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from queue_case import HandClock
from status_inputs import (
    BEARER,
    PASSING_CLOUD,
    Service,
    preview,
    result,
    study_uid,
)

from plugin.errors import ConfigError
from plugin.jobs import State
from plugin.status import HttpConfig, StatusServer
from plugin.web.server import FINISH_S

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def service(tmp_path: Path, clock: HandClock) -> Service:
    made = Service(tmp_path, clock)
    made.health()
    return made


@pytest.fixture
def client(service: Service) -> Iterator[FlaskClient]:
    with service.client() as client:
        yield client


def told(client: FlaskClient, address: str, **more: Any) -> dict[str, Any]:
    answer = client.get(address, **more)
    assert answer.status_code == 200
    values = answer.get_json()
    assert isinstance(values, dict)
    return values


def samples(client: FlaskClient) -> Samples:
    text = client.get("/metrics").get_data(as_text=True)
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def state_of(service: Service, job_id: str) -> State:
    listed = service.queue.find(job_id)
    assert listed is not None
    return listed.state


# jobs


def test_jobs_are_listed_by_page_and_state(
    service: Service, client: FlaskClient, clock: HandClock
) -> None:
    made = []
    for at in range(5):
        made.append(service.done(f"s{at}"))
        clock.tick(1)
    service.parked("p")
    first = told(client, "/api/v1/jobs?state=done&size=2&page=1")
    last = told(client, "/api/v1/jobs?state=done&size=2&page=3")
    assert [job["id"] for job in first["jobs"] + last["jobs"]] == [
        *(made[4], made[3]),
        made[0],
    ]
    assert (first["page"], first["pages"], first["total"]) == (1, 3, 5)
    assert told(client, "/api/v1/jobs")["total"] == 6


def test_a_listed_job_tells_its_verdict_and_times(
    service: Service, client: FlaskClient, clock: HandClock
) -> None:
    job = service.taken("a")
    clock.tick(41)
    service.finish(job, result("review"))
    (listed,) = told(client, "/api/v1/jobs")["jobs"]
    assert listed == {
        "id": job.job_id,
        "state": "done",
        "verdict": "review",
        "cause": "",
        "text": "",
        "opened": "2026-03-01T12:00:00+00:00",
        "changed": "2026-03-01T12:00:41+00:00",
        "duration_s": 41.0,
        "attempts": 1,
        "priority": 0,
        "wait_s": 0.0,
    }


def test_one_job_tells_all_and_identifiers_to_the_authorised_alone(
    service: Service, client: FlaskClient
) -> None:
    job_id = service.done("a", picture=preview())
    address = f"/api/v1/jobs/{job_id}"
    open_to_all = told(client, address)
    assert open_to_all["result"]["energy_kwh"] == 0.0004
    assert [event["kind"] for event in open_to_all["journal"]] == [
        *("received", "enqueued", "taken", "done")
    ]
    assert open_to_all["deliveries"][0]["state"] == "confirmed"
    assert client.get(open_to_all["preview"]).mimetype == "image/png"
    more = told(client, address, headers=BEARER)
    assert set(more) - set(open_to_all) == {
        *("study_instance_uid", "source_aes", "called_ae", "sop_instance_uid")
    }
    assert more["study_instance_uid"] == study_uid("a")


def test_what_is_not_there_is_null(service: Service, client: FlaskClient) -> None:
    job_id = service.parked("p")
    found = told(client, f"/api/v1/jobs/{job_id}")
    assert (found["result"], found["progress"], found["preview"]) == (None, None, None)
    assert (found["verdict"], found["cause"]) == (None, "incomplete")


@pytest.mark.parametrize("query", ["size=0", "size=501", "state=x", "page=0"])
def test_an_impossible_query_is_told_as_json(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/api/v1/jobs?{query}")
    assert answer.status_code == 400
    assert answer.get_json()["error"]["title"] == "Bad Request"


def test_rerun_and_park_by_token(service: Service, client: FlaskClient) -> None:
    done, waiting = service.done("a"), service.queued("b")
    for job_id, verb, state in (
        (done, "rerun", State.QUEUED),
        (waiting, "park", State.FAILED),
    ):
        address = f"/api/v1/jobs/{job_id}/{verb}"
        assert client.post(address).status_code == 401
        answer = client.post(address, headers=BEARER)
        assert answer.get_json() == {"id": job_id, "state": state, "changed": True}
        assert state_of(service, job_id) is state


@pytest.mark.parametrize("verb", ["rerun", "park"])
def test_a_running_job_is_left_alone_and_that_is_said(
    service: Service, client: FlaskClient, verb: str
) -> None:
    job = service.taken("r")
    answer = client.post(f"/api/v1/jobs/{job.job_id}/{verb}", headers=BEARER)
    assert answer.status_code == 409
    assert answer.get_json()["state"] == "running"
    service.finish(job, result())
    assert state_of(service, job.job_id) is State.DONE


def test_a_change_of_no_job_is_not_found(client: FlaskClient) -> None:
    answer = client.post("/api/v1/jobs/0123456789abcdef/rerun", headers=BEARER)
    assert answer.status_code == 404
    assert answer.get_json()["error"]["status"] == 404


# health


def test_a_process_that_answers_is_alive(client: FlaskClient) -> None:
    assert told(client, "/healthz") == {"alive": True}


def test_a_whole_service_is_ready(client: FlaskClient) -> None:
    checks = {"listener": "ok", "workers": "ok", "disk": "ok", "queue": "ok"}
    assert told(client, "/readyz") == {"ready": True, "checks": checks}


def failing(client: FlaskClient) -> dict[str, str]:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    values = answer.get_json()
    assert values["ready"] is False
    return {name: said for name, said in values["checks"].items() if said != "ok"}


def test_a_listener_that_is_down_or_not_there_is_named(service: Service) -> None:
    with service.client(listening=lambda: False) as client:
        assert failing(client) == {"listener": "the listener is down"}
    with service.client(listening=None) as client:
        assert failing(client) == {"listener": "no DICOM listener in this process"}


def test_dead_workers_are_named(service: Service, client: FlaskClient) -> None:
    dead = {"name": "gpu-1", "pid": 2**22 + 1, "state": "idle", "job": None}
    alive = dead | {"pid": os.getpid()}
    service.health(workers=[dead, alive])
    assert told(client, "/readyz")["ready"]
    for pid in (2**22 + 1, 0, -1, None, "x", 1e300):
        service.health(workers=[dead | {"pid": pid}])
        assert failing(client) == {"workers": "0 of 1 workers alive"}


@pytest.mark.parametrize("seconds", [31, -31])
def test_a_silent_supervisor_is_named(
    client: FlaskClient, clock: HandClock, seconds: float
) -> None:
    clock.tick(seconds)
    assert failing(client) == {"workers": "the supervisor last reported 31 s ago"}


def test_a_supervisor_that_never_wrote_is_named(
    service: Service, client: FlaskClient
) -> None:
    (service.work / "health.json").unlink()
    assert failing(client) == {"workers": "the supervisor last reported never"}


def test_a_full_disk_is_named(service: Service) -> None:
    with service.client(min_free_bytes=1 << 60) as client:
        assert failing(client)["disk"].endswith("1048576.0 TiB needed")


def test_an_unreadable_queue_is_named(
    service: Service, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(service.queue, "depth", refused)
    assert failing(client) == {"queue": "Permission denied"}


# metrics


def test_depths_instances_workers_and_destinations(service: Service) -> None:
    service.done("a")
    service.queued("q")
    counts = {"new": 320, "no room": 2}
    with service.client(counts=lambda: counts) as client:
        found = samples(client)
    assert found["brs_jobs", (("state", "done"),)] == 1
    assert found["brs_jobs", (("state", "queued"),)] == 1
    assert found["brs_instances_total", (("outcome", "new"),)] == 320
    assert found["brs_instances_total", (("outcome", "no-room"),)] == 2
    assert found["brs_workers", (("state", "alive"),)] == 1
    assert found["brs_destination_up", (("destination", "pacs"),)] == 1
    assert found["brs_ready", (("check", "disk"),)] == 1
    assert found["brs_disk_free_bytes", ()] > 0


def test_finished_studies_are_counted_with_their_cost(
    service: Service, client: FlaskClient, clock: HandClock
) -> None:
    service.queued("a")
    clock.tick(30)
    job = service.queue.take("gpu-0")
    assert job is not None
    clock.tick(41)
    service.finish(job, result("publish", infer_s=8.0))
    service.done("b", result("hold", energy_kwh=None))
    found = samples(client)
    assert found["brs_studies_finished_total", (("verdict", "publish"),)] == 1
    assert found["brs_studies_finished_total", (("verdict", "hold"),)] == 1
    assert found["brs_stage_seconds_sum", (("stage", "infer"),)] == 8 + 8
    assert found["brs_wait_seconds_sum", ()] == 30
    assert found["brs_study_seconds_sum", ()] == 30 + 41
    assert found["brs_energy_joules_total", ()] == pytest.approx(0.0004 * 3.6e6)
    assert found["brs_co2_grams_total", ()] == pytest.approx(0.475 * 0.0004 * 1000)
    assert found["brs_studies_unmeasured_total", ()] == 1
    sent = (("destination", "pacs"), ("state", "confirmed"))
    assert found["brs_deliveries_total", sent] == 2


def test_each_event_is_counted_once_and_only_since_the_start(
    service: Service, clock: HandClock
) -> None:
    service.done("old")
    clock.tick(1)
    with service.client() as client:
        job = service.taken("new")
        job.retry(PASSING_CLOUD, wait_s=1)
        clock.tick(2)
        again = service.queue.take("gpu-0")
        assert again is not None
        service.finish(again, result())
        service.parked("p")
        for _ in range(3):
            found = samples(client)
    assert found["brs_studies_finished_total", (("verdict", "publish"),)] == 1
    assert found["brs_studies_retried_total", (("cause", "pacs-busy"),)] == 1
    assert found["brs_studies_parked_total", (("cause", "incomplete"),)] == 1
    assert found["brs_wait_seconds_count", ()] == 1 + 1 + 1


def test_a_rerun_that_finds_its_result_has_spent_nothing(
    service: Service, client: FlaskClient
) -> None:
    job_id = service.done("a")
    samples(client)
    service.queue.rerun(job_id)
    job = service.queue.take("gpu-0")
    assert job is not None
    job.done("publish")
    found = samples(client)
    assert found["brs_studies_finished_total", (("verdict", "publish"),)] == 2
    assert found["brs_energy_joules_total", ()] == pytest.approx(0.0004 * 3.6e6)


def test_no_label_is_taken_from_a_file(service: Service, client: FlaskClient) -> None:
    found = result() | {"verdict": study_uid("x"), "timings_s": {study_uid("y"): 1.0}}
    job = service.taken("a")
    service.finish(job, found, sent="MR3T")
    text = client.get("/metrics").get_data(as_text=True)
    assert study_uid("x") not in text
    assert study_uid("y") not in text
    assert "MR3T" not in text
    assert 'brs_studies_finished_total{verdict="other"} 1.0' in text


def test_an_unknown_state_has_no_metric(service: Service) -> None:
    with service.client(destinations=("later",)) as client:
        assert not [name for name, _ in samples(client) if name == "brs_destination_up"]


# server


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_the_app_is_served_on_a_free_port_of_this_machine(
    service: Service, address: str
) -> None:
    config = HttpConfig(address=address, port=0, threads=2)
    with StatusServer(service.app(config), config) as server:
        connection = HTTPConnection(address, server.port, timeout=10)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert answer.read() == b'{"alive":true}\n'
        assert answer.getheader("Server") is None
        with pytest.raises(ConfigError, match="Address already in use"):
            StatusServer(service.app(config), replace(config, port=server.port))
        closing = time.monotonic()
    # The browser's end of the connection is still open: it must not hold up the stop.
    assert time.monotonic() - closing < FINISH_S
    connection.close()
    with pytest.raises(OSError, match="refused"):
        connection.request("GET", "/healthz")
