"""The Container Service on the stand-in: its rules, enablement and launches."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hospital import client, hospital
from sample_command import command
from standin.command_rules import problems
from standin.images import LABEL
from standin.server import StandIn

from plugin.container.image_label import label_value
from plugin.xnat.registration import covers

Document = dict[str, Any]
ROOT = Path(__file__).parent.parent


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with hospital(tmp_path) as found:
        yield found


def put(path: str, value: Any) -> Callable[[Document], None]:
    """Return a change of one place, "a/0/b"; ``...`` deletes it."""

    def change(document: Document) -> None:
        *parents, last = path.split("/")
        place: Any = document
        for key in parents:
            place = place[int(key) if key.isdigit() else key]
        key_of_last: Any = int(last) if last.isdigit() else last
        if value is ...:
            del place[key_of_last]
        elif last == "+":
            place.append(value)
        else:
            place[key_of_last] = value

    return change


EXTERNAL, DERIVED = "xnat/0/external-inputs", "xnat/0/derived-inputs"
HANDLERS = "xnat/0/output-handlers"
FLAWS = {
    "blank name": (put("name", " "), "name cannot be blank"),
    "blank image": (put("image", ...), "Image name cannot be blank"),
    "no tag": (put("image", "brs"), "has no tag"),
    "unknown type": (put("type", "podman"), "type"),
    "unknown visibility": (put("visibility", "secret"), "Visibility"),
    "setup with mounts": (put("type", "docker-setup"), 'cannot declare "mounts"'),
    "ulimit": (put("ulimits", {"nofile": "1:2:3"}), "ulimit"),
    "own variable": (
        put("secrets", [{"destination": {"identifier": "XNAT_PASS"}}]),
        "cannot be put",
    ),
    "doubled variable": (
        lambda d: d.update(
            {
                "secrets": [{"destination": {"identifier": "KEY"}}],
                "environment-variables": {"KEY": "1"},
            }
        ),
        "both called",
    ),
    "mount without path": (put("mounts/0/path", ""), "path cannot be blank"),
    "mount without name": (put("mounts/0/name", ""), "Mount name cannot be blank"),
    "doubled mount": (put("mounts/0/name", "out"), "not unique"),
    "bad input name": (put("inputs/0/name", "a b"), "not allowed"),
    "doubled input": (put("inputs/0/name", "mode"), "not unique"),
    "delimiter": (put("inputs/0/multiple-delimiter", "tab"), "delimiter"),
    "select without values": (put("inputs/1/select-values", []), "without"),
    "values without select": (put("inputs/1/type", "string"), "is no select"),
    "default not selectable": (put("inputs/1/default-value", "c"), "selectable"),
    "blank default": (put("inputs/1/default-value", ""), "selectable"),
    "one of many not selectable": (
        lambda d: d["inputs"][1].update(
            {"type": "select-many", "default-value": '["a", "c"]'}
        ),
        "selectable",
    ),
    "output without mount": (put("outputs/0/mount", ""), "mount cannot be blank"),
    "output on unknown mount": (put("outputs/0/mount", "x"), "unknown mount"),
    "bad output name": (put("outputs/0/name", "a.b"), "not allowed"),
    "wrapper without name": (put("xnat/0/name", ""), "Wrapper name"),
    "doubled wrapper": (
        lambda d: d["xnat"].append(copy.deepcopy(d["xnat"][0])),
        "not unique",
    ),
    "bad wrapper input name": (put(f"{EXTERNAL}/0/name", "a b"), "not allowed"),
    "unknown input type": (put(f"{EXTERNAL}/0/type", "Sesion"), "unknown type"),
    "setup without mount": (
        put(f"{DERIVED}/0/via-setup-command", "a:b"),
        "no mount to fill",
    ),
    "doubled across lists": (put(f"{DERIVED}/0/name", "session"), "not unique"),
    "value for a select": (
        put(f"{DERIVED}/0/provides-value-for-command-input", "mode"),
        "a select",
    ),
    "derived from nothing": (
        put(f"{DERIVED}/0/derived-from-wrapper-input", ...),
        "derived from nothing",
    ),
    "derived from itself": (
        put(f"{DERIVED}/0/derived-from-wrapper-input", "session-id"),
        "from itself",
    ),
    "derived too early": (
        lambda d: d["xnat"][0]["derived-inputs"].insert(
            0,
            {
                "name": "early",
                "type": "string",
                "derived-from-wrapper-input": "session-id",
            },
        ),
        "comes before",
    ),
    "multiple without input": (
        lambda d: d["xnat"][0]["derived-inputs"][0].update(
            {"multiple": True, "provides-value-for-command-input": ""}
        ),
        "provides no command input",
    ),
    "multiple with mount": (
        lambda d: d["xnat"][0]["derived-inputs"][0].update(
            {"multiple": True, "provides-files-for-command-mount": "in"}
        ),
        "fills a mount",
    ),
    "handler of nothing": (
        put(f"{HANDLERS}/0/accepts-command-output", ""),
        "accepts no output",
    ),
    "handler of unknown": (
        put(f"{HANDLERS}/0/accepts-command-output", "x"),
        "unknown output",
    ),
    "handler without parent": (put(f"{HANDLERS}/0/as-a-child-of", ""), "of nothing"),
    "handler of unknown parent": (put(f"{HANDLERS}/0/as-a-child-of", "x"), "unknown"),
    "handler of unknown type": (put(f"{HANDLERS}/0/type", "File"), "unknown type"),
    "handler without label": (put(f"{HANDLERS}/0/label", ""), "no label"),
    "handler on a property": (
        put(f"{HANDLERS}/0/as-a-child-of", "session-id"),
        "no object",
    ),
    "handler on a multiple": (
        lambda d: (
            d["xnat"][0]["derived-inputs"][0].update({"multiple": True}),
            d["xnat"][0]["output-handlers"][0].update({"as-a-child-of": "session-id"}),
        ),
        "multiple input",
    ),
    "output not handled": (put(HANDLERS, []), "is not handled"),
}


def test_a_proper_command_has_no_problems() -> None:
    assert problems(command()) == []


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_is_refused_with_its_reason(flaw: str) -> None:
    change, words = FLAWS[flaw]
    document = command()
    change(document)
    assert any(words in problem for problem in problems(document)), problems(document)


@pytest.mark.parametrize("name", ["command.json", "command-cpu.json"])
def test_our_command_is_taken(server: StandIn, name: str) -> None:
    document = json.loads((ROOT / name).read_text())
    answer = client(server, "admin").send("POST", "/xapi/commands", document)
    assert (answer.status_code, answer.text) == (201, "1")


def created(server: StandIn, document: Document | None = None) -> int:
    body = document or command()
    answer = client(server, "admin").send("POST", "/xapi/commands", body)
    assert answer.status_code == 201, answer.text
    return int(answer.text)


def stored(server: StandIn, key: int) -> Document:
    found: Document = client(server).get(f"/xapi/commands/{key}").json()
    return found


def test_all_flaws_of_a_command_are_named_at_once(server: StandIn) -> None:
    document = command() | {"name": "", "image": ""}
    answer = client(server, "admin").send("POST", "/xapi/commands", document)
    assert answer.status_code == 400
    assert len(answer.text.splitlines()) == 3


def test_a_command_is_created_by_managers_once(server: StandIn) -> None:
    assert client(server).send("POST", "/xapi/commands", command()).status_code == 403
    server.state.accounts.container_managers.add("alice")
    assert client(server).send("POST", "/xapi/commands", command()).status_code == 201
    again = client(server).send("POST", "/xapi/commands", command())
    assert (again.status_code, "duplicates a command" in again.text) == (400, True)
    newer = command() | {"version": "2.0"}
    assert client(server).send("POST", "/xapi/commands", newer).status_code == 201


def test_unknown_keys_vanish_silently_and_a_tag_is_added(server: StandIn) -> None:
    document = command() | {"image": "brs", "ipc-mode": "host", "comand-line": "x"}
    found = stored(server, created(server, document))
    assert found["image"] == "brs:latest"
    assert not {"ipc-mode", "comand-line"} & set(found)


def imported(server: StandIn, document: Document) -> Document:
    """Save the command of an image's label; return what the server then has."""
    image = document["image"]
    server.state.commands.images[image] = {LABEL: label_value([document])}
    path = "/xapi/docker/images/save"
    answer = client(server, "admin").send("POST", path, image=image)
    assert answer.status_code == 200
    (found,) = client(server).get("/xapi/commands").json()
    return dict(found)


