"""The Container Service's REST: commands, enablement, launches."""

import copy
from typing import Any

from flask import Response, jsonify, request

from standin.command_rules import problems
from standin.command_store import Commands, Document, Launch
from standin.refused import Refused, forbidden
from standin.rights import (
    is_admin,
    readable_project,
    require_admin,
    require_edit,
    require_owner,
    user,
)
from standin.routes import Routes
from standin.state import State

PLUGIN_ID = "containers"
KNOWN = frozenset(
    [
        "name",
        "label",
        "description",
        "info-url",
        "version",
        "schema-version",
        "type",
        "image",
        "container-name",
        "index",
        "hash",
        "working-directory",
        "command-line",
        "command-metadata",
        "override-entrypoint",
        "mounts",
        "environment-variables",
        "ports",
        "inputs",
        "outputs",
        "xnat",
        "reserve-memory",
        "limit-memory",
        "limit-cpu",
        "shm-size",
        "runtime",
        "auto-remove",
        "network",
        "container-labels",
        "gpus",
        "generic-resources",
        "ulimits",
        "secrets",
        "visibility",
    ]
)
DUPLICATE = "This command duplicates a command already in the database."
WORDS = {"enabled": True, "disabled": False}


routes = Routes()


@routes.before
def installed(state: State) -> None:
    ours = ("/xapi/commands", "/xapi/wrappers", "/xapi/containers", "/xapi/docker")
    if request.path.startswith(ours) and PLUGIN_ID not in state.plugins:
        raise Refused(404, "Not Found")


@routes.get("/xapi/commands")
def listed(state: State) -> Response:
    asked = {k: v for k, v in request.args.items() if k in KNOWN}
    found = state.commands.by_id.values()
    return jsonify([c for c in found if all(c.get(k) == v for k, v in asked.items())])


@routes.post("/xapi/commands")
def created(state: State) -> Response:
    """Store a command; the answer is its bare number."""
    require_manager(state)
    key = save(state.commands, _sent(), request.args.get("image"))
    return _text(str(key), 201)


@routes.get("/xapi/commands/<int:key>")
def one(state: State, key: int) -> Response:
    return jsonify(_command(state.commands, key))


@routes.post("/xapi/commands/<int:key>")
def updated(state: State, key: int) -> Response:
    """Replace a command wholly: wrappers that are left out are deleted."""
    require_manager(state)
    before = _command(state.commands, key)
    body = _kept(_sent(), KNOWN | {"ipc-mode"}, request.args.get("image"))
    _refuse_changed_wrappers(before, body)
    state.commands.by_id[key] = _checked(state.commands, body, key)
    return Response(status=200)


@routes.delete("/xapi/commands/<int:key>")
def deleted(state: State, key: int) -> Response:
    """Delete a command; an unknown one is 204 as well."""
    require_manager(state)
    state.commands.by_id.pop(key, None)
    return Response(status=204)


SITE = "/xapi/commands/<int:key>/wrappers/<name>"
WITHIN = f"/xapi/projects/<project>{SITE.removeprefix('/xapi')}"


@routes.get(f"{SITE}/enabled")
def on_site(state: State, key: int, name: str) -> Response:
    return jsonify((key, name) in state.commands.site)


@routes.put(f"{SITE}/<word>")
def switch_site(state: State, key: int, name: str, word: str) -> Response:
    """Switch a wrapper; an unknown one succeeds silently."""
    require_admin(state)
    _switch(state.commands.site, (key, name), word)
    return Response(status=200)


@routes.get(f"{WITHIN}/enabled")
def in_project(state: State, project: str, key: int, name: str) -> Response:
    readable_project(state, project)
    return jsonify(
        {
            "project": project,
            "enabled-for-site": (key, name) in state.commands.site,
            "enabled-for-project": (project, key, name) in state.commands.projects,
        }
    )


@routes.put(f"{WITHIN}/<word>")
def switch_project(
    state: State, project: str, key: int, name: str, word: str
) -> Response:
    require_owner(state, project)
    _switch(state.commands.projects, (project, key, name), word)
    return Response(status=200)


@routes.get("/xapi/commands/available")
def available(state: State) -> Response:
    project = request.args.get("project", "")
    readable_project(state, project)
    wanted = request.args.get("xsiType", "")
    return jsonify(_available(state.commands, project, wanted))


