"""The stand-in: one XNAT server on this machine, for as long as a test needs it."""

import io
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flask import Flask, Response, g, request
from markupsafe import escape
from werkzeug.serving import WSGIRequestHandler, make_server

from standin import (
    commands,
    data,
    events,
    images,
    json_fields,
    login,
    prearchive,
    roi,
    site,
    workflows,
)
from standin.archive import Archive, owner_of
from standin.command_store import Launch
from standin.dicom_in import Study, read_study
from standin.faults import Fault, Faulty
from standin.records import MR_SCAN, MR_SESSION, Experiment
from standin.refused import Refused
from standin.state import State
from standin.storage import Incoming, add_files

PARTS = (
    *(login, site, roi, commands, images),
    *(events, prearchive, json_fields, workflows),
)
__all__ = ["Fault", "Request", "StandIn"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the server saw it; ``user`` is who it was."""

    method: str
    path: str
    query: dict[str, str]
    user: str
    status: int


class Quiet(WSGIRequestHandler):
    """A handler that writes no access log."""

    def log(self, type: str, message: str, *args: Any) -> None:
        return


class StandIn:
    """A strict stand-in for an XNAT server, on a free port of this machine."""

    def __init__(
        self, root: Path, *, port: int = 0, tls: tuple[str, str] | None = None
    ) -> None:
        self.state = State(Archive(root))
        self.requests: list[Request] = []
        self._app = _application(self.state, self.requests)
        self._faulty = Faulty(self._app.wsgi_app, self._note)
        self._server = make_server(
            "127.0.0.1",
            port,
            self._faulty,
            threaded=True,
            request_handler=Quiet,
            ssl_context=tls,
        )
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self.state.url = self.url
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.daemon = True

    @classmethod
    def start(
        cls, root: Path, *, port: int = 0, tls: tuple[str, str] | None = None
    ) -> Self:
        """Return a server that answers already; ``tls`` is its certificate and key."""
        root.mkdir(parents=True, exist_ok=True)
        server = cls(root, port=port, tls=tls)
        server._thread.start()
        return server

    def close(self) -> None:
        self._faulty.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self) -> None:
        """Serve until the process ends."""
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _note(self, method: str, path: str, status: int) -> None:
        self.requests.append(Request(method, path, {}, "", status))

    @property
    def plugins(self) -> set[str]:
        return self.state.plugins

    @property
    def faults(self) -> list[Fault]:
        return self._faulty.faults

    @property
    def launches(self) -> list[Launch]:
        """What was launched, by REST and by events."""
        return self.state.commands.launches

    @property
    def open_sessions(self) -> int:
        """How many JSESSIONs of logged-in users are open."""
        return len(self.state.accounts.sessions)

    @property
    def checksums(self) -> bool:
        return self.state.checksums

    @checksums.setter
    def checksums(self, value: bool) -> None:
        self.state.checksums = value

    def add_user(self, name: str, password: str, *, admin: bool = False) -> None:
        self.state.accounts.passwords[name] = password
        if admin:
            self.state.accounts.admins.add(name)

    def add_project(
        self,
        key: str,
        *,
        owners: Iterable[str] = ("admin",),
        members: Iterable[str] = (),
        collaborators: Iterable[str] = (),
    ) -> None:
        """Add a project; users who are not there yet get their name as password."""
        roles = {
            **dict.fromkeys(collaborators, "collaborator"),
            **dict.fromkeys(members, "member"),
            **dict.fromkeys(owners, "owner"),
        }
        for name in roles:
            self.state.accounts.passwords.setdefault(name, name)
        self.state.archive.add_project(key, {}).roles.update(roles)

    def add_session(
        self,
        project: str,
        *,
        subject: str,
        label: str,
        dicom: Path | None = None,
        xsi_type: str | None = None,
    ) -> str:
        """Archive a session and return its id; its scans come from ``dicom``."""
        study = read_study(dicom) if dicom else Study(MR_SESSION, {}, ())
        archive = self.state.archive
        with archive.lock:
            holder = archive.subject_labelled(project, subject)
            kind = xsi_type or study.xsi_type
            experiment = archive.add_experiment(holder, label, kind, study.values)
            prearchive.add_series(self.state, experiment, study)
        events.session_event(self.state, experiment, "CREATED")
        return experiment.id

    def add_scan(
        self,
        session: str,
        scan_id: str,
        *,
        xsi_type: str = MR_SCAN,
        resource: str = "DICOM",
        files: Mapping[str, bytes] | None = None,
        **values: str,
    ) -> None:
        """Add a scan with these values (``uid`` too); no files means no resource."""
        archive = self.state.archive
        experiment = archive.experiment(session)
        named = {"UID" if key == "uid" else key: each for key, each in values.items()}
        kept = {"quality": "usable", **{k: v for k, v in named.items() if v}}
        scan = archive.add_scan(experiment, scan_id, xsi_type, kept)
        if files:
            self._fill(experiment, files, resource, scan_id=scan.id)

    def add_files(
        self, session: str, resource: str, files: Mapping[str, bytes]
    ) -> None:
        """Put files into a resource of the session itself."""
        self._fill(self.state.archive.experiment(session), files, resource)

    def _fill(
        self,
        experiment: Experiment,
        files: Mapping[str, bytes],
        label: str,
        *,
        scan_id: str | None = None,
    ) -> None:
        scan = experiment.scans[scan_id] if scan_id is not None else None
        owner = owner_of(experiment, scan)
        found = owner.find(label) or self.state.archive.add_resource(owner, label)
        incoming = (Incoming(name, io.BytesIO(data)) for name, data in files.items())
        add_files(found, incoming, overwrite=True)

    def share_session(self, session: str, project: str, label: str = "") -> None:
        experiment = self.state.archive.experiment(session)
        self.state.archive.share(experiment, project, label or experiment.label)

    def issue_token(self, user: str) -> tuple[str, str]:
        """Return a new alias token of the user and its secret."""
        token = self.state.accounts.issue(user)
        return token.alias, token.secret

    def expire_token(self, alias: str) -> None:
        """End a token and every JSESSION that was opened with it."""
        self.state.accounts.expire(alias)

    def directory(self, session: str) -> Path:
        return self.state.archive.experiment(session).directory

    def project_directory(self, project: str) -> Path:
        return self.state.archive.project_directory(project)

    def add_collection(
        self, session: str, label: str, seg: bytes, *, user: str = "admin"
    ) -> str:
        """Save a ROI collection as the viewer does; return its id.

        Raises
        ------
        Refused
            By the same checks as over HTTP.
        """
        project = self.state.archive.experiment(session).project
        with self._app.test_request_context():
            g.user = user
            upload = roi.Upload(project, session, label, seg, overwrite=False)
            return roi.store(self.state, upload)


def _refused(error: Refused) -> Response:
    """Show a refusal: a page below ``/data``, plain text below ``/xapi``."""
    if request.path.startswith("/xapi"):
        return Response(error.message, status=error.status, mimetype="text/plain")
    page = f"<html>\n<body>\n<h3>{escape(error.message)}</h3>\n</body>\n</html>\n"
    response = Response(page, status=error.status, mimetype="text/html")
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="XNAT Protected Area"'
    return response


def _application(state: State, seen: list[Request]) -> Flask:
    app = Flask("standin")
    for part in PARTS:
        part.routes.add_to(app, state)
    data.add_routes(app, state)
    app.after_request(login.cookies)
    app.register_error_handler(Refused, _refused)

    @app.after_request
    def note(response: Response) -> Response:
        user = g.get("user", "guest")
        query = request.args.to_dict()
        status = response.status_code
        seen.append(Request(request.method, request.path, query, user, status))
        return response

    return app
