"""The archive itself: what exists, under which id and label, and where on disk."""

import itertools
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from standin.records import (
    Assessor,
    Experiment,
    Project,
    Resource,
    Resources,
    Scan,
    Subject,
    Values,
)
from standin.refused import Refused, not_found

FOLDER = re.compile(r"[^A-Za-z0-9._-]")


class Archive:
    """Objects by id; labels are looked up inside a project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self.projects: dict[str, Project] = {}
        self.subjects: dict[str, Subject] = {}
        self.experiments: dict[str, Experiment] = {}
        self._labels: dict[tuple[str, str], Experiment] = {}
        self._counts = {kind: itertools.count(1) for kind in "SE"}
        self._numbers = itertools.count(101)

    def new_id(self, kind: str) -> str:
        return f"XNAT_{kind}{next(self._counts[kind]):05d}"

    def number(self) -> str:
        return str(next(self._numbers))

    def project_directory(self, project: str) -> Path:
        return self.root / "archive" / project

    def project(self, key: str) -> Project:
        if key not in self.projects:
            raise not_found("project")
        return self.projects[key]

    def subject(self, key: str, project: str | None = None) -> Subject:
        """Return a subject by id, or by its label in ``project``."""
        for subject in self.subjects.values():
            labels = {subject.project: subject.label, **subject.shared}
            here = project is None or project in labels
            if here and (key == subject.id or labels.get(project or "") == key):
                return subject
        raise not_found("subject")

    def experiment(self, key: str, project: str | None = None) -> Experiment:
        """Return an experiment by id, or by its label in ``project``."""
        by_id = self.experiments.get(key)
        if by_id is not None and (project is None or project in by_id.projects):
            return by_id
        by_label = self._labels.get((project or "", key))
        if by_label is None:
            raise not_found("experiment")
        return by_label

    def has_experiment(self, key: str, project: str) -> bool:
        return (project, key) in self._labels or key in self.experiments

    def in_project(self, project: str) -> Iterator[Experiment]:
        found = self.experiments.values()
        return (e for e in list(found) if project in e.projects)

    def add_project(self, key: str, values: Mapping[str, str]) -> Project:
        names = {"name": key, "secondary_ID": key, "description": ""}
        project = Project(key, {**names, **values, "ID": key})
        self.projects[key] = project
        self.project_directory(key).mkdir(parents=True, exist_ok=True)
        return project

    def add_subject(self, project: str, label: str, values: Values) -> Subject:
        subject = Subject(self.new_id("S"), label, project, {**stamp(), **values})
        self.subjects[subject.id] = subject
        return subject

    def subject_labelled(self, project: str, label: str) -> Subject:
        """Return the subject of that label, made if it is not there."""
        try:
            return self.subject(label, project)
        except Refused:
            return self.add_subject(project, label, {})

    def add_experiment(
        self, subject: Subject, label: str, xsi_type: str, values: Values
    ) -> Experiment:
        directory = self.project_directory(subject.project) / "arc001" / label
        directory.mkdir(parents=True, exist_ok=True)
        experiment = Experiment(
            id=self.new_id("E"),
            label=label,
            project=subject.project,
            subject=subject.id,
            xsi_type=xsi_type,
            directory=directory,
            values={**stamp(), **values},
        )
        self.experiments[experiment.id] = experiment
        self._labels[subject.project, label] = experiment
        return experiment

    def share(self, experiment: Experiment, project: str, label: str) -> None:
        """Show the experiment, and its subject, in another project too."""
        self.project(project)
        if project in experiment.projects or (project, label) in self._labels:
            raise Refused(409, "Already assigned to project")
        experiment.shared[project] = label
        self._labels[project, label] = experiment
        subject = self.subjects[experiment.subject]
        if project != subject.project:
            subject.shared.setdefault(project, subject.label)

    def remove_experiment(self, experiment: Experiment) -> None:
        del self.experiments[experiment.id]
        for key in [k for k, e in self._labels.items() if e is experiment]:
            del self._labels[key]

    def relabel(self, experiment: Experiment, label: str) -> None:
        self._labels.pop((experiment.project, experiment.label), None)
        experiment.label = label
        self._labels[experiment.project, label] = experiment

    def add_scan(
        self, experiment: Experiment, key: str, xsi_type: str, values: Values
    ) -> Scan:
        folder = FOLDER.sub("_", key)
        scan = Scan(key, xsi_type, self.number(), folder, values)
        experiment.scans[key] = scan
        return scan

    def add_resource(self, owner: "Owner", label: str, **values: str) -> Resource:
        directory = owner.directory / FOLDER.sub("_", label)
        catalog = f"{owner.prefix or label}_catalog.xml"
        resource = Resource(self.number(), label, directory, catalog)
        resource.values.update(values)
        owner.resources[label] = resource
        return resource

    def assessor(self, experiment: Experiment, key: str) -> Assessor:
        for assessor in experiment.assessors.values():
            if key in (assessor.id, assessor.label):
                return assessor
        raise not_found("experiment")


class Owner:
    """Whatever holds resources: where they lie, and how their catalogs begin."""

    def __init__(self, resources: Resources, directory: Path, prefix: str = "") -> None:
        self.resources = resources
        self.directory = directory
        self.prefix = prefix

    def find(self, key: str) -> Resource | None:
        """Return a resource by label or number."""
        found = self.resources.values()
        return next((r for r in found if key in (r.label, r.id)), None)


def stamp() -> Values:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.0")
    return {"insert_date": now}


def owner_of(experiment: Experiment, scan: Scan | None = None) -> Owner:
    """Return the holder of a session's own resources, or of one scan's."""
    if scan is None:
        return Owner(experiment.resources, experiment.directory / "RESOURCES")
    folder = experiment.directory / "SCANS" / scan.folder
    return Owner(scan.resources, folder, f"scan_{scan.folder}")


def assessor_owner(experiment: Experiment, assessor: Assessor) -> Owner:
    folder = experiment.directory / "ASSESSORS" / FOLDER.sub("_", assessor.label)
    return Owner(assessor.resources, folder)
