"""Projects, subjects, experiments, scans and assessors: made, changed, deleted."""

import re

from flask import Response, request

from standin.archive import Archive
from standin.parents import Parents, resolve
from standin.paths import Route
from standin.records import Assessor, Experiment, Scan, Values
from standin.refused import Refused, not_found
from standin.rights import require_delete, require_edit, require_user, user
from standin.state import State

FIELD = re.compile(
    r"(?P<type>[\w]+:[\w]+)?/?fields/field\[name=(?P<name>[^\]]+)\]/field"
)
NO_VALUE = frozenset({"xsiType", "req_format", "format", "event_reason", "activate"})
CREATED, UPDATED = 201, 200


def text(body: str, status: int) -> Response:
    return Response(body, status=status, mimetype="text/plain")


def _values(xsi_types: tuple[str, ...]) -> Values:
    """Return plain fields from the query: short names, or paths of these types."""
    found = {}
    for key, value in request.args.items():
        prefix, _, name = key.rpartition("/")
        plain = not prefix and key not in NO_VALUE
        ours = prefix.partition("/")[0].lower() in map(str.lower, xsi_types)
        if (plain or ours) and "fields/field" not in key:
            found[name] = value
    return found


def _custom(*, typed: bool) -> Values:
    """Return custom fields from the query; typed ones need the type before them."""
    found = {}
    for key, value in request.args.items():
        match = FIELD.fullmatch(key)
        if match and (match["type"] or not typed):
            found[match["name"]] = value
    return found


def _set(target: Values, given: Values) -> None:
    for key, value in given.items():
        if value == "NULL":
            target.pop(key, None)
        else:
            target[key] = value


def put_project(state: State, route: Route) -> Response:
    require_user()
    key = str(route.get("P"))
    archive = state.archive
    given = _values(("xnat:projectData",))
    if key in archive.projects:
        require_edit(state, key)
        _set(archive.projects[key].values, given)
        return text(key, UPDATED)
    project = archive.add_project(key, given)
    project.roles[user()] = "owner"
    return text(key, CREATED)


def put_subject(state: State, route: Route) -> Response:
    key, project = str(route.get("S")), route.get("P")
    if route.rest[:1] == ("projects",):
        return Response(status=200)
    try:
        subject = state.archive.subject(key, project)
        status = UPDATED
    except Refused:
        if project is None:
            raise
        require_edit(state, project)
        subject = state.archive.add_subject(project, key, {})
        status = CREATED
    require_edit(state, subject.project)
    given = _values(("xnat:subjectData",))
    subject.label = given.pop("label", subject.label)
    _set(subject.values, given)
    _set(subject.fields, _custom(typed=True))
    return text(subject.id, status)


def put_experiment(state: State, route: Route) -> Response:
    """Create or change a session, or share it (``.../projects/OTHER``).

    Custom fields are stored only by the path with the subject, with ``xsiType``.
    """
    key, project = str(route.get("E")), route.get("P")
    if route.rest[:1] == ("projects",):
        return _share(state, route)
    if project is not None and not state.archive.has_experiment(key, project):
        return _new_experiment(state, route, project, key)
    experiment = state.archive.experiment(key, project)
    require_edit(state, experiment.project)
    _change(state, experiment, keeps_fields=_keeps_fields(route))
    return text(experiment.id, UPDATED)


def _keeps_fields(route: Route) -> bool:
    return route.get("S") is not None and "xsiType" in request.args


def _change(state: State, experiment: Experiment, *, keeps_fields: bool) -> None:
    given = _values(
        (experiment.xsi_type, "xnat:experimentData", "xnat:imageSessionData")
    )
    label = given.pop("label", experiment.label)
    for name in ("ID", "subject_ID", "project"):
        given.pop(name, None)
    _set(experiment.values, given)
    if label != experiment.label:
        state.archive.relabel(experiment, label)
    if keeps_fields:
        _set(experiment.fields, _custom(typed=True))


