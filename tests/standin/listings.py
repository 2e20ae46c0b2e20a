"""Rows of the archive's listings: projects, subjects, experiments, scans and so on."""

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from standin.parents import Holder, Parents
from standin.records import Assessor, Experiment, Project, Scan, StoredFile, Subject
from standin.rights import ROLES, can_read
from standin.state import State
from standin.tables import Row, chosen

PROJECT_COLUMNS = (
    "ID",
    "secondary_ID",
    "name",
    "description",
    "pi_firstname",
    "pi_lastname",
    "URI",
)
SUBJECT_COLUMNS = ("ID", "project", "label", "insert_date", "insert_user", "URI")
EXPERIMENT_COLUMNS = (
    "ID",
    "project",
    "date",
    "xsiType",
    "label",
    "insert_date",
    "URI",
)
SCAN_COLUMNS = (
    "xnat_imagescandata_id",
    "ID",
    "type",
    "quality",
    "xsiType",
    "note",
    "series_description",
    "URI",
)
ASSESSOR_COLUMNS = (
    "ID",
    "label",
    "xsiType",
    "session_ID",
    "session_label",
    "date",
    "project",
    "insert_date",
    "URI",
)
SCAN_FIELDS = [
    "note",
    "quality",
    "condition",
    "series_description",
    "documentation",
    "scanner",
    "modality",
    "frames",
    "UID",
    "type",
    "coil",
    "fieldStrength",
    "marker",
    "stabilization",
]
EXPERIMENT_FIELDS = [
    "visit_id",
    "date",
    "time",
    "note",
    "scanner",
    "operator",
    "session_type",
    "modality",
    "UID",
    "coil",
    "fieldStrength",
    "insert_date",
    "insert_user",
    "last_modified",
    "acquisition_site",
]


def project_rows(state: State) -> list[Row]:
    found = [p for p in list(state.archive.projects.values()) if can_read(state, p)]
    return chosen(map(_project_row, found), PROJECT_COLUMNS, ("ID", "URI"))


def _project_row(project: Project) -> Row:
    blank = dict.fromkeys(PROJECT_COLUMNS, "")
    return {**blank, **project.values, "URI": f"/data/projects/{project.id}"}


def subject_rows(state: State, project: Project | None) -> list[Row]:
    rows = [
        _subject_row(subject, project.id if project else subject.project)
        for subject in list(state.archive.subjects.values())
        if _shows(state, (subject.project, *subject.shared), project)
    ]
    return chosen(rows, SUBJECT_COLUMNS, ("ID", "URI"))


def _subject_row(subject: Subject, project: str) -> Row:
    label = subject.shared.get(project, subject.label)
    blank = dict.fromkeys(("gender", "group", "insert_user", "yob", "handedness"), "")
    names = {"ID": subject.id, "label": label, "project": subject.project}
    return {**blank, **subject.values, **names, "URI": f"/data/subjects/{subject.id}"}


def _shows(state: State, projects: Iterable[str], project: Project | None) -> bool:
    if project is not None:
        return project.id in projects
    return any(can_read(state, state.archive.projects[key]) for key in projects)


def experiment_rows(state: State, parents: Parents) -> list[Row]:
    """Return rows of a project, of a subject in it, or of all that may be read.

    ``project`` tells the owner, also of a session that is shared into the project.
    """
    project, subject = parents.project, parents.subject
    rows = [
        _experiment_row(state, experiment, project.id if project else "")
        for experiment in list(state.archive.experiments.values())
        if _shows(state, experiment.projects, project)
        and (subject is None or experiment.subject == subject.id)
    ]
    return chosen(rows, EXPERIMENT_COLUMNS, ("ID", "URI"))


