"""Commands of the Container Service, where they are enabled, and what was launched."""

import itertools
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]


@dataclass(slots=True)
class Launch:
    """One request to run a wrapper; the service checks nothing before it queues."""

    project: str
    wrapper_id: int
    inputs: Document
    user: str


@dataclass(slots=True)
class Commands:
    """Commands by id, and the wrappers that are on: for the site and per project."""

    by_id: dict[int, Document] = field(default_factory=dict)
    images: dict[str, dict[str, str]] = field(default_factory=dict)
    """Labels of the images that the engine has, by the image's name."""
    site: set[tuple[int, str]] = field(default_factory=set)
    projects: set[tuple[str, int, str]] = field(default_factory=set)
    launches: list[Launch] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def number(self) -> int:
        return next(self.numbers)

    def wrapper(self, wrapper_id: int) -> tuple[Document, Document] | None:
        """Return the command and the wrapper of that id."""
        for command in self.by_id.values():
            for wrapper in command["xnat"]:
                if wrapper["id"] == wrapper_id:
                    return command, wrapper
        return None

    def is_enabled(self, project: str, command: int, wrapper: str) -> bool:
        """Tell whether a project offers a wrapper: the site must have it on too."""
        on_site = (command, wrapper) in self.site
        return on_site and (project, command, wrapper) in self.projects
