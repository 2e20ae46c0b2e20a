"""Where a wrapper is on: on the site, and in one project.

In a project it is offered only when the site has it on too. Source: the service's
``CommandConfigurationRestApi`` (3.7); an unknown wrapper is enabled without a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from plugin.errors import ArchiveError
from plugin.xnat.client import XnatClient, path_of


@dataclass(frozen=True, slots=True)
class Place:
    """One wrapper of one command, seen from one project."""

    project: str
    command_id: int
    wrapper: str

    @property
    def site_path(self) -> str:
        """Return where the site's switch is."""
        segments = ("commands", str(self.command_id), "wrappers", self.wrapper)
        return path_of(*segments, "enabled")

    @property
    def project_path(self) -> str:
        """Return where the project's switch is."""
        return path_of("projects", self.project) + self.site_path


@dataclass(frozen=True, slots=True)
class Switches:
    """Whether a wrapper is on."""

    site: bool
    project: bool


def read(client: XnatClient, place: Place) -> Switches:
    """Return both switches; a project's member may read them."""
    found = client.json(f"/xapi{place.project_path}", f"wrapper {place.wrapper}")
    if not isinstance(found, Mapping):
        raise ArchiveError(
            f"wrapper {place.wrapper}",
            found="no report on where it is enabled",
            needed="enabled-for-site and enabled-for-project",
            mend="update the Container Service plugin to 3.7 or newer",
        )
    return Switches(
        site=found.get("enabled-for-site") is True,
        project=found.get("enabled-for-project") is True,
    )


def switch_on(client: XnatClient, place: Place, *, site: bool) -> Switches:
    """Enable a wrapper on the site or in the project; return what was read back.

    Raises
    ------
    ArchiveError
        If it is still off: the service answers 200 for a wrapper it does not know.
    """
    path = place.site_path if site else place.project_path
    client.put(f"/xapi{path}", f"wrapper {place.wrapper}")
    found = read(client, place)
    if not (found.site if site else found.project):
        raise ArchiveError(
            f"wrapper {place.wrapper}",
            found="it is still off when read back",
            needed="an enabled wrapper",
            mend="see the Container Service's log, then run again",
        )
    return found
