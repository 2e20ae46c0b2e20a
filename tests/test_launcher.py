"""The test launcher behaves as the Container Service does, traps included."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from launcher import ForbiddenError, Launch, Launcher
from lint_inputs import changed
from resolution import Resolution, Resolved, UnresolvedError, XnatObject
from standin.server import StandIn

from plugin.container.reader import read_command

WRITES = """
import os, pathlib
results = pathlib.Path(os.environ["RESULTS"])
(results / "deep").mkdir(parents=True, exist_ok=True)
(results / "a.txt").write_text(os.environ["HOW"])
(results / "deep" / "b.txt").write_text("b")
(results.parent / "junk.txt").write_text("not an output")
print("done", flush=True)
"""
TALKS = """
import os, requests
auth = (os.environ["XNAT_USER"], os.environ["XNAT_PASS"])
print(requests.get(os.environ["XNAT_HOST"] + "/xapi/users/username", auth=auth).text)
"""
OUTPUT_PATH = ("environment-variables.RESULTS", "/output/results")
TARGET = XnatObject(
    "/archive/experiments/E1", Path("/x"), {"id": "E1", "project-id": "P (1)"}
)
Program = Callable[..., Launcher]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn.start(tmp_path / "xnat") as started:
        started.add_project("BREAST", owners=["alice"], collaborators=["carol"])
        started.add_user("mallory", "mallory")
        yield started


@pytest.fixture
def session(server: StandIn) -> str:
    key = server.add_session("BREAST", subject="S1", label="MR1")
    server.add_scan(key, "1", files={"1.dcm": b"image"})
    return key


@pytest.fixture
def program(server: StandIn, tmp_path: Path) -> Program:
    """Return a function that installs a program called demo, and its command."""

    def installed(code: str, *edits: tuple[str, Any]) -> Launcher:
        image = tmp_path / "bin"
        image.mkdir(exist_ok=True)
        script = image / "demo"
        script.write_text(f"#!{sys.executable}\n{code}")
        script.chmod(0o755)
        command = tmp_path / "command.json"
        command.write_text(changed(OUTPUT_PATH, *edits))
        return Launcher(server, command, image=image)

    return installed


def stored(server: StandIn, session: str) -> dict[str, bytes]:
    """Return the files of the session's resource, as its directory has them."""
    folder = server.directory(session) / "RESOURCES" / "DEMO"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".xml"
    }


def on_session(launcher: Launcher, session: str, **more: Any) -> Launch:
    return launcher.launch("on-session", user="alice", session=session, **more)


def test_outputs_are_uploaded_whatever_the_glob_says(
    program: Program, server: StandIn, session: str
) -> None:
    launcher = program(WRITES, ("outputs.0.glob", "*.none"))
    ended = on_session(launcher, session, inputs={"mode": "b"})
    assert (ended.status, ended.exit_code, ended.stdout) == ("Complete", 0, "done\n")
    assert ended.files_uploaded == ("DEMO/a.txt", "DEMO/deep/b.txt")
    assert stored(server, session) == {"a.txt": b"b", "deep/b.txt": b"b"}


def test_a_second_launch_replaces_the_same_names(
    program: Program, server: StandIn, session: str
) -> None:
    launcher = program(WRITES)
    on_session(launcher, session, inputs={"mode": "a"})
    on_session(launcher, session, inputs={"mode": "b"})
    assert stored(server, session) == {"a.txt": b"b", "deep/b.txt": b"b"}


def test_a_failed_container_loses_its_outputs_and_keeps_its_logs(
    program: Program, server: StandIn, session: str
) -> None:
    launcher = program(WRITES + "import sys; sys.exit('no pair')")
    ended = on_session(launcher, session)
    assert (ended.status, ended.exit_code) == ("Failed", 1)
    assert ended.files_uploaded == ()
    assert stored(server, session) == {}
    assert ended.folder is not None
    assert (ended.folder / "LOGS" / "stderr.log").read_text() == "no pair\n"


@pytest.mark.parametrize(
    ("required", "status"), [(True, "Failed (Upload)"), (False, "Complete")]
)
def test_an_output_that_is_not_there_fails_only_if_required(
    program: Program, session: str, *, required: bool, status: str
) -> None:
    launcher = program("", ("outputs.0.required", required))
    assert on_session(launcher, session).status == status


def test_a_container_that_never_ends_is_killed(program: Program, session: str) -> None:
    launcher = program("import time; time.sleep(60)")
    ended = on_session(launcher, session, timeout_s=0.5)
    assert (ended.status, ended.exit_code) == ("Killed", None)


def test_the_token_is_the_users_and_ends_with_the_container(
    program: Program, server: StandIn, session: str
) -> None:
    ended = on_session(program(TALKS), session)
    assert ended.stdout == "alice\n"
    login = (ended.env["XNAT_USER"], ended.env["XNAT_PASS"])
    late = requests.get(f"{server.url}/data/projects", auth=login, timeout=10)
    assert late.status_code == 401
    assert server.open_sessions == 0


