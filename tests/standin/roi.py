"""The ROI API of the OHIF viewer's plugin: masks as ``icr:roiCollectionData``."""

import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from flask import Response, jsonify, request, send_file

from standin import events
from standin.archive import assessor_owner, stamp
from standin.records import ROI_COLLECTION, Assessor, Experiment, Project, Values
from standin.refused import Refused, forbidden
from standin.rights import (
    can_edit,
    can_read,
    is_owner,
    require_readable,
    user,
)
from standin.routes import Routes
from standin.seg_in import Segmentation, parse, sop_instance_uids
from standin.state import State
from standin.storage import Incoming, add_files, remove_resource
from standin.workflow_store import Workflow

PLUGIN_ID = "ohifViewerPlugin"
TYPES = ("AIM", "RTSTRUCT", "SEG", "MEAS")
MODALITIES = frozenset({"MR", "CT", "PT", "US"})
UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True)
class Upload:
    """One SEG to be stored under a label."""

    project: str
    session: str
    label: str
    body: bytes
    overwrite: bool


routes = Routes()
BASE = "/xapi/roi/projects/<project>"


@routes.before
def installed(state: State) -> None:
    if request.path.startswith("/xapi/roi/") and PLUGIN_ID not in state.plugins:
        raise Refused(404, "Not Found")


@routes.put(f"{BASE}/sessions/<session>/collections/<label>")
def put(state: State, project: str, session: str, label: str) -> Response:
    if request.mimetype != "application/octet-stream":
        raise Refused(415, "Unsupported Media Type")
    kind = request.args.get("type")
    if kind is None:
        raise Refused(400, "Required request parameter 'type' is not present")
    if kind not in TYPES:
        raise Refused(UNPROCESSABLE, f"Unsupported collection type: {kind}")
    overwrite = request.args.get("overwrite", "").lower() == "true"
    body = request.get_data(cache=False)
    upload = Upload(project, session, label, body, overwrite)
    return Response(store(state, upload), mimetype="text/plain")


@routes.get(f"{BASE}/collections/<key>")
def get(state: State, project: str, key: str) -> Response:
    _require(state, project, "read")
    _, assessor = _found(state, project, key)
    if request.args.get("type", "SEG") != assessor.values["collectionType"]:
        raise Refused(UNPROCESSABLE)
    files = assessor.resources["SEG"].files
    stored = next(iter(files.values()))
    return send_file(stored.path, mimetype="application/octet-stream", etag=False)


@routes.delete(f"{BASE}/collections/<key>")
def delete(state: State, project: str, key: str) -> Response:
    _require(state, project, "delete")
    _remove(*_found(state, project, key))
    return Response(status=200)


@routes.get(f"{BASE}/exists/<key>")
def exists(state: State, project: str, key: str) -> Response:
    _require(state, project, "read")
    return jsonify(any(key in (a.id, a.label) for _, a in _all(state, project)))


@routes.get(f"{BASE}/rois/<key>")
def rois(state: State, project: str, key: str) -> Response:
    _require(state, project, "read")
    return jsonify(_found(state, project, key)[1].segments)


@routes.get(f"{BASE}/sessions/<session>/uididmap")
def uids(state: State, project: str, session: str) -> Response:
    _require(state, project, "read")
    return jsonify(_scans_by_uid(_session(state, project, session)))


@routes.get(f"{BASE}/sessions/<session>/scans/<scan>/uids")
def instances(state: State, project: str, session: str, scan: str) -> Response:
    _require(state, project, "read")
    experiment = _session(state, project, session)
    if scan not in experiment.scans:
        raise Refused(UNPROCESSABLE, f"Unknown scan: {scan}")
    return jsonify(sorted(sop_instance_uids(experiment.scans[scan])))


@routes.get(f"{BASE}/permissions/RoiCollection")
def permissions(state: State, project: str) -> Response:
    return jsonify(_permissions(state, project))


def store(state: State, upload: Upload) -> str:
    """Store a SEG after the plugin's checks, in its order; return its collection."""
    with state.archive.lock:
        experiment = _session(state, upload.project, upload.session)
        for right in ("create", "edit", "read"):
            _require(state, upload.project, right)
        require_readable(state, experiment)
        modality = experiment.values.get("modality", "")
        if modality not in MODALITIES:
            text = f"Collection type SEG not supported for modality {modality}"
            raise Refused(UNPROCESSABLE, text)
        existing = _existing(state, upload, experiment)
        seg = parse(upload.body)
        _check_dependencies(experiment, seg)
        if existing is not None:
            remove_resource(existing.resources["SEG"])
        assessor = existing or _new(experiment, upload.label)
        _fill(state, experiment, assessor, upload, seg)
    return assessor.id


