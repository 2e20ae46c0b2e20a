"""Checks of an XNAT project: may we read it, write to it, and show masks there."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from plugin.check import Check, Verdict, failed, ok, warning
from plugin.folder_archive import RESOURCE
from plugin.xnat import listing, roi
from plugin.xnat.answers import NOT_FOUND, ForbiddenError, StatusError
from plugin.xnat.client import Patience, XnatClient, path_of
from plugin.xnat.listing import XnatSession
from plugin.xnat.target import XnatTarget
from plugin.xnat_archive import EXISTS, XnatArchive

OLDEST = (1, 8)
PLUGIN_ID = "containers"
CLOCK_LIMIT_S = 60
HOW_TO = "docs/how-to/xnat.md"
LOGIN = re.compile(r"User '(?P<name>[^']+)' is logged in")
GUEST = "guest"
IMPATIENT = Patience(attempts=2, read_s=60.0)
"""Who asks a doctor does not want to wait for a server that does not answer."""

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)


class Examined:
    """The project under examination; the login happens with the first question."""

    def __init__(self, target: XnatTarget, patience: Patience = IMPATIENT) -> None:
        self.target = target
        self._patience = patience
        self._archive: XnatArchive | None = None

    @property
    def archive(self) -> XnatArchive:
        """Return the archive, logged in."""
        if self._archive is None:
            self._archive = XnatArchive(self.target, self._patience)
        return self._archive

    @property
    def client(self) -> XnatClient:
        """Return the calls to the server, logged in."""
        return self.archive.client

    @property
    def project(self) -> str:
        """Return the project's id."""
        return self.target.project

    def close(self) -> None:
        """End the server's session, if there is one."""
        if self._archive is not None:
            self._archive.close()


def xnat_checks(examined: Examined, clock: Clock = now) -> tuple[Check, ...]:
    """Return the checks of a project, in the order in which they make sense."""
    needs_login = ("login",)
    needs_project = ("login", "project")
    return (
        Check("login", lambda: _login(examined)),
        Check("version", lambda: _version(examined), needs_login),
        Check("container-service", lambda: _container_service(examined), needs_login),
        Check("project", lambda: _project(examined), needs_login),
        Check("roi", lambda: _roi(examined), needs_project),
        Check("sessions", lambda: _sessions(examined), needs_project),
        Check("write", lambda: _write(examined), needs_project),
        Check("scan-uids", lambda: _scan_uids(examined), (*needs_project, "sessions")),
        Check("clock", lambda: _clock(examined, clock), needs_login),
        Check("tls", lambda: _tls(examined.target.host)),
    )


def _login(examined: Examined) -> Verdict:
    said = examined.client.read("/data/auth", "the login") or b""
    match = LOGIN.search(said.decode(errors="replace"))
    if match is None or match["name"] == GUEST:
        return failed("a guest", "set XNAT_USER and XNAT_PASS to a user's or a token's")
    return ok(f"logged in as {match['name']}")


def _version(examined: Examined) -> Verdict:
    found = examined.client.json("/xapi/siteConfig/buildInfo", "XNAT's version")
    text = str(found.get("version", "")) if isinstance(found, dict) else ""
    numbers = re.match(r"(\d+)\.(\d+)", text)
    if numbers is None:
        return warning("unknown", f"check that it is {_dotted(OLDEST)} or newer")
    if (int(numbers[1]), int(numbers[2])) < OLDEST:
        return failed(text, f"update XNAT to {_dotted(OLDEST)} or newer")
    return ok(f"XNAT {text}")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _container_service(examined: Examined) -> Verdict:
    plugin = "/xapi" + path_of("plugins", PLUGIN_ID)
    if examined.client.status(plugin, "XNAT plugins") == NOT_FOUND:
        return warning(
            "no Container Service plugin: nothing in the Run menu",
            "have the administrator install it, or run brs from outside",
        )
    return ok("Container Service plugin installed")


def _project(examined: Examined) -> Verdict:
    path = "/data" + path_of("projects", examined.project)
    if examined.client.read(path, f"project {examined.project}") is None:
        return failed(
            f"no project {examined.project}, or not readable to you",
            "correct --archive, or ask the project's owner for a role",
        )
    return ok(f"project {examined.project} readable")


