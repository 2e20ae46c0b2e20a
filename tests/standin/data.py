"""The archive below ``/data`` and ``/data/archive``: which handler a request meets."""

from collections.abc import Callable

from flask import Flask, Response, request

from standin import files, listings, objects
from standin.documents import (
    assessor_item,
    experiment_item,
    project_item,
    resource_item,
    scan_item,
    shown,
    subject_item,
)
from standin.parents import resolve
from standin.paths import Route, route
from standin.refused import Refused, not_found
from standin.rights import ROLES, require_owner, require_user
from standin.state import State
from standin.tables import result_set

Handler = Callable[[State, Route], Response]
METHODS = ["GET", "PUT", "POST", "DELETE"]


def add_routes(app: Flask, state: State) -> None:
    @app.route("/data/<path:rest>", methods=METHODS)
    @app.route("/REST/<path:rest>", methods=METHODS)
    def archive(rest: str) -> Response:
        found = route(tuple(s for s in rest.split("/") if s not in ("", "archive")))
        if found is None:
            raise not_found("resource")
        handler = HANDLERS.get((_method(), found.kind))
        if handler is None:
            raise Refused(405, "Method not allowed")
        return handler(state, found)


def _method() -> str:
    return {"HEAD": "GET", "POST": "PUT"}.get(request.method, request.method)


def _projects(state: State, found: Route) -> Response:
    return result_set(listings.project_rows(state), listings.PROJECT_COLUMNS)


def _subjects(state: State, found: Route) -> Response:
    project = resolve(state, found).project
    return result_set(listings.subject_rows(state, project), listings.SUBJECT_COLUMNS)


def _experiments(state: State, found: Route) -> Response:
    rows = listings.experiment_rows(state, resolve(state, found))
    return result_set(rows, listings.EXPERIMENT_COLUMNS)


def _scans(state: State, found: Route) -> Response:
    rows = listings.scan_rows(resolve(state, found))
    return result_set(rows, listings.SCAN_COLUMNS)


def _assessors(state: State, found: Route) -> Response:
    rows = listings.assessor_rows(resolve(state, found))
    return result_set(rows, listings.ASSESSOR_COLUMNS)


def _project(state: State, found: Route) -> Response:
    project = resolve(state, found).project
    if project is None:
        raise not_found("project")
    return shown(project_item(project))


def _subject(state: State, found: Route) -> Response:
    subject = resolve(state, found).subject
    if subject is None:
        raise not_found("subject")
    return shown(subject_item(subject))


def _experiment(state: State, found: Route) -> Response:
    """Show an experiment; so does any path below it that is not routed."""
    if found.rest[:1] == ("status",):
        return Response("active", mimetype="text/plain")
    experiment = resolve(state, _assessor_as_experiment(state, found)).experiment
    if experiment is None:
        raise not_found("experiment")
    key = found.get("E")
    for assessor in experiment.assessors.values():
        if assessor.id == key:
            return shown(assessor_item(assessor, experiment))
    return shown(experiment_item(experiment))


def _assessor_as_experiment(state: State, found: Route) -> Route:
    """Return the session's route for an assessor's id: assessors are experiments."""
    key = found.get("E")
    for experiment in list(state.archive.experiments.values()):
        if key in experiment.assessors:
            return Route(found.kind, {**found.values, "E": experiment.id}, found.rest)
    return found


def _scan(state: State, found: Route) -> Response:
    scans = resolve(state, found).scans
    if not scans:
        raise not_found("scan")
    return shown(scan_item(scans[0]))


def _assessor(state: State, found: Route) -> Response:
    parents = resolve(state, found)
    if parents.experiment is None or not parents.assessors:
        raise not_found("experiment")
    return shown(assessor_item(parents.assessors[0], parents.experiment))


def _resource(state: State, found: Route) -> Response:
    return shown(resource_item(files.found_resource(state, found)))


def _members(state: State, found: Route) -> Response:
    project = resolve(state, found).project
    return result_set(listings.member_rows(project) if project else [])


def _add_member(state: State, found: Route) -> Response:
    """Give a user a role; the path names it in the plural, or as project_role."""
    key = str(found.get("P"))
    require_owner(state, key)
    group = str(found.get("G"))
    role = group.rpartition("_")[2].lower().removesuffix("s")
    if role not in ROLES or found.get("U") not in state.accounts.passwords:
        raise not_found("user")
    state.archive.project(key).roles[str(found.get("U"))] = role
    return Response(status=200)


def _remove_member(state: State, found: Route) -> Response:
    key = str(found.get("P"))
    require_owner(state, key)
    state.archive.project(key).roles.pop(str(found.get("U")), None)
    return Response(status=200)


def _accessibility(state: State, found: Route) -> Response:
    project = state.archive.project(str(found.get("P")))
    if _method() == "PUT":
        require_owner(state, project.id)
        project.accessibility = str(found.get("L"))
    return Response(project.accessibility, mimetype="text/plain")


def _prearchive_code(state: State, found: Route) -> Response:
    require_user()
    project = state.archive.project(str(found.get("P")))
    if _method() == "PUT":
        require_owner(state, project.id)
        project.prearchive_code = int(str(found.get("N")))
    return Response(str(project.prearchive_code), mimetype="text/plain")


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "projects"): _projects,
    ("GET", "subjects"): _subjects,
    ("GET", "experiments"): _experiments,
    ("GET", "scans"): _scans,
    ("GET", "assessors"): _assessors,
    ("GET", "resources"): files.resources,
    ("GET", "users"): _members,
    ("GET", "projects/"): _project,
    ("GET", "subjects/"): _subject,
    ("GET", "experiments/"): _experiment,
    ("GET", "scans/"): _scan,
    ("GET", "assessors/"): _assessor,
    ("GET", "resources/"): _resource,
    ("GET", "files"): files.served,
    ("GET", "accessibility"): _accessibility,
    ("GET", "prearchive_code"): _prearchive_code,
    ("PUT", "projects/"): objects.put_project,
    ("PUT", "subjects/"): objects.put_subject,
    ("PUT", "experiments/"): objects.put_experiment,
    ("PUT", "scans/"): objects.put_scan,
    ("PUT", "assessors/"): objects.put_assessor,
    ("PUT", "resources/"): files.resource_created,
    ("PUT", "files"): files.stored,
    ("PUT", "users/"): _add_member,
    ("PUT", "accessibility/"): _accessibility,
    ("PUT", "prearchive_code/"): _prearchive_code,
    ("DELETE", "projects/"): objects.delete_project,
    ("DELETE", "subjects/"): objects.delete_subject,
    ("DELETE", "experiments/"): objects.delete_experiment,
    ("DELETE", "scans/"): objects.delete_scan,
    ("DELETE", "assessors/"): objects.delete_assessor,
    ("DELETE", "resources/"): files.resource_deleted,
    ("DELETE", "files"): files.deleted,
    ("DELETE", "users/"): _remove_member,
}
