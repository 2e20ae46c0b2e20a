"""The service beside real senders and a real archive, as its own processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pydicom
import pytest
from peers import dicom_errors
from pynetdicom import AE
from scp_peers import PATIENT_ID
from service import (
    Running,
    Study,
    await_that,
    destination_row,
    late_series,
    running,
    settings,
    small_study,
)
from storage_peers import Program, dcmqrscp

from plugin.jobs import State

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@dataclass(frozen=True)
class Hospital:
    """A running service whose masks go to a running archive."""

    service: Running
    pacs: Program
    folder: Path

    def study(self, name: str) -> Study:
        return small_study(self.folder, name)

    def masks(self) -> list[pydicom.Dataset]:
        """Return the headers of all that the archive was given."""
        return [
            pydicom.dcmread(path, stop_before_pixels=True)
            for path in sorted(self.pacs.files.glob("*.dcm"))
        ]

    def masks_of(self, study: Study) -> list[pydicom.Dataset]:
        uid = pydicom.dcmread(study.pre[0]).StudyInstanceUID
        return [mask for mask in self.masks() if uid == mask.StudyInstanceUID]


@pytest.fixture(scope="module")
def hospital(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path
) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("hospital")
    with dcmqrscp(folder / "pacs") as pacs:
        config = settings(folder, checkpoint, http="port = 0")
        config.write_text(config.read_text() + destination_row(pacs.port))
        with running(config, folder / "work") as service:
            yield Hospital(service, pacs, folder)


def test_a_study_that_is_sent_has_its_mask_in_the_archive(hospital: Hospital) -> None:
    study = hospital.study("first")
    assert hospital.service.store(study.files).code == 0
    hospital.service.await_state(study.key, State.DONE)
    (mask,) = hospital.masks_of(study)
    (series,) = mask.ReferencedSeriesSequence
    sources = {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence}
    assert sources == {pydicom.dcmread(path).SOPInstanceUID for path in study.pre}
    (path,) = hospital.service.work.glob("done/*/result/segmentation.dcm")
    assert dicom_errors(path) == []


def test_senders_at_once_interleaved_and_repeated_get_one_mask_a_study(
    hospital: Hospital,
) -> None:
    studies = [hospital.study(f"at once {n}") for n in range(3)]
    mixed = [f for both in zip(*(s.files for s in studies), strict=True) for f in both]
    orders = [
        (studies[0].files, "storescu"),
        (studies[1].files, "dcmsend"),
        (tuple(mixed), "dcmsend"),
        (studies[0].files[::-1], "storescu"),
    ]
    codes: list[int] = []

    def sends(files: tuple[Path, ...], program: str) -> None:
        codes.append(hospital.service.store(files, program=program).code)

    threads = [Thread(target=sends, args=order) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0, 0]
    for study in studies:
        hospital.service.await_state(study.key, State.DONE)
    hospital.service.store(mixed, program="dcmsend")
    time.sleep(1)
    assert [len(hospital.masks_of(study)) for study in studies] == [1, 1, 1]
    assert [hospital.service.state(s.key) for s in studies] == [State.DONE] * 3


def test_a_transfer_that_is_broken_off_and_repeated_gives_one_mask(
    hospital: Hospital,
) -> None:
    study = hospital.study("broken off")
    entity = AE("PACS")
    dataset = pydicom.dcmread(study.pre[0])
    entity.add_requested_context(dataset.SOPClassUID)
    association = entity.associate("127.0.0.1", hospital.service.port, ae_title="BRS")
    for path in (*study.pre, study.post[0]):
        assert association.send_c_store(path).Status == 0
    association.abort()
    hospital.service.store(study.files)
    hospital.service.await_state(study.key, State.DONE)
    assert len(hospital.masks_of(study)) == 1


def test_a_late_series_re_opens_a_study_and_sends_no_second_mask(
    hospital: Hospital,
) -> None:
    study = hospital.study("late")
    hospital.service.store(study.files)
    hospital.service.await_state(study.key, State.DONE)
    hospital.service.store(late_series(hospital.folder, "late"))
    kinds = ["received", "enqueued", "taken", "progress", "progress", "done"]
    await_that(
        lambda: (
            [e.kind.value for e in hospital.service.events(study.key)].count("done")
            == 2
        ),
        "the second run",
    )
    events = [e.kind.value for e in hospital.service.events(study.key)]
    assert events[: len(kinds)] == kinds
    assert "late" in events
    assert len(hospital.masks_of(study)) == 1


def test_a_study_without_its_second_series_is_parked_until_that_comes(
    hospital: Hospital,
) -> None:
    study = hospital.study("half")
    hospital.service.store(study.pre)
    hospital.service.await_state(study.key, State.FAILED)
    event = hospital.service.events(study.key)[-1]
    assert (event.kind.value, event.cause) == ("parked", "one-series")
    assert "only one time point" in event.text
    hospital.service.store(study.post)
    hospital.service.await_state(study.key, State.DONE)
    assert len(hospital.masks_of(study)) == 1


def test_our_own_mask_that_comes_back_starts_nothing(hospital: Hospital) -> None:
    study = hospital.study("comes back")
    hospital.service.store(study.files)
    hospital.service.await_state(study.key, State.DONE)
    before = hospital.service.events(study.key)
    masks = sorted(hospital.pacs.files.glob("*.dcm"))
    assert hospital.service.store(masks, program="dcmsend").code == 0
    time.sleep(1)
    assert hospital.service.events(study.key) == before
    assert hospital.service.queue.depth().incoming == 0


def test_the_pages_and_the_health_file_tell_of_it(hospital: Hospital) -> None:
    await_that(lambda: bool(hospital.service.health["destinations"]), "an echo")
    health = hospital.service.health
    assert health["destinations"]["pacs"]["reachable"]
    assert [w["name"] for w in health["workers"]] == ["worker-1"]
    assert health["workers"][0]["state"] in ("idle", "busy")
    url = f"http://127.0.0.1:{hospital.service.http_port}"
    with urllib.request.urlopen(f"{url}/healthz", timeout=20) as answer:
        assert answer.status == 200


def test_nothing_is_said_of_any_patient(hospital: Hospital) -> None:
    study = hospital.study("private")
    hospital.service.store(study.files)
    hospital.service.await_state(study.key, State.DONE)
    texts = [hospital.service.said, json.dumps(hospital.service.health)]
    texts += [p.read_text() for p in hospital.service.work.rglob("*.json")]
    assert not [t for t in texts if "PLANTED" in t or PATIENT_ID in t]


def test_a_second_service_on_the_same_folder_is_refused(hospital: Hospital) -> None:
    second = Running(hospital.folder / "brs.toml", hospital.service.work)
    output, _ = second.process.communicate(timeout=60)
    assert second.process.returncode == 8
    assert "another listener that writes there" in json.loads(output)["error"]


def test_sigterm_lets_the_running_job_end_and_exits_0(
    tmp_path: Path, checkpoint: Path
) -> None:
    config = settings(tmp_path, checkpoint)
    words = ("-m", "plugin.cli", "serve", "--config", str(config))
    service = Running(config, tmp_path / "work", words).ready()
    study = small_study(tmp_path, "one")
    service.store(study.files)
    await_that(
        lambda: service.state(study.key) in (State.RUNNING, State.DONE), "the job"
    )
    code, said = service.stop()
    assert code == 0
    assert said == {
        "instances": {"new": 6},
        "incoming": 0,
        "queued": 0,
        "running": 0,
        "done": 1,
        "failed": 0,
    }
    assert service.said.splitlines()[-1] == "stopping"


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A destination that says nothing: a job that sends there does not end."""
    with socket.create_server(("127.0.0.1", 0)) as destination:
        yield destination


