"""The Event Service: subscriptions, and what happens when something is archived."""

import re
from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify, request

from standin.command_store import Launch
from standin.records import Experiment
from standin.refused import Refused
from standin.rights import require_admin, require_owner, user
from standin.routes import Routes
from standin.state import State
from standin.subscriptions import Delivered, Subscription

PACKAGE = "org.nrg.xnat.eventservice.events."
SESSION = f"{PACKAGE}SessionEvent"
SCAN = f"{PACKAGE}ScanEvent"
ASSESSOR = f"{PACKAGE}ImageAssessorEvent"
RESOURCE = f"{PACKAGE}ResourceEvent"
STATUSES = {
    SESSION: ("CREATED", "MERGED", "DELETED"),
    SCAN: ("CREATED",),
    ASSESSOR: ("CREATED", "UPDATED", "DELETED"),
    RESOURCE: ("CREATED", "UPDATED", "DELETED"),
    f"{PACKAGE}SubjectEvent": ("CREATED", "UPDATED", "DELETED"),
    f"{PACKAGE}ProjectEvent": ("CREATED", "UPDATED", "DELETED"),
    f"{PACKAGE}WorkflowStatusChangeEvent": ("CHANGED",),
    f"{PACKAGE}ScheduledEvent": ("CRON",),
}
ACTION = "org.nrg.containers.services.CommandActionProvider:"
KEYS = frozenset(
    [
        "id",
        "name",
        "active",
        "registration-key",
        "action-key",
        "attributes",
        "act-as-event-user",
        "event-filter",
        "valid",
        "subscription-owner",
        "project-id",
    ]
)
CLAUSE = re.compile(r"""@\.(?P<key>[\w-]+)\s*==\s*["'](?P<value>[^"']*)["']""")


routes = Routes()


@routes.get("/xapi/events/prefs")
def prefs(state: State) -> Response:
    return jsonify({"enabled": state.events.enabled})


@routes.put("/xapi/events/prefs")
def switch(state: State) -> Response:
    require_admin(state)
    state.events.enabled = bool((request.get_json() or {}).get("enabled"))
    return jsonify({"enabled": state.events.enabled})


@routes.post("/xapi/events/subscription")
def create(state: State) -> Response:
    require_admin(state)
    return _created(state)


@routes.post("/xapi/projects/<project>/events/subscription")
def create_in_project(state: State, project: str) -> Response:
    require_owner(state, project)
    return _created(state, project)


@routes.get("/xapi/events/subscriptions")
def listed(state: State) -> Response:
    require_admin(state)
    return jsonify([_shown(s) for s in state.events.subscriptions.values()])


@routes.get("/xapi/projects/<project>/events/subscriptions")
def listed_in_project(state: State, project: str) -> Response:
    require_owner(state, project)
    found = state.events.subscriptions.values()
    return jsonify([_shown(s) for s in found if project in _projects(s)])


@routes.get("/xapi/events/subscription/<int:key>")
def one(state: State, key: int) -> Response:
    return jsonify(_shown(_subscription(state, key)))


@routes.delete("/xapi/events/subscription/<int:key>")
@routes.delete("/xapi/projects/<project>/events/subscription/<int:key>")
def delete(state: State, key: int, project: str = "") -> Response:
    _require_right(state, project)
    _subscription(state, key)
    del state.events.subscriptions[key]
    return Response(status=204)


@routes.post("/xapi/events/subscription/<int:key>/<word>")
@routes.post("/xapi/projects/<project>/events/subscription/<int:key>/<word>")
def activate(state: State, key: int, word: str, project: str = "") -> Response:
    _require_right(state, project)
    if word not in ("activate", "deactivate"):
        raise Refused(404)
    _subscription(state, key).active = word == "activate"
    return Response(status=200)


@routes.post("/xapi/events/delivered")
def delivered(state: State) -> Response:
    require_admin(state)
    return jsonify([_delivered(each) for each in state.events.delivered])


def _require_right(state: State, project: str) -> None:
    if project:
        require_owner(state, project)
    else:
        require_admin(state)


def _subscription(state: State, key: int) -> Subscription:
    if key not in state.events.subscriptions:
        raise Refused(404, f"No subscription with id {key}")
    return state.events.subscriptions[key]