def _experiment_row(state: State, experiment: Experiment, project: str) -> Row:
    subject = state.archive.subjects[experiment.subject]
    names = {
        "ID": experiment.id,
        "label": experiment.shared.get(project, experiment.label),
        "project": experiment.project,
        "xsiType": experiment.xsi_type,
        "subject_ID": subject.id,
        "subject_label": subject.shared.get(project, subject.label),
        "subject_project": subject.project,
        "URI": f"/data/experiments/{experiment.id}",
    }
    return {**dict.fromkeys(EXPERIMENT_FIELDS, ""), **experiment.values, **names}


def scan_rows(parents: Parents) -> list[Row]:
    experiment = parents.experiment
    scans = list(experiment.scans.values()) if experiment else []
    rows = (_scan_row(scan, parents.prefix) for scan in scans)
    return chosen(rows, SCAN_COLUMNS, ("xnat_imagescandata_id", "ID", "URI"))


def _scan_row(scan: Scan, prefix: str) -> Row:
    names = {
        "xnat_imagescandata_id": scan.number,
        "ID": scan.id,
        "xsiType": scan.xsi_type,
        "URI": f"{prefix}/scans/{quote(scan.id, safe='')}",
    }
    return {**dict.fromkeys(SCAN_FIELDS, ""), **scan.values, **names}


def assessor_rows(parents: Parents) -> list[Row]:
    experiment = parents.experiment
    if experiment is None:
        return []
    rows = (_assessor_row(a, experiment) for a in list(experiment.assessors.values()))
    return chosen(rows, ASSESSOR_COLUMNS, ("ID", "URI"))


def _assessor_row(assessor: Assessor, experiment: Experiment) -> Row:
    names = {
        "ID": assessor.id,
        "label": assessor.label,
        "xsiType": assessor.xsi_type,
        "session_ID": experiment.id,
        "session_label": experiment.label,
        "project": assessor.values.get("project", experiment.project),
        "URI": f"/data/experiments/{assessor.id}",
    }
    blank = dict.fromkeys(("date", "insert_date", "note"), "")
    return {**blank, **assessor.values, **names}


def resource_rows(found: Iterable[Holder]) -> list[Row]:
    """Return the rows of resources; they have neither URI nor ID."""
    rows: list[Row] = []
    for holder in found:
        for resource in list(holder.owner.resources.values()):
            files = list(resource.files.values())
            rows.append(
                {
                    "xnat_abstractresource_id": resource.id,
                    "label": resource.label,
                    "element_name": "xnat:resourceCatalog",
                    "category": holder.category,
                    "cat_id": holder.id,
                    "cat_desc": holder.about,
                    "file_count": str(len(files)),
                    "file_size": str(sum(file.size for file in files)),
                    "tags": resource.values.get("tags", ""),
                    "content": resource.values.get("content", ""),
                    "format": resource.values.get("format", ""),
                }
            )
    return rows


def file_rows(state: State, found: Iterable["Listed"]) -> Iterator[Row]:
    for listed in found:
        stored = listed.file
        yield {
            "Name": stored.name.rpartition("/")[2],
            "Size": str(stored.size),
            "URI": listed.uri,
            "collection": listed.label,
            "file_tags": stored.tags,
            "file_format": stored.format,
            "file_content": stored.content,
            "cat_ID": listed.number,
            "digest": stored.md5 if state.checksums else "",
        }


class Listed:
    """A file with the resource and the holder that it was found in."""

    __slots__ = ("file", "holder", "label", "number")

    def __init__(
        self, holder: Holder, label: str, number: str, file: StoredFile
    ) -> None:
        self.holder = holder
        self.label = label
        self.number = number
        self.file = file

    @property
    def uri(self) -> str:
        name = quote(self.file.name, safe="/")
        return f"{self.holder.uri}/resources/{self.number}/files/{name}"


def member_rows(project: Project) -> list[Row]:
    return [
        {
            "GROUP_ID": f"{project.id}_{role}",
            "displayname": ROLES[role],
            "login": login,
            "firstname": login,
            "lastname": login,
            "email": f"{login}@localhost",
        }
        for login, role in project.roles.items()
    ]
