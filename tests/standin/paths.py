"""Which archive route a path takes: the longest template that it starts with.

What follows the template is left over. XNAT's router does the same, hence an unknown
path below an experiment answers with the experiment.
"""

from dataclasses import dataclass
from itertools import product

SESSIONS = (
    "projects/{P}/subjects/{S}/experiments/{E}",
    "experiments/{E}",
)
PROJECT_SESSION = "projects/{P}/experiments/{E}"
BELOW = ("/scans/{C}", "/assessors/{A}", "/assessors/{A}/{T}")
HOLDERS = (
    "projects/{P}",
    "projects/{P}/subjects/{S}",
    "subjects/{S}",
    *SESSIONS,
    *("".join(pair) for pair in product(SESSIONS, BELOW)),
)
TEMPLATES = (
    "projects",
    "projects/{P}",
    "projects/{P}/subjects",
    "projects/{P}/subjects/{S}",
    "projects/{P}/subjects/{S}/experiments",
    "projects/{P}/experiments",
    "projects/{P}/users",
    "projects/{P}/users/{G}/{U}",
    "projects/{P}/accessibility",
    "projects/{P}/accessibility/{L}",
    "projects/{P}/prearchive_code",
    "projects/{P}/prearchive_code/{N}",
    "subjects",
    "subjects/{S}",
    "experiments",
    PROJECT_SESSION,
    *SESSIONS,
    *("".join(pair) for pair in product(SESSIONS, ("/scans", "/assessors"))),
    *("".join(pair) for pair in product(SESSIONS, BELOW[:2])),
    *(f"{holder}/resources" for holder in (*HOLDERS, PROJECT_SESSION)),
    *(f"{holder}/resources/{{R}}" for holder in (*HOLDERS, PROJECT_SESSION)),
    *(f"{holder}/resources/{{R}}/files" for holder in (*HOLDERS, PROJECT_SESSION)),
    *(f"{holder}/files" for holder in HOLDERS),
)


@dataclass(frozen=True, slots=True)
class Route:
    """The template's last fixed word, its variables, and what is left over."""

    kind: str
    """The last words of the template: "scans", "scans/{C}", "resources/{R}/files"..."""
    values: dict[str, str]
    rest: tuple[str, ...]

    def get(self, name: str) -> str | None:
        return self.values.get(name)


SPLIT = sorted(
    (tuple(template.split("/")) for template in TEMPLATES), key=len, reverse=True
)


def route(segments: tuple[str, ...]) -> Route | None:
    """Return the route of a path, None when no template fits."""
    for template in SPLIT:
        values = _fit(template, segments)
        if values is not None:
            return Route(_kind(template), values, segments[len(template) :])
    return None


def _fit(template: tuple[str, ...], path: tuple[str, ...]) -> dict[str, str] | None:
    if len(template) > len(path):
        return None
    values = {}
    for word, segment in zip(template, path, strict=False):
        if word.startswith("{"):
            values[word[1]] = segment
        elif word != segment:
            return None
    return values if all(values.values()) else None


def _kind(template: tuple[str, ...]) -> str:
    if template[-1] == "files":
        return "files"
    if template[-1].startswith("{"):
        return next(word for word in reversed(template) if word[0] != "{") + "/"
    return template[-1]
