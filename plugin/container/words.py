"""The Container Service's own words: types, properties, and what may stand where."""

import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z0-9_-]*")
KUBERNETES_NAME = re.compile(r"[a-z0-9-]+")
TAGGED = re.compile(r".+:[a-zA-Z0-9_.-]+")
COMMAND_LINE_MAX = 2048

COMMAND_TYPES = ("docker", "docker-setup", "docker-wrapup")
VISIBILITIES = ("public", "private", "protected")
INPUT_TYPES = ("string", "boolean", "number", "select-one", "select-many", "file")
DELIMITERS = ("quoted-space", "space", "comma", "flag")
HANDLER_TYPES = ("Resource", "Assessor", "Scan")
RESERVED_VARIABLES = (
    *("XNAT_HOST", "XNAT_USER", "XNAT_PASS"),
    *("XNAT_WORKFLOW_ID", "XNAT_EVENT_ID"),
)
SECRET_FORBIDDEN = RESERVED_VARIABLES[:3]

ILLEGAL_TEXTS = (";", "&&", "||", "`", "(")
"""A launch fails when an input's value holds one, a derived value too."""

OBJECTS = ("Project", "Subject", "Session", "Scan", "Assessor", "Resource")
WRAPPER_TYPES = (
    *OBJECTS,
    *("ProjectAsset", "SubjectAssessor", "string", "boolean", "number", "file"),
    *("Directory", "File", "File[]", "Config"),
)
MOUNTABLE = (
    *("Project", "ProjectAsset", "SubjectAssessor", "Session", "Scan"),
    *("Assessor", "Resource", "File"),
)

_ASSETS = ("ProjectAsset", "SubjectAssessor")
PARENTS: Mapping[str, tuple[str, ...]] = {
    "string": (*OBJECTS, *_ASSETS, "File"),
    "Project": ("Subject", "Session", "Scan", "Assessor", *_ASSETS),
    "ProjectAsset": ("Project",),
    "Subject": ("Project", "Session", "SubjectAssessor"),
    "SubjectAssessor": ("Project", "Subject"),
    "Session": ("Subject", "Scan", "Assessor"),
    "Scan": ("Session",),
    "Assessor": ("Session", *_ASSETS),
    "Resource": (*OBJECTS[:-1], *_ASSETS),
    "Directory": ("Resource",),
    "File": ("Resource",),
    "File[]": ("Resource",),
}
"""From which types a derived input of a type gets a value; others get none."""

FREE_TEXT = (
    *("label", "note", "quality", "scan-type", "series-description"),
    *("scanner", "scanner-manufacturer", "scanner-model"),
)
"""Object properties that people and scanners write, parentheses included."""