def _new_experiment(state: State, route: Route, project: str, key: str) -> Response:
    require_edit(state, project)
    xsi_type = request.args.get("xsiType")
    subject_key = route.get("S")
    if not xsi_type or subject_key is None:
        raise Refused(
            400, "Please specify the xsiType and the subject of the experiment."
        )
    subject = state.archive.subject_labelled(project, subject_key)
    experiment = state.archive.add_experiment(subject, key, xsi_type, {})
    _change(state, experiment, keeps_fields=True)
    return text(experiment.id, CREATED)


def _share(state: State, route: Route) -> Response:
    parents = resolve(state, route)
    other = route.rest[1] if len(route.rest) > 1 else ""
    if parents.experiment is None:
        raise not_found("experiment")
    require_edit(state, other)
    label = request.args.get("label", parents.experiment.label)
    state.archive.share(parents.experiment, other, label)
    return text(parents.experiment.id, UPDATED)


def put_scan(state: State, route: Route) -> Response:
    parents = resolve(state, route, missing_scan_ok=True)
    experiment, key = _experiment(parents), str(route.get("C"))
    require_edit(state, experiment.project)
    scan = experiment.scans.get(key)
    status = UPDATED
    if scan is None:
        scan = _new_scan(state.archive, experiment, key)
        status = CREATED
    _set(scan.values, _values((scan.xsi_type, "xnat:imageScanData")))
    return text(scan.id, status)


def _new_scan(archive: Archive, experiment: Experiment, key: str) -> Scan:
    xsi_type = request.args.get("xsiType")
    if not xsi_type:
        raise Refused(400, "Please specify the xsiType of the scan.")
    return archive.add_scan(experiment, key, xsi_type, {})


def put_assessor(state: State, route: Route) -> Response:
    parents = resolve(state, Route(route.kind, {**route.values, "A": "ALL"}, ()))
    experiment, key = _experiment(parents), str(route.get("A"))
    require_edit(state, experiment.project)
    found = next((a for a in parents.assessors if key in (a.id, a.label)), None)
    status = UPDATED if found else CREATED
    assessor = found or _new_assessor(state.archive, experiment, key)
    given = _values((assessor.xsi_type, "xnat:imageAssessorData"))
    assessor.label = given.pop("label", assessor.label)
    _set(assessor.values, given)
    return text(assessor.id, status)


def _new_assessor(archive: Archive, experiment: Experiment, key: str) -> Assessor:
    xsi_type = request.args.get("xsiType")
    if not xsi_type:
        raise Refused(400, "Please specify the xsiType of the assessor.")
    assessor = Assessor(archive.new_id("E"), key, xsi_type)
    experiment.assessors[assessor.id] = assessor
    return assessor


def _experiment(parents: Parents) -> Experiment:
    if parents.experiment is None:
        raise not_found("experiment")
    return parents.experiment


def delete_project(state: State, route: Route) -> Response:
    key = str(route.get("P"))
    require_delete(state, key)
    for experiment in list(state.archive.in_project(key)):
        state.archive.remove_experiment(experiment)
    del state.archive.projects[key]
    return Response(status=200)


def delete_subject(state: State, route: Route) -> Response:
    parents = resolve(state, route)
    require_delete(state, parents.home)
    if parents.subject is not None:
        del state.archive.subjects[parents.subject.id]
    return Response(status=200)


def delete_experiment(state: State, route: Route) -> Response:
    parents = resolve(state, route)
    experiment = _experiment(parents)
    require_delete(state, experiment.project)
    state.archive.remove_experiment(experiment)
    return Response(status=200)


def delete_scan(state: State, route: Route) -> Response:
    parents = resolve(state, route)
    experiment = _experiment(parents)
    require_delete(state, experiment.project)
    for scan in parents.scans:
        del experiment.scans[scan.id]
    return Response(status=200)


def delete_assessor(state: State, route: Route) -> Response:
    parents = resolve(state, route)
    experiment = _experiment(parents)
    require_delete(state, experiment.project)
    for assessor in parents.assessors:
        del experiment.assessors[assessor.id]
    return Response(status=200)