def test_the_container_sees_the_wrapper_the_session_and_its_folders(
    program: Program, server: StandIn, session: str
) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    mounted = ("environment-variables.IMAGES", "/input/SCANS")
    ended = on_session(program(code, mounted), session)
    seen = json.loads(ended.stdout)
    assert seen["WHO"] == "on-session"
    assert seen["WHERE"] == session
    assert seen["IMAGES"] == str(server.directory(session) / "SCANS")
    assert seen["XNAT_WORKFLOW_ID"]
    assert Path(seen["RESULTS"]).parent.is_dir()
    assert "HOME" not in seen, "the tester's own environment stays outside"


@pytest.mark.parametrize("user", ["carol", "mallory"])
def test_who_may_not_edit_is_refused_before_anything_runs(
    program: Program, server: StandIn, session: str, user: str
) -> None:
    with pytest.raises(ForbiddenError):
        program(WRITES).launch("on-session", user=user, session=session)
    assert not (server.state.root / "launches").exists()


def test_a_value_with_a_shell_character_starts_nothing(
    program: Program, server: StandIn, session: str
) -> None:
    ended = on_session(program(WRITES), session, inputs={"mode": "a; b"})
    assert ended.status == "Failed (Command resolution)"
    assert ended.exit_code is None
    assert 'Input "mode"' in ended.stderr
    assert not (server.state.root / "launches").exists()


def test_changing_an_image_is_found_out(program: Program, session: str) -> None:
    code = """
import os, pathlib
next(pathlib.Path(os.environ["IMAGES"]).rglob("*.dcm")).write_bytes(b"other")
"""
    launcher = program(code, ("environment-variables.IMAGES", "/input"))
    with pytest.raises(AssertionError, match="images were changed"):
        on_session(launcher, session)


def test_writing_outside_the_mounts_is_found_out(
    program: Program, session: str
) -> None:
    with pytest.raises(AssertionError, match="outside the mounts"):
        on_session(program("open('left', 'w').close()"), session)


def test_a_project_takes_outputs_too(program: Program, server: StandIn) -> None:
    on_project = {
        "name": "on-project",
        "external-inputs": [
            {"name": "project", "type": "Project", "load-children": False}
        ],
        "derived-inputs": [
            {
                "name": "place",
                "derived-from-wrapper-input": "project",
                "derived-from-xnat-object-property": "id",
            }
        ],
        "output-handlers": [
            {
                "name": "keep",
                "accepts-command-output": "files",
                "as-a-child-of": "project",
                "label": "DEMO",
            }
        ],
    }
    launcher = program(WRITES, ("xnat.1", on_project))
    ended = launcher.launch("on-project", user="alice", project="BREAST")
    assert (ended.status, ended.env["WHERE"]) == ("Complete", "BREAST")
    listing = f"{server.url}/data/projects/BREAST/resources/DEMO/files"
    rows = requests.get(listing, auth=("alice", "alice"), timeout=10).json()
    names = {row["Name"] for row in rows["ResultSet"]["Result"]}
    assert names == {"a.txt", "b.txt"}


def resolved(
    *edits: tuple[str, Any], given: Mapping[str, str] | None = None
) -> Resolved:
    raw = json.loads(changed(*edits))
    command = read_command(raw, [])
    return Resolution(command, raw, "on-session", TARGET).resolve(given or {})


def without_level() -> tuple[str, Any]:
    return ("xnat.0.derived-inputs.1.derived-from-xnat-object-property", "id")


def test_a_derived_value_with_a_parenthesis_fails_the_launch() -> None:
    with pytest.raises(UnresolvedError, match=r"illegal string \"\(\""):
        resolved()


def test_a_derived_input_without_a_value_fails_even_if_not_required() -> None:
    with pytest.raises(UnresolvedError, match="unique, resolved value"):
        resolved(
            without_level(),
            ("xnat.0.derived-inputs.0.derived-from-xnat-object-property", "scans"),
            ("xnat.0.derived-inputs.0.required", False),
        )


def test_a_key_without_input_stays_and_a_blank_value_is_empty() -> None:
    found = resolved(
        without_level(),
        ("environment-variables.ODD", "#nothing#"),
        ("inputs.0", {"name": "note"}),
        ("environment-variables.NOTE", "<#note#>"),
        ("environment-variables.PATHS", "^wrapper:$.label^"),
    ).environment
    assert (found["ODD"], found["NOTE"]) == ("#nothing#", "<>")
    assert found["PATHS"] == "^wrapper:$.label^"


def test_a_value_that_holds_a_key_depends_on_the_order() -> None:
    with pytest.raises(UnresolvedError, match="depends on the order"):
        resolved(without_level(), given={"mode": "#place#"})


def test_a_required_question_without_answer_fails_the_launch() -> None:
    with pytest.raises(UnresolvedError, match="Missing values for required input"):
        resolved(without_level(), ("inputs.0", {"name": "must", "required": True}))


def test_flags_and_truth_values_are_for_the_command_line() -> None:
    question = {
        "name": "fast",
        "type": "boolean",
        "command-line-flag": "--speed",
        "command-line-separator": "=",
        "true-value": "high",
        "false-value": "low",
    }
    line = ("command-line", "demo #fast#")
    edits = (without_level(), ("inputs.0", question), line)
    assert resolved(*edits, given={"fast": "true"}).command_line == "demo --speed=high"
    assert resolved(*edits, given={"fast": ""}).command_line == "demo --speed=low"