def _session(state: State, project: str, session: str) -> Experiment:
    """Return the session by its id in the project; a label is not taken."""
    _visible(state, project)
    experiment = state.archive.experiments.get(session)
    if experiment is None or project not in experiment.projects:
        text = f"Bad session ID or not visible to user {user()}: {session}"
        raise Refused(UNPROCESSABLE, text)
    return experiment


def _visible(state: State, key: str) -> Project:
    """Return the project; one that is not there is 403, like one that is hidden."""
    project = state.archive.projects.get(key)
    if project is None or not can_read(state, project):
        text = f"Bad project ID or not visible to user {user()}: {key}"
        raise forbidden(text)
    return project


def _permissions(state: State, project: str) -> dict[str, bool]:
    found = _visible(state, project)
    return {
        "create": can_edit(state, found),
        "read": can_read(state, found),
        "edit": can_edit(state, found),
        "delete": is_owner(state, found),
    }


def _require(state: State, project: str, right: str) -> None:
    if not _permissions(state, project)[right]:
        raise forbidden(f"User has no {right} permission for roiCollection")


def _all(state: State, project: str) -> Iterator[tuple[Experiment, Assessor]]:
    for experiment in state.archive.in_project(project):
        for assessor in list(experiment.assessors.values()):
            ours = assessor.values.get("project") == project
            if ours and assessor.xsi_type == ROI_COLLECTION:
                yield experiment, assessor


def _found(state: State, project: str, key: str) -> tuple[Experiment, Assessor]:
    for experiment, assessor in _all(state, project):
        if key in (assessor.id, assessor.label):
            return experiment, assessor
    raise Refused(UNPROCESSABLE, f"Bad ID or label: {key}")


def _existing(state: State, upload: Upload, experiment: Experiment) -> Assessor | None:
    """Return what has the label already; labels are unique in the whole project."""
    for owner, assessor in _all(state, upload.project):
        if assessor.label == upload.label:
            if owner is not experiment:
                raise Refused(409, "ROI collection exists in a different session")
            if not upload.overwrite:
                text = "ROI collection exists, overwrite not specified"
                raise Refused(UNPROCESSABLE, text)
            return assessor
    return None


def _check_dependencies(experiment: Experiment, seg: Segmentation) -> None:
    if seg.study_uid != experiment.values.get("UID"):
        raise Refused(UNPROCESSABLE, "Missing dependencies: study UID")
    scans = _scans_by_uid(experiment)
    known: set[str] = set()
    for series in seg.series_uids:
        if series not in scans:
            raise Refused(UNPROCESSABLE, "Missing dependencies: series UID")
        known |= sop_instance_uids(experiment.scans[scans[series]])
    if not set(seg.instance_uids) <= known:
        raise Refused(UNPROCESSABLE, "Missing dependencies: SOP instance UID")


def _scans_by_uid(experiment: Experiment) -> dict[str, str]:
    """Return scan ids by series UID; a scan without the UID attribute is missing."""
    scans = list(experiment.scans.values())
    return {scan.values["UID"]: scan.id for scan in scans if scan.values.get("UID")}


def _new(experiment: Experiment, label: str) -> Assessor:
    assessor = Assessor(f"RoiCollection_{uuid.uuid4().hex[:20]}", label, ROI_COLLECTION)
    experiment.assessors[assessor.id] = assessor
    return assessor


def _fill(
    state: State,
    experiment: Experiment,
    assessor: Assessor,
    upload: Upload,
    seg: Segmentation,
) -> None:
    assessor.values = {**_values(seg), "project": upload.project}
    assessor.series_uids = list(seg.series_uids)
    assessor.segments = [
        {**segment, "roiCollectionId": assessor.id} for segment in seg.segments
    ]
    owner = assessor_owner(experiment, assessor)
    about = {"format": "DICOM", "content": "SEG"}
    resource = state.archive.add_resource(owner, "SEG", **about)
    incoming = Incoming(f"{upload.label}.dcm", io.BytesIO(upload.body))
    add_files(resource, iter([incoming]), overwrite=True, **about)
    named = ("Upload ROI Collection", assessor.id, upload.project, ROI_COLLECTION)
    state.workflows.append(Workflow(*named, user()))
    events.fire(state, events.ASSESSOR, "CREATED", experiment, {"id": assessor.id})


def _values(seg: Segmentation) -> Values:
    return {
        **stamp(),
        "name": seg.name,
        "collectionType": "SEG",
        "subjectID": "",
        "date": seg.date,
        "time": seg.time,
        "UID": seg.instance_uid,
    }


def _remove(experiment: Experiment, assessor: Assessor) -> None:
    for resource in assessor.resources.values():
        remove_resource(resource)
    del experiment.assessors[assessor.id]
