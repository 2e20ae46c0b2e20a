"""A launch as XNAT's Container Service does it, on the stand-in server.

Rights first, then the resolution, then the program (``container``), then the output
handlers, and only if the program ended well. The token ends with the container. Which
wrappers a site has enabled is not looked at.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

import requests
from container import here, images_in, places_of, run_program
from resolution import COMMAND, Kept, Resolution, Resolved, UnresolvedError, XnatObject
from standin.rights import EDITORS
from standin.server import StandIn
from standin.workflow_store import Workflow

from plugin.container.command import Command
from plugin.container.reader import read_command

IMAGE = Path(sys.executable).parent
TIMEOUT_S = 30


class ForbiddenError(Exception):
    """The service refused the launch at once (403): no workflow, no container."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What became of a launch; ``env`` is all that the container was given."""

    status: str
    exit_code: int | None
    stdout: str
    stderr: str
    env: Mapping[str, str]
    files_uploaded: tuple[str, ...]
    argv: tuple[str, ...] = ()
    folder: Path | None = None
    """``output`` (the mount) and ``LOGS`` lie here."""

    def told(self) -> Iterator[tuple[str, bytes]]:
        """Yield everything that others may read: arguments, logs, and files left."""
        yield "argv", "\0".join(self.argv).encode()
        for path in sorted(self.folder.rglob("*")) if self.folder else ():
            if path.is_file():
                yield str(path.relative_to(self.folder or path)), path.read_bytes()


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What the output handlers did."""

    files: tuple[str, ...]
    failed: bool


class Launcher:
    """Launches the wrappers of one command file; ``image`` holds its programs.

    ``cache`` outlives the containers, as a volume of the site may: what was measured
    once on this machine is not measured again in each of them.
    """

    def __init__(
        self,
        server: StandIn,
        command: Path = COMMAND,
        *,
        scratch: Path | None = None,
        image: Path = IMAGE,
        cache: Path | None = None,
    ) -> None:
        self.server = server
        self.alias = ""
        """The alias token of the launch that runs, or ran last."""
        self._running: subprocess.Popen[bytes] | None = None
        self._raw = json.loads(command.read_text(encoding="utf-8"))
        self._command: Command = read_command(self._raw, [])
        self._scratch = scratch or server.state.root / "launches"
        self._image = image
        self._volumes = {"XDG_CACHE_HOME": str(cache)} if cache else {}
        self._numbers = count(1)

    def kill(self) -> None:
        """Kill the container that runs, as an administrator or a lost node does."""
        assert self._running is not None
        self._running.kill()

    def _started(self, process: "subprocess.Popen[bytes]") -> None:
        self._running = process

    def launch(
        self,
        wrapper: str,
        *,
        user: str,
        session: str | None = None,
        project: str | None = None,
        inputs: Mapping[str, str] | None = None,
        timeout_s: float = 300.0,
    ) -> Launch:
        """Launch a wrapper on a session or a project and wait for its end.

        Raises
        ------
        ForbiddenError
            If the user may not read what it runs on, or not change it.
        """
        alias, secret = self.server.issue_token(user)
        try:
            target = self._target(session, project, (alias, secret))
            self._require_edit(target, user)
        finally:
            self.server.expire_token(alias)
        workflow = self._workflow(wrapper, target, user)
        try:
            resolution = Resolution(self._command, self._raw, wrapper, target)
            resolved = resolution.resolve(inputs or {})
        except UnresolvedError as problem:
            workflow.status = "Failed (Command resolution)"
            return Launch(workflow.status, None, "", str(problem), {}, ())
        ended = self._run(resolved, workflow, user, timeout_s)
        workflow.status = ended.status
        return ended

    def _target(
        self, session: str | None, project: str | None, login: tuple[str, str]
    ) -> XnatObject:
        if session is not None:
            fields = self._fields(f"experiments/{session}", login)
            return XnatObject(
                f"/archive/experiments/{fields['ID']}",
                self.server.directory(fields["ID"]),
                {
                    "id": fields["ID"],
                    "label": fields["label"],
                    "project-id": fields["project"],
                    "subject-id": fields["subject_ID"],
                },
            )
        assert project is not None
        fields = self._fields(f"projects/{project}", login)
        folder = self.server.project_directory(project)
        properties = {"id": fields["ID"], "label": fields["ID"]}
        return XnatObject(f"/archive/projects/{fields['ID']}", folder, properties)

    def _fields(self, path: str, login: tuple[str, str]) -> dict[str, str]:
        url = f"{self.server.url}/data/{path}"
        answer = requests.get(
            url, params={"format": "json"}, auth=login, timeout=TIMEOUT_S
        )
        if not answer.ok:
            raise ForbiddenError(f"{path}: {answer.status_code}")
        fields: dict[str, str] = answer.json()["items"][0]["data_fields"]
        return fields

    def _require_edit(self, target: XnatObject, user: str) -> None:
        """Refuse who may not change the object that the handlers fill."""
        state = self.server.state
        project = target.properties.get("project-id")
        key = project or target.properties["id"]
        role = state.archive.projects[key].roles.get(user)
        allowed = EDITORS if project else {"owner"}
        if role not in allowed and user not in state.accounts.admins:
            raise ForbiddenError(f"{user} cannot edit {target.uri}")

    def _workflow(self, wrapper: str, target: XnatObject, user: str) -> Workflow:
        properties = target.properties
        is_session = "project-id" in properties
        workflow = Workflow(
            wrapper,
            properties["id"],
            properties.get("project-id", properties["id"]),
            "xnat:mrSessionData" if is_session else "xnat:projectData",
            user,
            "Running",
        )
        self.server.state.workflows.append(workflow)
        return workflow

    def _run(
        self, resolved: Resolved, workflow: Workflow, user: str, timeout_s: float
    ) -> Launch:
        folder = self._scratch / f"launch-{next(self._numbers)}"
        places = places_of(resolved.mounts, folder)
        self.alias, secret = self.server.issue_token(user)
        env = {
            "PATH": f"{self._image}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            **{k: here(v, places) for k, v in resolved.environment.items()},
            **self._volumes,
            "XNAT_HOST": self.server.url,
            "XNAT_USER": self.alias,
            "XNAT_PASS": secret,
            "XNAT_WORKFLOW_ID": workflow.id,
            "XNAT_EVENT_ID": workflow.id,
        }
        argv = [here(word, places) for word in shlex.split(resolved.command_line)]
        sources = [mount.source for mount in resolved.mounts if mount.source]
        before = [images_in(source) for source in sources]
        try:
            code, stdout, stderr = run_program(
                argv, env, folder, timeout_s, self._started
            )
        finally:
            self.server.expire_token(self.alias)
        assert [images_in(source) for source in sources] == before, (
            "images were changed"
        )
        uploaded = Uploaded((), failed=False)
        if code == 0:
            uploaded = self._upload(resolved, places, workflow, user)
        status = _status(code, uploaded)
        return Launch(
            status, code, stdout, stderr, env, uploaded.files, tuple(argv), folder
        )

    def _upload(
        self,
        resolved: Resolved,
        places: Mapping[str, Path],
        workflow: Workflow,
        user: str,
    ) -> Uploaded:
        """Hand every output to its handler, in the user's name."""
        mounts = {mount.name: places[mount.path] for mount in resolved.mounts}
        alias, secret = self.server.issue_token(user)
        files: list[str] = []
        failed = False
        for kept in resolved.outputs:
            found = list(_found(mounts[kept.output.mount] / kept.output.path))
            sent = found and self._send(kept, found, workflow, (alias, secret))
            files += [f"{kept.handler.label}/{name}" for name, _ in found if sent]
            failed = failed or (kept.output.required is True and not sent)
        self.server.expire_token(alias)
        return Uploaded(tuple(files), failed)

    def _send(
        self,
        kept: Kept,
        found: list[tuple[str, Path]],
        workflow: Workflow,
        login: tuple[str, str],
    ) -> bool:
        """Make the resource unless it is there, and store files over what it has."""
        kind = "projects" if workflow.object_id == workflow.project else "experiments"
        resource = (
            f"{self.server.url}/data/{kind}/{workflow.object_id}"
            f"/resources/{quote(kept.handler.label)}"
        )
        with requests.Session() as http:
            http.auth = login
            made = http.put(resource, timeout=TIMEOUT_S)
            if not made.ok and made.status_code != 409:
                return False
            for name, path in found:
                answer = http.put(
                    f"{resource}/files/{quote(name)}",
                    params={"overwrite": "true", "content": kept.handler.content},
                    files={"file": path.read_bytes()},
                    timeout=TIMEOUT_S,
                )
                if not answer.ok:
                    return False
        return True


def _found(path: Path) -> list[tuple[str, Path]]:
    """Return every file below an output's path: the service ignores its glob."""
    files = sorted(entry for entry in path.rglob("*") if entry.is_file())
    return [(entry.relative_to(path).as_posix(), entry) for entry in files]


def _status(code: int | None, uploaded: Uploaded) -> str:
    if code is None:
        return "Killed"
    if code != 0:
        return "Failed"
    return "Failed (Upload)" if uploaded.failed else "Complete"
