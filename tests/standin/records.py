"""What the archive knows: projects, subjects, experiments, scans, assessors, files.

``values`` hold the plain fields of an object by their XNAT name, always as text.
"""

from dataclasses import dataclass, field
from pathlib import Path

MR_SESSION = "xnat:mrSessionData"
MR_SCAN = "xnat:mrScanData"
ROI_COLLECTION = "icr:roiCollectionData"
CATALOG = "xnat:resourceCatalog"

Values = dict[str, str]


@dataclass(slots=True)
class StoredFile:
    """One file of a resource; ``name`` is its path below the resource."""

    name: str
    path: Path
    size: int
    md5: str
    format: str = ""
    content: str = ""
    tags: str = ""


@dataclass(slots=True)
class Resource:
    """A labelled folder of files with its catalog."""

    id: str
    label: str
    directory: Path
    catalog: str
    files: dict[str, StoredFile] = field(default_factory=dict)
    values: Values = field(default_factory=dict)


Resources = dict[str, Resource]


@dataclass(slots=True)
class Scan:
    """One scan of a session; ``folder`` is its name on disk."""

    id: str
    xsi_type: str
    number: str
    folder: str
    values: Values = field(default_factory=dict)
    resources: Resources = field(default_factory=dict)


@dataclass(slots=True)
class Assessor:
    """What was derived from a session, a ROI collection for instance."""

    id: str
    label: str
    xsi_type: str
    values: Values = field(default_factory=dict)
    resources: Resources = field(default_factory=dict)
    series_uids: list[str] = field(default_factory=list)
    segments: list[Values] = field(default_factory=list)


@dataclass(slots=True)
class Experiment:
    """A session; ``shared`` maps other projects to the label it has there."""

    id: str
    label: str
    project: str
    subject: str
    xsi_type: str
    directory: Path
    values: Values = field(default_factory=dict)
    scans: dict[str, Scan] = field(default_factory=dict)
    assessors: dict[str, Assessor] = field(default_factory=dict)
    resources: Resources = field(default_factory=dict)
    fields: Values = field(default_factory=dict)
    shared: Values = field(default_factory=dict)

    @property
    def projects(self) -> tuple[str, ...]:
        """The owner first, then the projects it is shared into."""
        return (self.project, *self.shared)


@dataclass(slots=True)
class Subject:
    """A patient, under the label that a project gives."""

    id: str
    label: str
    project: str
    values: Values = field(default_factory=dict)
    resources: Resources = field(default_factory=dict)
    fields: Values = field(default_factory=dict)
    shared: Values = field(default_factory=dict)


@dataclass(slots=True)
class Project:
    """A project and who may do what in it."""

    id: str
    values: Values = field(default_factory=dict)
    accessibility: str = "private"
    prearchive_code: int = 4
    roles: dict[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=dict)
