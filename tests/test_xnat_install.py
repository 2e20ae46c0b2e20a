"""Registering, enabling and subscribing on the stand-in: by role, and once more."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from standin.server import Fault, StandIn

from plugin.commands.xnat import xnat_install
from plugin.errors import ArchiveError, ConfigError, LoginError
from plugin.xnat.client import Patience
from plugin.xnat.registration import covers, replacement
from plugin.xnat.target import XnatTarget
from plugin.xnat_archive import XnatArchive
from plugin.xnat_install import Installation, Step, read_command

pytestmark = pytest.mark.usefixtures("discreet")

ROOT = Path(__file__).parent.parent
COMMAND: dict[str, Any] = json.loads((ROOT / "command.json").read_text("utf-8"))
WRAPPERS = [wrapper["name"] for wrapper in COMMAND["xnat"]]
QUICK = Patience(attempts=2, first_wait_s=0.01, longest_wait_s=0.02, read_s=5.0)
CHANGES = ("POST", "PUT", "DELETE")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn.start(tmp_path / "xnat") as server:
        server.add_project("BREAST", owners=("olga",), members=("mary",))
        server.add_project("OTHER", owners=("olga",))
        yield server


def install(
    server: StandIn,
    user: str = "admin",
    *,
    command: dict[str, Any] = COMMAND,
    project: str = "BREAST",
    events: bool = False,
    dry_run: bool = False,
) -> list[Step]:
    archive = XnatArchive(XnatTarget(server.url, project, user, user), QUICK)
    try:
        work = Installation(archive.client, project, command, dry_run=dry_run)
        return list(work.steps(events=events))
    finally:
        archive.close()


def outcomes(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.outcome for step in steps}


def changes(server: StandIn) -> list[tuple[str, str]]:
    """Return the requests that change something; a login and its end do not."""
    return [
        (each.method, each.path)
        for each in server.requests
        if each.method in CHANGES
        and not each.path.startswith(("/data/services/auth", "/data/JSESSION"))
    ]


def changed(**values: Any) -> dict[str, Any]:
    return {**copy.deepcopy(COMMAND), **values}


def stored(server: StandIn) -> dict[str, Any]:
    (command,) = server.state.commands.by_id.values()
    return command


def subscriptions(server: StandIn) -> list[dict[str, Any]]:
    return [each.body for each in server.state.events.subscriptions.values()]


def test_an_administrator_registers_and_enables_every_wrapper(server: StandIn) -> None:
    found = outcomes(install(server))
    assert found["command"] == "created"
    commands = server.state.commands
    assert covers(stored(server), COMMAND)
    for name in WRAPPERS:
        assert found[f"enable-site {name}"] == "updated"
        assert found[f"enable-project {name}"] == "updated"
        assert commands.is_enabled("BREAST", stored(server)["id"], name)
    assert not commands.is_enabled("OTHER", stored(server)["id"], "segment")
    assert "subscription" not in found
    assert not server.state.events.enabled


def test_the_site_is_enabled_before_the_project(server: StandIn) -> None:
    install(server)
    switched = [path for method, path in changes(server) if method == "PUT"]
    first_project = next(i for i, path in enumerate(switched) if "/projects/" in path)
    assert first_project == len(WRAPPERS)
    assert all("/projects/" in path for path in switched[first_project:])


def test_a_second_run_changes_nothing_and_says_so(server: StandIn) -> None:
    install(server, events=True)
    server.requests.clear()
    again = install(server, events=True)
    assert {step.outcome for step in again} == {"unchanged"}
    assert changes(server) == []


def test_a_dry_run_plans_every_step_and_changes_nothing(server: StandIn) -> None:
    planned = install(server, events=True, dry_run=True)
    assert {step.outcome for step in planned} == {"planned"}
    assert changes(server) == []
    names = [step.name for step in planned]
    assert [step.name for step in install(server, events=True)] == names


def test_a_dry_run_after_the_installation_has_nothing_left(server: StandIn) -> None:
    install(server)
    assert {s.outcome for s in install(server, dry_run=True)} == {"unchanged"}
    assert outcomes(install(server, events=True, dry_run=True))["subscription"] == (
        "planned"
    )


def test_an_owner_does_what_an_administrator_left(server: StandIn) -> None:
    install(server, project="OTHER")
    steps = install(server, "olga")
    found = outcomes(steps)
    assert found.pop("command") == "unchanged"
    assert all(found[f"enable-site {name}"] == "unchanged" for name in WRAPPERS)
    assert all(found[f"enable-project {name}"] == "updated" for name in WRAPPERS)


def test_an_owner_alone_is_refused_and_told_the_role(server: StandIn) -> None:
    steps = install(server, "olga", events=True)
    refused = {step.name: step for step in steps if step.outcome == "refused"}
    assert refused["command"].role == "site administrator, or Container Manager"
    assert refused["enable-project segment"].note == (
        "the command is not registered as it should be"
    )
    assert server.state.commands.by_id == {}


def test_a_project_without_its_site_is_told_to_be_without_effect(
    server: StandIn,
) -> None:
    install(server)
    server.state.commands.site.clear()
    server.state.commands.projects.clear()
    steps = install(server, "olga")
    notes = {step.name: step.note for step in steps}
    found = outcomes(steps)
    assert found["enable-site segment"] == "refused"
    assert found["enable-project segment"] == "updated"
    assert "without effect" in notes["enable-project segment"]


def test_a_member_is_refused_and_later_steps_are_still_tried(server: StandIn) -> None:
    install(server, project="OTHER")
    steps = install(server, "mary", events=True)
    found = outcomes(steps)
    assert found["command"] == "unchanged"
    assert found["enable-project segment"] == "refused"
    assert found["subscription"] == "refused"
    assert len(steps) == 1 + 2 * len(WRAPPERS) + 2


def test_a_changed_command_is_replaced_whole_and_its_unchanged_wrappers_keep_their_ids(
    server: StandIn,
) -> None:
    install(server)
    before = {each["name"]: each["id"] for each in stored(server)["xnat"]}
    command = changed(label="Another label")
    command["xnat"][0]["description"] = "Another description"
    found = outcomes(install(server, command=command))
    after = {each["name"]: each["id"] for each in stored(server)["xnat"]}
    assert found["command"] == "updated"
    assert stored(server)["label"] == "Another label"
    assert list(after) == WRAPPERS
    assert after[WRAPPERS[0]] != before[WRAPPERS[0]]
    assert all(after[name] == before[name] for name in WRAPPERS[1:])
    assert outcomes(install(server, command=command))["command"] == "unchanged"


def test_a_wrapper_less_is_a_change(server: StandIn) -> None:
    install(server)
    command = changed()
    gone = command["xnat"].pop()["name"]
    assert outcomes(install(server, command=command))["command"] == "updated"
    assert gone not in [each["name"] for each in stored(server)["xnat"]]


def test_a_new_version_is_a_new_command_and_the_old_one_is_named(
    server: StandIn,
) -> None:
    install(server)
    old_id = stored(server)["id"]
    steps = install(server, command=changed(version="9.9.9", image="brs:9.9.9"))
    assert outcomes(steps)["command"] == "created"
    assert len(server.state.commands.by_id) == 2
    assert f"{COMMAND['version']} (id {old_id})" in steps[0].note


def test_a_command_that_the_server_alters_is_an_error(server: StandIn) -> None:
    command = changed()
    command["ipc-mode"] = "host"
    with pytest.raises(ArchiveError, match="another ipc-mode when read back"):
        install(server, command=command)


def test_a_wrapper_that_stays_off_is_an_error(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf(set[Any]):
        def add(self, element: Any) -> None:
            return

    server.state.commands.site = Deaf()
    with pytest.raises(ArchiveError, match="still off when read back"):
        install(server)


def test_the_subscription_starts_segment_on_new_mr_sessions_of_this_project_only(
    server: StandIn,
) -> None:
    assert outcomes(install(server, events=True))["subscription"] == "created"
    session = server.add_session("BREAST", subject="S1", label="MR1")
    server.add_session("OTHER", subject="S2", label="MR2")
    server.add_session(
        "BREAST", subject="S1", label="CT", xsi_type="xnat:ctSessionData"
    )
    (launch,) = server.state.commands.launches
    segment = stored(server)["xnat"][WRAPPERS.index("segment")]
    assert launch.wrapper_id == segment["id"]
    assert f"/archive/experiments/{session}" in launch.inputs.values()
    (body,) = subscriptions(server)
    assert body["name"] == "brs segment BREAST"
    assert body["act-as-event-user"] is False


def test_each_project_has_a_subscription_of_its_own(server: StandIn) -> None:
    install(server, events=True)
    install(server, events=True, project="OTHER")
    names = [body["name"] for body in subscriptions(server)]
    assert names == ["brs segment BREAST", "brs segment OTHER"]


def test_an_administrator_switches_the_event_service_on_and_it_is_said(
    server: StandIn,
) -> None:
    steps = install(server, events=True)
    step = next(each for each in steps if each.name == "event-service")
    assert (step.outcome, step.note) == ("updated", "on now, on the whole site")
    assert server.state.events.enabled


def test_an_owner_is_told_that_an_administrator_has_to_switch_the_service_on(
    server: StandIn,
) -> None:
    install(server)
    steps = install(server, "olga", events=True)
    assert outcomes(steps)["subscription"] == "refused"
    assert "an administrator" in steps[-1].note
    assert not server.state.events.enabled
    assert subscriptions(server) == []


def test_an_owner_subscribes_when_the_service_is_on_though_it_cannot_be_asked(
    server: StandIn,
) -> None:
    install(server)
    server.state.events.enabled = True
    server.faults.append(Fault("/xapi/events/prefs", "GET", status=403))
    found = outcomes(install(server, "olga", events=True))
    assert found["event-service"] == "unchanged"
    assert found["subscription"] == "created"


def test_a_subscription_to_an_older_wrapper_is_replaced_and_keeps_its_settings(
    server: StandIn,
) -> None:
    install(server, events=True)
    (body,) = subscriptions(server)
    body["attributes"] = {"seed": "7"}
    command = changed(version="9.9.9", image="brs:9.9.9")
    assert outcomes(install(server, command=command, events=True))["subscription"] == (
        "updated"
    )
    (after,) = subscriptions(server)
    assert after["attributes"] == {"seed": "7"}
    assert after["action-key"] != body["action-key"]


def test_a_widened_subscription_is_narrowed_again(server: StandIn) -> None:
    install(server, events=True)
    (body,) = subscriptions(server)
    body["event-filter"]["payload-filter"] = ""
    found = outcomes(install(server, events=True))
    assert found["subscription"] == "updated"
    (after,) = subscriptions(server)
    assert after["event-filter"]["payload-filter"] == (
        '@.xsiType == "xnat:mrSessionData"'
    )


def test_an_inactive_subscription_is_activated_and_no_second_one_made(
    server: StandIn,
) -> None:
    install(server, events=True)
    (subscription,) = server.state.events.subscriptions.values()
    subscription.active = False
    assert outcomes(install(server, events=True))["subscription"] == "updated"
    (after,) = server.state.events.subscriptions.values()
    assert after.active


def test_a_hand_made_subscription_that_does_the_same_is_enough(
    server: StandIn,
) -> None:
    install(server, events=True)
    (body,) = subscriptions(server)
    body["name"] = "made by hand"
    body["event-filter"]["payload-filter"] = "@.xsiType == 'xnat:mrSessionData'"
    assert outcomes(install(server, events=True))["subscription"] == "unchanged"


def test_no_container_service_is_an_error_before_any_step(server: StandIn) -> None:
    server.plugins.discard("containers")
    with pytest.raises(ArchiveError, match="no Container Service plugin"):
        install(server)


def test_a_project_that_is_not_there_is_an_error_before_any_step(
    server: StandIn,
) -> None:
    with pytest.raises(ArchiveError, match="no such project"):
        install(server, project="NONE")
    assert server.state.commands.by_id == {}


def test_a_401_for_a_missing_role_is_a_refusal_and_a_lost_login_is_an_error(
    server: StandIn,
) -> None:
    server.faults.append(Fault("/xapi/commands$", "POST", status=401, times=2))
    assert install(server)[0].outcome == "refused"
    server.faults.append(Fault("/xapi/commands|/data/auth", status=401, times=99))
    with pytest.raises(LoginError):
        install(server)


def test_a_broken_server_ends_the_installation_and_the_next_run_completes_it(
    server: StandIn,
) -> None:
    server.faults.append(Fault("/wrappers/rank/enabled", "PUT", status=500, times=9))
    with pytest.raises(ArchiveError, match="status 500"):
        install(server)
    server.faults.clear()
    found = outcomes(install(server))
    assert found["command"] == "unchanged"
    assert found["enable-site segment"] == "unchanged"
    assert found["enable-site rank"] == "updated"


@pytest.mark.parametrize(
    ("stored", "wanted", "expected"),
    [
        ({"a": "1", "id": 3, "added": True}, {"a": "1"}, True),
        ({"a": "1"}, {"a": "2"}, False),
        ({}, {"a": False}, False),
        ({"a": None}, {"a": ""}, True),
        ({"limit-cpu": 4.0}, {"limit-cpu": 4}, True),
        ({"xnat": [{"name": "b"}, {"name": "a"}]}, {"xnat": [{"name": "a"}]}, False),
        (
            {"inputs": [{"name": "b", "x": 1}, {"name": "a", "x": 2}]},
            {"inputs": [{"name": "a", "x": 2}, {"name": "b", "x": 1}]},
            True,
        ),
        ({"contexts": ["b", "a"]}, {"contexts": ["a", "b"]}, True),
        ({"contexts": ["b"]}, {"contexts": ["a"]}, False),
        ({"mounts": None}, {"mounts": []}, True),
        (
            {"environment-variables": {"A": "1", "B": "2"}},
            {"environment-variables": {"A": "1"}},
            False,
        ),
        ({"ulimits": None}, {"ulimits": {}}, True),
    ],
)
def test_a_stored_document_covers_what_was_sent(
    stored: object, wanted: object, *, expected: bool
) -> None:
    assert covers(stored, wanted) is expected


def test_a_replacement_sends_unchanged_wrappers_as_they_are_stored() -> None:
    known = {"id": 4, "xnat": [{"name": "a", "id": 5, "label": "A", "filled": True}]}
    wanted = {
        "name": "n",
        "xnat": [{"name": "a", "label": "A"}, {"name": "b", "id": 9}],
    }
    assert replacement(known, wanted) == {
        "id": 4,
        "name": "n",
        "xnat": [known["xnat"][0], {"name": "b"}],  # type: ignore[index]
    }


def test_the_file_of_this_version_is_found_without_being_named(tmp_path: Path) -> None:
    assert read_command(None, ROOT / "plugin")["name"] == COMMAND["name"]
    installed = tmp_path / "plugin"
    installed.mkdir()
    copied = changed(description="the installed copy")
    (installed / "command.json").write_text(json.dumps(copied))
    assert read_command(None, installed)["description"] == "the installed copy"


def test_a_file_that_the_service_would_refuse_is_refused_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "command.json"
    path.write_text(json.dumps(changed(image="untagged")))
    with pytest.raises(ConfigError, match="errors, first"):
        read_command(path, tmp_path)
    path.write_text(json.dumps([COMMAND, changed(name="twin")]))
    with pytest.raises(ConfigError, match="2 commands"):
        read_command(path, tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(ConfigError, match=r"no command\.json"):
        read_command(None, tmp_path.parent / "none" / "plugin")


def run(
    server: StandIn, user: str, *arguments: str, secret: str = ""
) -> tuple[int, str, dict[str, Any]]:
    uri = f"xnat+{server.url}/BREAST"
    login = {"XNAT_USER": user, "XNAT_PASS": secret or user}
    found = CliRunner(env=login).invoke(xnat_install, ["--archive", uri, *arguments])
    lines = found.stdout.splitlines()
    return found.exit_code, found.stderr, json.loads(lines[-1]) if lines else {}


def test_the_command_prints_one_line_per_step_and_one_of_json(server: StandIn) -> None:
    code, said, result = run(server, "admin", "--events")
    assert code == 0
    assert len(said.splitlines()) == len(result["steps"]) == 3 + 2 * len(WRAPPERS)
    assert result["counts"] == {"created": 2, "updated": 1 + 2 * len(WRAPPERS)}
    assert result["steps"][0].keys() == {"name", "role", "outcome", "note"}
    assert server.open_sessions == 0


def test_a_refused_step_ends_with_exit_code_7(server: StandIn) -> None:
    server.add_user("olga", "a-secret-of-olga")
    code, said, result = run(server, "olga", secret="a-secret-of-olga")
    assert code == 7
    assert "a-secret-of-olga" not in said + json.dumps(result)
    assert result["counts"]["refused"] == 1 + 2 * len(WRAPPERS)
    assert "Container Manager" in said


def test_a_folder_is_no_server(tmp_path: Path) -> None:
    found = CliRunner().invoke(xnat_install, ["--archive", str(tmp_path)])
    assert isinstance(found.exception, ConfigError)