@routes.post("/xapi/projects/<project>/wrappers/<int:key>/launch")
@routes.post("/xapi/projects/<project>/commands/<int:_>/wrappers/<int:key>/launch")
def launched(state: State, project: str, key: int, _: int = 0) -> Response:
    """Queue a launch; nothing is validated before that."""
    require_edit(state, project)
    inputs = request.get_json(silent=True) or {}
    state.commands.launches.append(Launch(project, key, inputs, user()))
    found = state.commands.wrapper(key)
    command_id = found[0]["id"] if found else 0
    return jsonify(
        {
            "status": "success",
            "params": inputs,
            "command-id": command_id,
            "wrapper-id": key,
            "workflow-id": "To be assigned",
        }
    )


@routes.get("/xapi/projects/<project>/containers")
def containers(state: State, project: str) -> Response:
    readable_project(state, project)
    return jsonify([])


def require_manager(state: State) -> None:
    if not is_admin(state) and user() not in state.accounts.container_managers:
        raise forbidden()


def _command(commands: Commands, key: int) -> Document:
    if key not in commands.by_id:
        raise Refused(404, f"No command with id {key}")
    return commands.by_id[key]


def save(commands: Commands, body: Document, image: str | None) -> int:
    """Store a new command and return its number; a bad or doubled one is refused."""
    key = commands.number()
    commands.by_id[key] = _checked(commands, _kept(body, KNOWN, image), key)
    return key


def _sent() -> Document:
    body: Document | None = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise Refused(400, "Could not read the command")
    return body


def _kept(body: Document, known: frozenset[str], image: str | None) -> Document:
    """Return what the service keeps of a command; unknown keys vanish silently.

    ``ipc-mode`` is among them when a command is created. The image's own name wins.
    """
    kept = {key: copy.deepcopy(value) for key, value in body.items() if key in known}
    image = image or kept.get("image")
    if image:
        last = str(image).rpartition("/")[2]
        kept["image"] = image if ":" in last else f"{image}:latest"
    return kept


def _checked(commands: Commands, body: Document, key: int) -> Document:
    """Return the command with its numbers; an invalid or doubled one is refused."""
    found = problems(body)
    if found:
        raise Refused(400, "\n".join(("Cannot create command. Errors:", *found)))
    identity = _identity(body)
    others = (c for number, c in commands.by_id.items() if number != key)
    if any(_identity(other) == identity for other in others):
        raise Refused(400, DUPLICATE)
    wrappers = [_numbered(commands, each) for each in body.get("xnat") or []]
    return {**body, "id": key, "type": body.get("type", "docker"), "xnat": wrappers}


def _identity(command: Document) -> tuple[Any, Any, Any]:
    return command.get("name"), command.get("image"), command.get("version")


def _numbered(commands: Commands, wrapper: Document) -> Document:
    return {**wrapper, "id": wrapper.get("id") or commands.number()}


def _refuse_changed_wrappers(before: Document, body: Document) -> None:
    """Fail as the service does when a changed wrapper keeps its id."""
    known = {wrapper["id"]: wrapper for wrapper in before["xnat"]}
    for wrapper in body.get("xnat") or []:
        if wrapper.get("id") in known and wrapper != known[wrapper["id"]]:
            raise Refused(500, "There was a problem updating the command")


def _switch(found: set[Any], key: tuple[Any, ...], word: str) -> None:
    if word not in WORDS:
        raise Refused(404)
    if WORDS[word]:
        found.add(key)
    else:
        found.discard(key)


def _available(commands: Commands, project: str, xsi_type: str) -> list[Document]:
    return [
        {
            "command-id": command["id"],
            "command-name": command["name"],
            "wrapper-id": wrapper["id"],
            "wrapper-name": wrapper["name"],
            "wrapper-label": wrapper.get("label", ""),
            "wrapper-description": wrapper.get("description", ""),
            "image-name": command["image"],
            "enabled": True,
        }
        for command in commands.by_id.values()
        for wrapper in command["xnat"]
        if commands.is_enabled(project, command["id"], wrapper["name"])
        and _takes(wrapper.get("contexts") or [], xsi_type)
    ]


def _takes(contexts: list[str], xsi_type: str) -> bool:
    sessions = xsi_type.endswith("SessionData")
    return xsi_type in contexts or (sessions and "xnat:imageSessionData" in contexts)


def _text(body: str, status: int) -> Response:
    return Response(body, status=status, mimetype="application/json")