def _created(state: State, project: str = "") -> Response:
    if not state.events.enabled:
        raise Refused(405, "Event Service disabled.")
    body = request.get_json(silent=True)
    if not isinstance(body, dict) or not set(body) <= KEYS:
        raise Refused(500, "Could not read the subscription")
    body = {**body, "event-filter": dict(body.get("event-filter") or {})}
    if project:
        body["event-filter"]["project-ids"] = [project]
    _check(state, body)
    key = next(state.events.numbers)
    name = body.get("name") or f"subscription {key}"
    active = bool(body.get("active"))
    state.events.subscriptions[key] = Subscription(key, body, active, user())
    return Response(f"{name}:{key}", status=201, mimetype="text/plain")


def _check(state: State, body: dict[str, Any]) -> None:
    """Refuse an unknown action or event with 424, as the service does."""
    given = str(body.get("action-key", ""))
    wrapper = given.removeprefix(ACTION)
    known = given.startswith(ACTION) and wrapper.isdigit()
    if not known or state.commands.wrapper(int(wrapper)) is None:
        raise Refused(424, f"Could not load Action Provider: {given}")
    event_filter = body["event-filter"]
    event_type = event_filter.get("event-type")
    if event_filter.get("status") not in STATUSES.get(event_type, ()):
        raise Refused(424, f"Event type or status does not exist: {event_type}")


def _shown(subscription: Subscription) -> dict[str, Any]:
    return {
        **subscription.body,
        "id": subscription.id,
        "active": subscription.active,
        "subscription-owner": subscription.owner,
        "valid": True,
    }


def _delivered(event: Delivered) -> dict[str, object]:
    return {
        "subscription": event.subscription,
        "event-type": event.event_type,
        "status": event.status,
        "object": event.object_id,
        "project": event.project,
    }


def _projects(subscription: Subscription) -> list[str]:
    return list(subscription.body["event-filter"].get("project-ids") or [])


def fire(
    state: State,
    event_type: str,
    status: str,
    experiment: Experiment,
    about: Mapping[str, str],
) -> None:
    """Launch the wrapper of every active subscription that the event fits."""
    if not state.events.enabled:
        return
    payload = {
        "id": experiment.id,
        "label": experiment.label,
        "project-id": experiment.project,
        "subject-id": experiment.subject,
        "uri": f"/archive/experiments/{experiment.id}",
        **about,
    }
    for subscription in list(state.events.subscriptions.values()):
        if subscription.active and _fits(subscription, event_type, status, payload):
            _deliver(
                state,
                subscription,
                Delivered(
                    subscription.id,
                    event_type,
                    status,
                    payload["id"],
                    experiment.project,
                ),
                payload["uri"],
            )


def session_event(state: State, experiment: Experiment, status: str) -> None:
    fire(state, SESSION, status, experiment, {"xsiType": experiment.xsi_type})


def _fits(
    subscription: Subscription, event_type: str, status: str, payload: Mapping[str, str]
) -> bool:
    wanted = subscription.body["event-filter"]
    projects = _projects(subscription)
    return (
        wanted["event-type"] == event_type
        and wanted["status"] == status
        and (not projects or payload["project-id"] in projects)
        and _passes(str(wanted.get("payload-filter") or ""), payload)
    )


def _passes(payload_filter: str, payload: Mapping[str, str]) -> bool:
    """Tell whether every clause holds; only equality is understood here."""
    clauses = [each.strip() for each in payload_filter.split("&&") if each.strip()]
    for clause in clauses:
        match = CLAUSE.fullmatch(clause)
        if match is None or payload.get(match["key"]) != match["value"]:
            return False
    return True


def _deliver(
    state: State, subscription: Subscription, event: Delivered, uri: str
) -> None:
    state.events.delivered.append(event)
    wrapper_id = int(subscription.body["action-key"].removeprefix(ACTION))
    found = state.commands.wrapper(wrapper_id)
    if found is None:
        return
    first = next((each["name"] for each in found[1].get("external-inputs", [])), "")
    inputs = {**(subscription.body.get("attributes") or {}), first: uri}
    launch = Launch(event.project, wrapper_id, inputs, subscription.owner)
    state.commands.launches.append(launch)