@pytest.mark.parametrize("name", ["command.json", "command-cpu.json"])
def test_our_image_label_installs_what_our_file_says(
    server: StandIn, name: str
) -> None:
    document = json.loads((ROOT / name).read_text())
    assert covers(imported(server, document), document)


def test_a_label_of_a_version_that_is_there_changes_nothing_and_says_nothing(
    server: StandIn,
) -> None:
    first = imported(server, command())
    assert imported(server, command() | {"description": "newer"}) == first
    assert imported(server, command() | {"version": "2", "xnat": [{}]}) == first


def test_an_update_replaces_all_and_renumbers_wrappers(server: StandIn) -> None:
    key = created(server)
    admin, path = client(server, "admin"), f"/xapi/commands/{key}"
    before = stored(server, key)["xnat"][0]["id"]
    changed = command() | {"description": "new"}
    assert admin.send("POST", path, changed).status_code == 200
    assert stored(server, key)["xnat"][0]["id"] != before
    without = {k: v for k, v in command().items() if k != "xnat"}
    assert admin.send("POST", path, without).status_code == 200
    assert stored(server, key)["xnat"] == []


def test_a_changed_wrapper_that_keeps_its_id_is_500(server: StandIn) -> None:
    key = created(server)
    document = stored(server, key)
    admin, path = client(server, "admin"), f"/xapi/commands/{key}"
    assert admin.send("POST", path, document).status_code == 200
    document["xnat"][0]["description"] = "changed"
    assert admin.send("POST", path, document).status_code == 500


