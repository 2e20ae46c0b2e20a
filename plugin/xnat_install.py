"""Our command on an XNAT server: registered, enabled, and started by new sessions.

Every step looks first, so that a second run changes nothing. A step that the user may
not do is refused and the others go on.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from plugin.command_lint import lint_file
from plugin.container.document import parse
from plugin.errors import ArchiveError, ConfigError, LoginError
from plugin.xnat import enablement, registration, subscription
from plugin.xnat.answers import NOT_FOUND, ForbiddenError, StatusError
from plugin.xnat.client import XnatClient, path_of
from plugin.xnat.enablement import Place
from plugin.xnat.subscription import Subscription

logger = logging.getLogger(__name__)

Outcome = Literal["created", "updated", "unchanged", "refused", "planned"]
Done = tuple[Outcome, str]

PLUGIN_ID = "containers"
SEGMENT = "segment"
MANAGER = "site administrator, or Container Manager"
OWNER = "owner of the project"
ADMIN = "site administrator"
NOT_ALLOWED = 405
COMMAND_FILE = "command.json"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the installation, and what became of it."""

    name: str
    role: str
    outcome: Outcome
    note: str

    def line(self) -> str:
        """Return the step as one line for people."""
        return f"{self.outcome:9} {self.name}: {self.note} (needs: {self.role})"


class Installation:
    """One command on one server, for one project."""

    def __init__(
        self,
        client: XnatClient,
        project: str,
        command: registration.Document,
        *,
        dry_run: bool = False,
    ) -> None:
        self._client = client
        self._project = project
        self._command = command
        self._dry_run = dry_run
        self._stored: registration.Document | None = None

    def steps(self, *, events: bool = False) -> Iterator[Step]:
        """Yield every step once it is done; the site comes before the project.

        Raises
        ------
        ArchiveError
            If the server lacks the Container Service or the project, or fails.
        """
        _refuse_unfit(self._client, self._project)
        yield self._step("command", MANAGER, self._register)
        wrappers = [str(wrapper["name"]) for wrapper in self._command["xnat"]]
        for name in wrappers:
            enable = partial(self._enable, name, site=True)
            yield self._step(f"enable-site {name}", MANAGER, enable)
        for name in wrappers:
            enable = partial(self._enable, name, site=False)
            yield self._step(f"enable-project {name}", OWNER, enable)
        if events:
            yield self._step("event-service", ADMIN, self._switch_events_on)
            yield self._step("subscription", OWNER, self._subscribe)

    def _step(self, name: str, role: str, act: Callable[[], Done]) -> Step:
        try:
            outcome, note = act()
        except ForbiddenError:
            outcome, note = "refused", "you may not do this"
        except LoginError:
            # The Event Service and older plugins answer 401 for a missing role. When
            # the login itself has ended, this raises again.
            self._client.read("/data/auth", "the login")
            outcome, note = "refused", "you may not do this"
        return Step(name, role, outcome, note)

    def _register(self) -> Done:
        known = registration.find(self._client, self._command)
        self._stored = known
        if known is not None and registration.covers(known, self._command):
            return "unchanged", f"id {known['id']}{self._older()}"
        what = f"{self._command['name']} {self._command['version']}"
        if self._dry_run:
            return "planned", f"{what} is {'changed' if known else 'new'}"
        self._stored = registration.store(self._client, self._command, known)
        outcome: Outcome = "updated" if known else "created"
        return outcome, f"{what}, id {self._stored['id']}{self._older()}"

    def _older(self) -> str:
        """Return a reminder of other versions; both would be in the Run menu."""
        found = registration.others(self._client, self._command)
        return f"; also there, disable or delete: {', '.join(found)}" if found else ""

    def _enable(self, wrapper: str, *, site: bool) -> Done:
        if self._stored is None or wrapper not in registration.wrapper_ids(
            self._stored
        ):
            return self._without_command()
        place = Place(self._project, int(self._stored["id"]), wrapper)
        found = enablement.read(self._client, place)
        if found.site if site else found.project:
            return "unchanged", "on" if found.site else _inert("on")
        if self._dry_run:
            return "planned", "off"
        found = enablement.switch_on(self._client, place, site=site)
        return "updated", "on" if found.site else _inert("on")

    def _switch_events_on(self) -> Done:
        try:
            on = subscription.is_on(self._client)
        except ForbiddenError:
            return "unchanged", "not readable to you; the next step tells"
        if on:
            return "unchanged", "on"
        if self._dry_run:
            return "planned", "off, on the whole site"
        subscription.switch_service_on(self._client)
        return "updated", "on now, on the whole site"

    def _subscribe(self) -> Done:
        ids = registration.wrapper_ids(self._stored) if self._stored else {}
        if SEGMENT not in ids:
            return self._without_command()
        wanted = Subscription(self._project, ids[SEGMENT])
        known = subscription.find(self._client, wanted)
        if known and known.get("active") and wanted.is_done_by(known):
            return "unchanged", f"id {known['id']}"
        if self._dry_run:
            return "planned", f"'{wanted.name}': SessionEvent CREATED, MR sessions"
        try:
            subscription.store(self._client, wanted, known)
        except StatusError as error:
            if error.status != NOT_ALLOWED:
                raise
            return "refused", "the Event Service is off: an administrator runs this too"
        outcome: Outcome = "updated" if known else "created"
        return outcome, f"'{wanted.name}', containers run with your rights"

    def _without_command(self) -> Done:
        if self._dry_run:
            return "planned", "follows the command"
        return "refused", "the command is not registered as it should be"


def read_command(path: Path | None, package: Path) -> dict[str, Any]:
    """Return the one command of a file, linted; by default this version's own.

    ``package`` is the folder of ``plugin``: an installed copy of the file is in it, a
    checkout's beside it; the working directory comes last.

    Raises
    ------
    ConfigError
        If there is no file, or the Container Service would refuse what it holds.
    """
    places = (package / COMMAND_FILE, package.parent / COMMAND_FILE, Path(COMMAND_FILE))
    chosen = path or next((place for place in places if place.is_file()), None)
    if chosen is None:
        raise _unusable("--command", f"no {COMMAND_FILE} with this installation")
    wrong = [each.message for each in lint_file(chosen) if each.severity == "error"]
    if wrong:
        raise _unusable(str(chosen), f"{len(wrong)} errors, first: {wrong[0]}")
    commands, _ = parse(chosen.read_text(encoding="utf-8"))
    if len(commands) != 1:
        raise _unusable(str(chosen), f"{len(commands)} commands")
    return commands[0]


def _refuse_unfit(client: XnatClient, project: str) -> None:
    """Raise where no step could be done: no Container Service, or no such project."""
    plugin = "/xapi" + path_of("plugins", PLUGIN_ID)
    if client.status(plugin, "XNAT plugins") == NOT_FOUND:
        raise ArchiveError(
            f"XNAT at {client.host}",
            found="no Container Service plugin",
            needed="Container Service 3.7 or newer",
            mend="have the site's administrator install it",
        )
    if (
        client.read("/data" + path_of("projects", project), f"project {project}")
        is None
    ):
        raise ArchiveError(
            f"project {project}",
            found="no such project, or not readable to you",
            needed="a project that you can read",
            mend="correct --archive, or ask the project's owner for a role",
        )


def _inert(state: str) -> str:
    return f"{state}, without effect until it is enabled on the site"


def _unusable(subject: str, found: str) -> ConfigError:
    return ConfigError(
        subject,
        found=found,
        needed="one command that passes `brs command-lint`",
        mend="give the file with --command",
    )