def _roi(examined: Examined) -> Verdict:
    if not roi.is_available(examined.client):
        return warning(
            "no OHIF viewer plugin: masks are in the resource BRS only",
            "have the administrator install it to see masks in the viewer",
        )
    try:
        may = roi.may_create(examined.client, examined.project)
    except ForbiddenError:
        may = False
    if not may:
        return warning(
            "you may not create ROI collections here",
            "ask for create and edit on icr:roiCollectionData (members have them)",
        )
    return ok("OHIF viewer plugin installed, ROI collections allowed")


def _sessions(examined: Examined) -> Verdict:
    found = len(examined.archive.sessions())
    if not found:
        return warning("no MR session", "archive sessions, or ask for the right to see")
    return ok(f"{found} MR sessions")


def _write(examined: Examined) -> Verdict:
    """Try both places of results, and leave at most the project's empty ``BRS``."""
    session, project = _may_edit_session(examined), _may_edit_project(examined)
    if session is False or not (session or project):
        return failed(
            "you may not write here: segment would be refused",
            "ask the project's owner for the role member, or owner",
        )
    if not project:
        return warning(
            "sessions are yours to edit, the project's files are not",
            "rank, train, finetune and evaluate need the project's owner",
        )
    tried = "sessions and the project" if session else "the project (no session tried)"
    return ok(f"{tried} are yours to edit")


def _may_edit_session(examined: Examined) -> bool | None:
    """Tell whether sessions can be edited; None without one to try.

    Asks for a resource that is there: XNAT refuses that as a conflict, but first
    whoever has no right to edit.
    """
    session = _first_own(examined)
    files = listing.scan_files(examined.client, session.id) if session else ()
    if session is None or not files:
        return None
    scan = path_of("scans", files[0].scan_id, "resources", files[0].resource)
    return _may_put(examined, "/data" + path_of("experiments", session.id) + scan)


def _may_edit_project(examined: Examined) -> bool:
    """Tell whether the project's files can be edited; its owners may, by default."""
    resource = path_of("projects", examined.project, "resources", RESOURCE)
    return _may_put(examined, "/data" + resource)


def _may_put(examined: Examined, resource: str) -> bool:
    try:
        examined.client.put(resource, "the right to write")
    except ForbiddenError:
        return False
    except StatusError as error:
        if error.status != EXISTS:
            raise
    return True


def _scan_uids(examined: Examined) -> Verdict:
    session = _first_own(examined)
    if session is None:
        return warning("no session of the project's own", "archive one, then ask again")
    scans = listing.scans(examined.client, session.id)
    without = [scan.id for scan in scans if not scan.uid]
    said = f"session {session.id}: {len(scans)} scans"
    if without:
        return warning(
            f"{said}, {len(without)} without a UID: no mask in the viewer for them",
            f"set the scans' UID attribute ({HOW_TO})",
        )
    return ok(f"{said}, all with a UID")


def _first_own(examined: Examined) -> XnatSession | None:
    found = listing.sessions(examined.client, examined.project)
    return next((s for s in found if s.owner == examined.project), None)


def _clock(examined: Examined, clock: Clock) -> Verdict:
    said = examined.client.header("/data/auth", "the server's clock", "Date")
    try:
        there = parsedate_to_datetime(said)
    except ValueError:
        return warning("the server tells no time", "compare the clocks by hand")
    apart_s = (clock() - there).total_seconds()
    if abs(apart_s) > CLOCK_LIMIT_S:
        return warning(
            f"{apart_s:+.0f} s from the server's",
            "set both by NTP: times in results and token life would be wrong",
        )
    return ok(f"within {CLOCK_LIMIT_S} s of the server's")


def _tls(host: str) -> Verdict:
    if host.startswith("https://"):
        return ok("https, certificate verified with each request")
    return warning(
        "http: login and images can be read on the way",
        "use https; a site's own CA goes in REQUESTS_CA_BUNDLE",
    )