def test_deleting_what_is_not_there_is_204(server: StandIn) -> None:
    admin = client(server, "admin")
    assert admin.send("DELETE", "/xapi/commands/77").status_code == 204
    assert admin.get("/xapi/commands/77").status_code == 404


def test_a_wrapper_is_offered_when_site_and_project_have_it_on(
    server: StandIn,
) -> None:
    key = created(server)
    name = f"commands/{key}/wrappers/segment"
    query = {"project": "BREAST", "xsiType": "xnat:mrSessionData"}
    admin, olga = client(server, "admin"), client(server, "olga")

    def offered() -> list[str]:
        found = client(server).get("/xapi/commands/available", **query).json()
        return [each["wrapper-name"] for each in found]

    assert olga.send("PUT", f"/xapi/{name}/enabled").status_code == 403
    assert (
        client(server).send("PUT", f"/xapi/projects/BREAST/{name}/enabled").status_code
        == 403
    )
    olga.send("PUT", f"/xapi/projects/BREAST/{name}/enabled")
    assert offered() == []
    admin.send("PUT", f"/xapi/{name}/enabled")
    assert offered() == ["segment"]
    both = olga.get(f"/xapi/projects/BREAST/{name}/enabled").json()
    assert (both["enabled-for-site"], both["enabled-for-project"]) == (True, True)
    admin.send("PUT", f"/xapi/{name}/disabled")
    assert offered() == []


def test_enabling_an_unknown_wrapper_succeeds_silently(server: StandIn) -> None:
    key = created(server)
    path = f"/xapi/commands/{key}/wrappers/no-such/enabled"
    assert client(server, "admin").send("PUT", path).status_code == 200


def test_a_launch_is_queued_unchecked(server: StandIn) -> None:
    wrapper = stored(server, created(server))["xnat"][0]["id"]
    path = f"/xapi/projects/BREAST/wrappers/{wrapper}/launch"
    answer = client(server).send("POST", path, {"nonsense": "1"}).json()
    assert (answer["status"], answer["wrapper-id"]) == ("success", wrapper)
    assert answer["workflow-id"] == "To be assigned"
    assert server.launches[0].inputs == {"nonsense": "1"}
    assert client(server, "bob").send("POST", path, {}).status_code == 403


def test_without_the_plugin_there_are_no_commands(server: StandIn) -> None:
    server.plugins.remove("containers")
    assert client(server).get("/xapi/commands").status_code == 404