def test_kills_of_every_process_lose_nothing(
    tmp_path: Path, checkpoint: Path, silent: socket.socket
) -> None:
    config = settings(tmp_path, checkpoint)
    row = destination_row(silent.getsockname()[1])
    config.write_text(config.read_text() + row)
    first, second = (small_study(tmp_path, name) for name in ("one", "two"))
    with running(config, tmp_path / "work") as service:
        service.store(first.files)
        service.await_state(first.key, State.RUNNING)
        (worker,) = service.health["workers"]
        os.kill(worker["pid"], signal.SIGKILL)
        await_that(lambda: worker_pid(service) not in (None, worker["pid"]), "another")
        await_that(lambda: len(taken(service, first)) >= 2, "a second run")
        os.kill(parent_of(worker_pid(service)), signal.SIGKILL)
        os.kill(worker_pid(service) or 0, signal.SIGKILL)
        service.store(second.files)
        await_that(lambda: len(taken(service, first)) >= 3, "a third run")
        last = worker_pid(service)
        service.kill()
        await_that(lambda: not Path(f"/proc/{last}").exists(), "the orphan's end")
    kinds = [event.kind.value for event in service.events(first.key)]
    # On a slow machine the silent archive's minute may end a run before a kill does.
    assert kinds.count("recovered") + kinds.count("retry") >= 2
    assert "recovered" in kinds
    silent.close()
    config.write_text(config.read_text().replace(row, ""))
    with running(config, tmp_path / "work") as service:
        for study in (first, second):
            service.await_state(study.key, State.DONE)
        assert service.stop(signal.SIGTERM, signal.SIGTERM)[0] == 0


def worker_pid(service: Running) -> int | None:
    pid: int | None = service.health["workers"][0]["pid"]
    return pid


def parent_of(pid: int | None) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def taken(service: Running, study: Study) -> list[str]:
    events = service.events(study.key)
    return [event.text for event in events if event.kind.value == "taken"]


def test_the_second_sigterm_hands_the_job_back_and_exits_at_once(
    tmp_path: Path, checkpoint: Path, silent: socket.socket
) -> None:
    study = small_study(tmp_path, "one")
    config = settings(tmp_path, checkpoint, top="grace_s = 600")
    row = destination_row(silent.getsockname()[1])
    config.write_text(config.read_text() + row)
    with running(config, tmp_path / "work") as service:
        service.store(study.files)
        service.await_state(study.key, State.RUNNING)
        started_s = time.monotonic()
        code, said = service.stop(signal.SIGTERM, signal.SIGTERM)
    assert time.monotonic() - started_s < 30
    assert (code, said["queued"], said["running"]) == (0, 1, 0)
    # A worker that is too slow to hand it back is killed, and its job recovered.
    last = service.events(study.key)[-1].kind.value
    assert last == ("recovered" if "had to be killed" in service.said else "released")


@pytest.mark.parametrize(
    ("changed", "code", "error"),
    [
        ("port = 0\nprot = 1", 8, "listen.prot: found an unknown key"),
        ("port = 0", 8, "no.safetensors'; needed a .safetensors file"),
    ],
    ids=["key", "weights"],
)
def test_a_setting_that_cannot_work_ends_the_service_with_its_mend(
    tmp_path: Path, changed: str, code: int, error: str
) -> None:
    config = settings(tmp_path, tmp_path / "no.safetensors")
    config.write_text(config.read_text().replace("port = 0", changed))
    run = subprocess.run(
        [sys.executable, "-m", "plugin.service", "0", config],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == code
    last = json.loads(run.stdout.splitlines()[-1])
    assert last["exit_code"] == code
    assert error in last["error"]
    assert error in run.stderr
    assert "ready" not in run.stderr
