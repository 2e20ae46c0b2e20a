"""The import service and the prearchive, in their simplest form: nothing is quiet."""

import io
import itertools
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from flask import Response, request

from standin import events
from standin.archive import owner_of
from standin.dicom_in import Study, read_study
from standin.prearchive_store import Waiting
from standin.records import Experiment
from standin.refused import Refused, not_found
from standin.rights import readable_project, require_edit
from standin.routes import Routes
from standin.state import State
from standin.storage import add_files, checked_name, copied
from standin.tables import result_set

HANDLERS = frozenset({"SI", "DICOM-zip", "gradual-DICOM", "inbox"})
AUTOMATIC = (4, 5)
_numbers = itertools.count(1)


routes = Routes()


@routes.post("/data/services/import")
def imported(state: State) -> Response:
    """Archive what was sent, or let it wait; the answer lists addresses, CRLF."""
    waiting = _received(state)
    uri = _archived_or_waiting(state, waiting)
    return Response(f"{uri}\r\n", mimetype="text/uri-list")


@routes.get("/data/prearchive")
@routes.get("/data/prearchive/projects")
@routes.get("/data/prearchive/projects/<project>")
def listed(state: State, project: str | None = None) -> Response:
    if project is not None:
        readable_project(state, project)
    found = state.prearchive.waiting
    return result_set(w.row() for w in found if project in (None, w.project))


@routes.get("/data/prearchive/projects/<project>/<timestamp>/<name>")
def one(state: State, project: str, timestamp: str, name: str) -> Response:
    return result_set([_waiting(state, project, timestamp, name).row()])


@routes.delete("/data/prearchive/projects/<project>/<timestamp>/<name>")
def delete(state: State, project: str, timestamp: str, name: str) -> Response:
    require_edit(state, project)
    _drop(state, _waiting(state, project, timestamp, name))
    return Response(status=200)


@routes.post("/data/services/archive")
def archived(state: State) -> Response:
    parts = request.values.get("src", "").strip("/").split("/")
    if len(parts) < 3:
        raise Refused(400, "No source")
    waiting = _waiting(state, *parts[-3:])
    require_edit(state, waiting.project)
    overwrite = request.values.get("overwrite", "none")
    return Response(_archive(state, waiting, overwrite) + "\r\n")


def _waiting(state: State, project: str, timestamp: str, name: str) -> Waiting:
    for waiting in state.prearchive.waiting:
        if (waiting.project, waiting.timestamp, waiting.name) == (
            project,
            timestamp,
            name,
        ):
            return waiting
    raise not_found("prearchive session")


def _received(state: State) -> Waiting:
    """Return what was sent, unpacked on disk."""
    handler = request.args.get("import-handler", "SI")
    if handler not in HANDLERS:
        raise Refused(400, f"Unsupported import-handler: {handler}")
    if "overwrite" in request.args and request.args.get("prearchive_code") == "1":
        raise Refused(400, "overwrite is not allowed with prearchive_code=1")
    project = _given("project", "PROJECT_ID") or "Unassigned"
    if project != "Unassigned":
        require_edit(state, project)
    stamp = f"{datetime.now(UTC):%Y%m%d_%H%M%S}{next(_numbers):03d}"
    folder = state.root / "prearchive" / project / stamp
    _unpack(_body(), folder)
    study = read_study(folder)
    label = _given("session", "EXPT_LABEL") or study.values.get("UID", "")
    subject = _given("subject", "SUBJECT_ID") or label
    if not study.series:
        shutil.rmtree(folder)
        raise Refused(400, "No DICOM was found")
    return Waiting(project, stamp, label, subject, folder)


def _given(*names: str) -> str:
    parts = request.args.get("dest", "").strip("/").split("/")
    paired = dict(itertools.pairwise(parts))
    plural = {"project": "projects", "subject": "subjects", "session": "experiments"}
    by_path = paired.get(plural[names[0]], "") if names[0] in plural else ""
    return next((v for name in names if (v := request.args.get(name, ""))), by_path)


def _body() -> bytes:
    if request.files:
        return bytes(next(iter(request.files.values())).read())
    body = request.get_data(cache=False)
    if not body:
        raise Refused(400, "No file was sent")
    return body


def _unpack(body: bytes, folder: Path) -> None:
    folder.mkdir(parents=True)
    if not zipfile.is_zipfile(io.BytesIO(body)):
        (folder / "1.dcm").write_bytes(body)
        return
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                path = folder / checked_name(member.filename.lstrip("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(member))


def _archived_or_waiting(state: State, waiting: Waiting) -> str:
    state.prearchive.waiting.append(waiting)
    project = state.archive.projects.get(waiting.project)
    wanted = request.args.get("dest", "")
    direct = wanted.startswith("/archive") or _is_true("Direct-Archive")
    automatic = project is not None and project.prearchive_code in AUTOMATIC
    if project is None or wanted.startswith("/prearchive") or not (direct or automatic):
        return f"/data{waiting.uri}"
    return _archive(state, waiting, request.args.get("overwrite", "none"))


def _is_true(name: str) -> bool:
    return request.args.get(name, "").lower() == "true"


def _archive(state: State, waiting: Waiting, overwrite: str) -> str:
    """Move a session into the archive; one that is there needs append or delete."""
    archive = state.archive
    merged = archive.has_experiment(waiting.name, waiting.project)
    if merged and overwrite not in ("append", "delete"):
        waiting.status = "CONFLICT"
        return f"/data{waiting.uri}"
    study = read_study(waiting.folder)
    with archive.lock:
        experiment = _session(state, waiting, study)
        add_series(state, experiment, study)
    _drop(state, waiting)
    events.session_event(state, experiment, "MERGED" if merged else "CREATED")
    base = f"/data/archive/projects/{waiting.project}"
    subject = f"subjects/{quote(waiting.subject)}"
    return f"{base}/{subject}/experiments/{quote(waiting.name)}"


def _session(state: State, waiting: Waiting, study: Study) -> Experiment:
    archive = state.archive
    if archive.has_experiment(waiting.name, waiting.project):
        return archive.experiment(waiting.name, waiting.project)
    subject = archive.subject_labelled(waiting.project, waiting.subject)
    kept = (waiting.name, study.xsi_type, study.values)
    return archive.add_experiment(subject, *kept)


def add_series(state: State, experiment: Experiment, study: Study) -> None:
    """Add a study's series as scans; one that is there gets its new files."""
    by_uid = {scan.values.get("UID"): scan for scan in experiment.scans.values()}
    about = {"format": "DICOM", "content": "RAW"}
    for series in study.series:
        scan = by_uid.get(series.values["UID"]) or state.archive.add_scan(
            experiment, series.id, series.xsi_type, series.values
        )
        owner = owner_of(experiment, scan)
        resource = owner.find("DICOM") or state.archive.add_resource(
            owner, "DICOM", **about
        )
        add_files(resource, copied(iter(series.files)), overwrite=True, **about)


def _drop(state: State, waiting: Waiting) -> None:
    state.prearchive.waiting.remove(waiting)
    shutil.rmtree(waiting.folder, ignore_errors=True)
