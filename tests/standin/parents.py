"""What the variables of a path stand for: the objects, if the user may see them."""

from dataclasses import dataclass, field
from urllib.parse import quote

from standin.archive import Owner, assessor_owner, owner_of
from standin.paths import Route
from standin.records import Assessor, Experiment, Project, Scan, Subject
from standin.refused import forbidden, not_found
from standin.rights import can_read, readable_project, require_readable
from standin.state import State


@dataclass(slots=True)
class Parents:
    """The objects that a path names, outermost first."""

    project: Project | None = None
    subject: Subject | None = None
    experiment: Experiment | None = None
    scans: list[Scan] = field(default_factory=list)
    assessors: list[Assessor] = field(default_factory=list)
    prefix: str = "/data"
    """How file rows begin: as XNAT does, with the subject only if the path has it."""

    @property
    def home(self) -> str:
        """The project that owns the innermost object."""
        if self.experiment is not None:
            return self.experiment.project
        if self.subject is not None:
            return self.subject.project
        if self.project is None:
            raise not_found("project")
        return self.project.id


def resolve(state: State, route: Route, *, missing_scan_ok: bool = False) -> Parents:
    """Return what a path names; what is not there is 404, what is hidden 403."""
    parents = Parents()
    if key := route.get("P"):
        parents.project = readable_project(state, key)
    project = parents.project.id if parents.project else None
    if key := route.get("S"):
        parents.subject = state.archive.subject(key, project)
        _require_subject(state, parents.subject)
    if key := route.get("E"):
        parents.experiment = state.archive.experiment(key, project)
        require_readable(state, parents.experiment)
        _below(state, parents, route, missing_scan_ok=missing_scan_ok)
    parents.prefix += _prefix(parents)
    return parents


def _require_subject(state: State, subject: Subject) -> None:
    projects = (subject.project, *subject.shared)
    if not any(can_read(state, state.archive.projects[key]) for key in projects):
        raise forbidden()


def _below(
    state: State, parents: Parents, route: Route, *, missing_scan_ok: bool
) -> None:
    experiment = parents.experiment
    if experiment is None:
        return
    if key := route.get("C"):
        parents.scans = _scans(experiment, key)
        if not parents.scans and not missing_scan_ok and key.upper() != "ALL":
            raise not_found("scan")
    if key := route.get("A"):
        parents.assessors = (
            list(experiment.assessors.values())
            if key.upper() == "ALL"
            else [state.archive.assessor(experiment, one) for one in key.split(",")]
        )


def _scans(experiment: Experiment, key: str) -> list[Scan]:
    """Return the scans that ALL, an id, a type, or a comma list of those name."""
    if key in ("*", "ALL", "all"):
        return list(experiment.scans.values())
    wanted = key.split(",")
    found = experiment.scans.values()
    return [s for s in found if s.id in wanted or s.values.get("type") in wanted]


def _prefix(parents: Parents) -> str:
    text = ""
    if parents.subject is not None and parents.project is not None:
        text = f"/projects/{parents.project.id}/subjects/{parents.subject.id}"
    if parents.experiment is not None:
        return f"{text}/experiments/{parents.experiment.id}"
    if parents.subject is not None:
        return text or f"/subjects/{parents.subject.id}"
    return f"/projects/{parents.project.id}" if parents.project else ""


@dataclass(frozen=True, slots=True)
class Holder:
    """One object with resources, and how the addresses of its files begin."""

    owner: Owner
    uri: str
    category: str
    id: str
    about: str


def holders(state: State, parents: Parents, route: Route) -> list[Holder]:
    """Return the objects whose resources a path means."""
    if parents.experiment is None:
        return [_outer_holder(state, parents)]
    experiment = parents.experiment
    if route.get("C"):
        return [
            _scan_holder(experiment, scan, parents.prefix) for scan in parents.scans
        ]
    if route.get("A"):
        return [
            _assessor_holder(experiment, a, parents.prefix) for a in parents.assessors
        ]
    return [Holder(owner_of(experiment), parents.prefix, "resources", "", "")]


def all_holders(state: State, parents: Parents, route: Route) -> list[Holder]:
    """Return the holders of a path and of everything in the session below it."""
    found = holders(state, parents, route)
    experiment = parents.experiment
    if experiment is not None and not route.get("C") and not route.get("A"):
        prefix = parents.prefix
        scans = list(experiment.scans.values())
        found += [_scan_holder(experiment, scan, prefix) for scan in scans]
        assessors = list(experiment.assessors.values())
        found += [_assessor_holder(experiment, a, prefix) for a in assessors]
    return found


def _outer_holder(state: State, parents: Parents) -> Holder:
    archive = state.archive
    if parents.subject is not None:
        subject = parents.subject
        folder = archive.project_directory(subject.project) / "subjects" / subject.label
        owner = Owner(subject.resources, folder)
    elif parents.project is not None:
        folder = archive.project_directory(parents.project.id) / "resources"
        owner = Owner(parents.project.resources, folder)
    else:
        raise not_found("project")
    return Holder(owner, parents.prefix, "resources", "", "")


def _scan_holder(experiment: Experiment, scan: Scan, prefix: str) -> Holder:
    owner = owner_of(experiment, scan)
    kind = scan.values.get("type", "")
    return Holder(
        owner, f"{prefix}/scans/{quote(scan.id, safe='')}", "scans", scan.id, kind
    )


def _assessor_holder(experiment: Experiment, assessor: Assessor, prefix: str) -> Holder:
    owner = assessor_owner(experiment, assessor)
    uri = f"{prefix}/assessors/{assessor.id}/out"
    return Holder(owner, uri, "assessors", assessor.id, assessor.label)
