"""What the doctor finds on the stand-in, in a folder, and on this machine."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from nvml_stub import Gpu, NvmlStub
from sessions import archive_with, write_pair
from standin.server import Fault, StandIn
from synthetic import SECRETS

from model.power import survey
from plugin.check import Answer, Check, count, examine, failed, ok, warning
from plugin.commands.xnat import doctor
from plugin.doctor import examination
from plugin.errors import ArchiveError, ConfigError
from plugin.machine_checks import GIB, NEEDED_GIB, clock_state, machine_checks
from plugin.xnat.checks import Examined, now, xnat_checks
from plugin.xnat.client import Patience
from plugin.xnat.target import XnatTarget

pytestmark = pytest.mark.usefixtures("discreet")

QUICK = Patience(attempts=2, first_wait_s=0.01, longest_wait_s=0.02, read_s=5.0)
SERVER_CHECKS = [
    *("login", "version", "container-service", "project", "roi", "sessions"),
    *("write", "scan-uids", "clock", "tls"),
]
MACHINE_CHECKS = ["disk", "gpu", "time-sync"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn.start(tmp_path / "xnat") as server:
        server.add_project(
            "BREAST", owners=("olga",), members=("mary",), collaborators=("carl",)
        )
        server.add_project("OTHER")
        yield server


@pytest.fixture
def session_id(server: StandIn, tmp_path: Path) -> str:
    write_pair(tmp_path / "source")
    return server.add_session(
        "BREAST", subject="S1", label="MR1", dicom=tmp_path / "source"
    )


def ask(
    server: StandIn,
    user: str = "olga",
    *,
    secret: str = "",
    project: str = "BREAST",
    clock: Callable[[], datetime] = now,
) -> dict[str, Answer]:
    target = XnatTarget(server.url, project, user, secret or user)
    examined = Examined(target, QUICK)
    try:
        return {answer.name: answer for answer in examine(xnat_checks(examined, clock))}
    finally:
        examined.close()


def states(answers: dict[str, Answer]) -> dict[str, str]:
    return {name: answer.state for name, answer in answers.items()}


def test_a_healthy_project_is_well_but_for_plain_http(
    server: StandIn, session_id: str
) -> None:
    found = ask(server)
    assert list(found) == SERVER_CHECKS
    assert states(found) == dict.fromkeys(SERVER_CHECKS, "ok") | {"tls": "warning"}
    assert found["login"].found == "logged in as olga"
    assert found["sessions"].found == "1 MR sessions"
    assert found["scan-uids"].found == f"session {session_id}: 2 scans, all with a UID"
    assert server.open_sessions == 0


def test_an_alias_token_logs_in_as_its_user(server: StandIn, session_id: str) -> None:
    alias, secret = server.issue_token("mary")
    assert ask(server, alias, secret=secret)["login"].found == "logged in as mary"


def test_a_wrong_password_fails_what_needs_a_login_and_asks_it_once(
    server: StandIn,
) -> None:
    found = ask(server, secret="wrong-secret")
    assert found["login"].state == "failed"
    assert "the login was refused" in found["login"].found
    rest = [name for name in SERVER_CHECKS if name not in ("login", "tls")]
    assert {found[name].found for name in rest} == {"not checked"}
    assert {found[name].mend for name in rest} == {"mend 'login' first"}
    assert "wrong-secret" not in "".join(answer.line() for answer in found.values())


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("1.8.0", "ok"),
        ("1.10.1", "ok"),
        ("2.0", "ok"),
        ("1.7.6", "failed"),
        ("dev", "warning"),
    ],
)
def test_the_version_has_to_be_1_8(server: StandIn, version: str, state: str) -> None:
    server.state.version = version
    assert ask(server)["version"].state == state


def test_missing_plugins_are_warnings_with_a_mend(
    server: StandIn, session_id: str
) -> None:
    server.plugins.clear()
    found = ask(server)
    assert found["container-service"].state == found["roi"].state == "warning"
    assert "administrator" in found["container-service"].mend
    assert found["write"].state == "ok"


def test_a_collaborator_may_not_write_and_nothing_is_created(
    server: StandIn, session_id: str
) -> None:
    found = ask(server, "carl")
    assert found["project"].state == "ok"
    assert found["roi"].state == "warning"
    assert found["write"].state == "failed"
    assert "member" in found["write"].mend
    assert server.state.archive.project("BREAST").resources == {}


def test_who_may_edit_sessions_but_not_the_project_is_warned(
    server: StandIn, session_id: str
) -> None:
    found = ask(server, "mary")["write"]
    assert found.state == "warning"
    assert "rank, train" in found.mend


def test_the_question_for_writing_changes_no_session_and_only_makes_our_resource(
    server: StandIn, session_id: str
) -> None:
    folder = server.directory(session_id)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    ask(server)
    ask(server)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert server.state.archive.experiment(session_id).resources == {}
    resources = server.state.archive.project("BREAST").resources.values()
    assert [resource.label for resource in resources] == ["BRS"]
    assert [resource.files for resource in resources] == [{}]


def test_an_empty_project_is_a_warning_and_the_project_alone_is_tried(
    server: StandIn,
) -> None:
    found = ask(server)
    assert found["sessions"].state == found["scan-uids"].state == "warning"
    assert found["write"].found == "the project (no session tried) are yours to edit"
    assert ask(server, "carl")["write"].state == "failed"


def test_a_project_of_others_is_not_readable(server: StandIn) -> None:
    found = ask(server, project="OTHER")
    assert found["project"].state == "failed"
    assert found["write"].found == "not checked"
    assert found["write"].mend == "mend 'project' first"
    assert found["clock"].state == "ok"


def test_a_scan_without_uid_is_a_warning(server: StandIn) -> None:
    session = server.add_session("BREAST", subject="S1", label="MR1")
    server.add_scan(session, "3", files={"a.dcm": b"x"})
    server.add_scan(session, "4", files={"a.dcm": b"x"}, uid="1.2.3")
    found = ask(server)["scan-uids"]
    assert found.state == "warning"
    assert "2 scans, 1 without a UID" in found.found


def test_a_shared_session_is_not_taken_for_the_projects_own(server: StandIn) -> None:
    session = server.add_session("OTHER", subject="S1", label="MR1")
    server.share_session(session, "BREAST")
    found = ask(server)
    assert found["sessions"].found == "1 MR sessions"
    assert found["scan-uids"].found == "no session of the project's own"


@pytest.mark.parametrize(("apart_s", "state"), [(-55, "ok"), (90, "warning")])
def test_a_clock_more_than_a_minute_apart_is_a_warning(
    server: StandIn, apart_s: int, state: str
) -> None:
    found = ask(server, clock=lambda: datetime.now(UTC) + timedelta(seconds=apart_s))
    assert found["clock"].state == state


def test_a_server_that_is_not_there_fails_the_login(server: StandIn) -> None:
    target = XnatTarget("http://127.0.0.1:9", "BREAST", "mary", "mary")
    found = next(examine(xnat_checks(Examined(target, QUICK))))
    assert (found.name, found.state) == ("login", "failed")
    assert "network" in found.mend


def test_a_broken_answer_fails_one_check_and_the_others_go_on(
    server: StandIn, session_id: str
) -> None:
    server.faults.append(Fault("/xapi/siteConfig/buildInfo", html_login=True, times=9))
    found = ask(server)
    assert found["version"].state == "failed"
    assert found["write"].state == "ok"


def test_https_is_well() -> None:
    target = XnatTarget("https://xnat.example.org", "BREAST", "mary", "mary")
    checks = {check.name: check for check in xnat_checks(Examined(target))}
    assert checks["tls"].run().state == "ok"


def lines_of(*checks: Check) -> list[str]:
    return [answer.line() for answer in examine(checks)]


def test_an_answer_is_one_line_with_its_mend() -> None:
    assert lines_of(
        Check("a", lambda: ok("fine")),
        Check("b", lambda: warning("so so", "better it")),
        Check("c", lambda: failed("broken", "mend it")),
    ) == ["ok a: fine", "warning b: so so -> better it", "failed c: broken -> mend it"]


def test_an_error_of_ours_is_a_failed_check() -> None:
    def run() -> Any:
        raise ArchiveError("the disk", found="full", needed="room", mend="make room")

    assert lines_of(Check("a", run)) == ["failed a: the disk: full -> make room"]


def test_what_needs_a_failed_check_is_not_asked_and_a_warning_is_enough() -> None:
    asked = []

    def run() -> Any:
        asked.append("asked")
        return ok("fine")

    found = list(
        examine(
            [
                Check("a", lambda: failed("no", "mend it")),
                Check("b", run, needs=("a",)),
                Check("c", lambda: warning("so so", "better it")),
                Check("d", run, needs=("c", "b")),
                Check("e", run, needs=("c",)),
            ]
        )
    )
    assert [answer.state for answer in found] == [
        *("failed", "failed", "warning", "failed", "ok")
    ]
    assert asked == ["asked"]
    assert count(found) == {"ok": 1, "warning": 1, "failed": 3}


@pytest.mark.parametrize(
    ("free_gib", "state"), [(NEEDED_GIB, "ok"), (NEEDED_GIB - 0.1, "failed")]
)
def test_the_disk_has_to_take_two_copies_of_a_session(
    tmp_path: Path, free_gib: float, state: str
) -> None:
    checks = machine_checks(tmp_path / "new", free=lambda _: int(free_gib * GIB))
    found = checks[0].run()
    assert found.state == state
    assert "4 GiB needed" in found.found
    assert "new" in found.found


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    found = machine_checks(tmp_path / "not" / "yet")[0].run()
    assert "GiB free" in found.found


@pytest.mark.parametrize(
    ("nvml", "state", "said"),
    [
        (NvmlStub([Gpu()]), "ok", "energy counter read"),
        (NvmlStub([Gpu(energy_mj=None)]), "warning", "without an energy counter: 1"),
        (NvmlStub([Gpu(mig=1)]), "warning", "MIG is on"),
        (NvmlStub([Gpu("GPU-1", mig=1), Gpu()]), "warning", "not measured: GPU-1: MIG"),
        (NvmlStub(no_library=True), "warning", "none that can be measured"),
        (NvmlStub(), "warning", "none that can be measured"),
    ],
)
def test_no_gpu_and_no_energy_counter_are_warnings(
    nvml: NvmlStub, state: str, said: str
) -> None:
    checks = machine_checks(Path(), meters=lambda: survey(powercap=None, nvml=nvml))
    found = checks[1].run()
    assert found.state == state
    assert said in found.found


@pytest.mark.parametrize(
    ("kernel", "state"), [(0, "ok"), (4, "ok"), (5, "warning"), (None, "warning")]
)
def test_a_clock_that_nothing_keeps_right_is_a_warning(
    kernel: int | None, state: str
) -> None:
    checks = machine_checks(Path(), clock=lambda: kernel)
    assert checks[2].run().state == state


def test_the_kernel_of_this_machine_is_asked() -> None:
    assert clock_state() in (None, 0, 1, 2, 3, 4, 5)


def folder_answers(root: Path, work: Path) -> dict[str, Answer]:
    found = examination(str(root), work, {})
    return {answer.name: answer for answer in examine(found.checks)}


def test_a_folder_of_sessions_is_well(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "a", "b")
    before = sorted(archive.root.rglob("*"))
    found = folder_answers(archive.root, tmp_path)
    assert list(found) == ["folder", "write", "sessions", *MACHINE_CHECKS]
    assert found["sessions"].found == "2 sessions"
    assert found["write"].state == found["folder"].state == "ok"
    assert sorted(archive.root.rglob("*")) == before


def test_a_missing_folder_fails_and_an_empty_one_is_a_warning(tmp_path: Path) -> None:
    found = folder_answers(tmp_path / "no", tmp_path)
    assert found["folder"].state == "failed"
    assert found["write"].found == "not checked"
    (tmp_path / "empty").mkdir()
    assert folder_answers(tmp_path / "empty", tmp_path)["sessions"].state == "warning"


def test_results_that_cannot_be_written_fail(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "a")
    # Root may write everywhere but there.
    (archive.root / "BRS").symlink_to("/proc/self")
    found = folder_answers(archive.root, tmp_path)["write"]
    assert found.state == "failed"
    assert "right to write" in found.mend


def test_a_scheme_without_checks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checks"):
        examination("ftp://host/folder", tmp_path, {})


def run(uri: str, work: Path, **env: str) -> Result:
    arguments = ["--archive", uri, "--work", str(work)]
    return CliRunner(env=env).invoke(doctor, arguments)


def test_the_command_prints_one_line_per_check_and_one_of_json(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    login = {"XNAT_USER": "mary", "XNAT_PASS": "mary"}
    found = run(f"xnat+{server.url}/BREAST", tmp_path, **login)
    result = json.loads(found.stdout.splitlines()[-1])
    said = found.stderr.splitlines()
    assert found.exit_code == 0
    assert [line.split(":")[0].split()[1] for line in said] == [
        *(*SERVER_CHECKS, *MACHINE_CHECKS)
    ]
    assert result["counts"]["failed"] == 0
    assert sum(result["counts"].values()) == len(result["checks"]) == len(said)
    assert result["checks"][0].keys() == {"name", "state", "found", "mend"}
    assert server.open_sessions == 0


def test_a_failed_check_ends_with_exit_code_7_and_no_secret_is_shown(
    server: StandIn, session_id: str, tmp_path: Path
) -> None:
    login = {"XNAT_USER": "carl", "XNAT_PASS": "carl-has-a-secret"}
    server.add_user("carl", "carl-has-a-secret")
    found = run(f"xnat+{server.url}/BREAST", tmp_path, **login)
    assert found.exit_code == 7
    assert json.loads(found.stdout.splitlines()[-1])["counts"]["failed"] == 1
    for secret in ("carl-has-a-secret", *SECRETS):
        assert secret not in found.output


def test_the_doctor_of_a_folder_ends_with_0(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "a")
    found = run(str(archive.root), tmp_path)
    assert found.exit_code == 0
    assert found.stderr.startswith("ok folder: ")
