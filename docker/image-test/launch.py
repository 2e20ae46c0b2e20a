"""Launch the image as XNAT's Container Service does, against the stand-in server.

``PYTHONPATH=tests python launch.py WORK IMAGE COMMAND_FILE -- podman run ...``: the
launcher of the tests resolves the command file and uploads the outputs; in place of
its program stands one that starts the image, guarded, with the same environment.
"""

import json
import os
import shlex
import sys
from pathlib import Path

import requests
from launcher import Launch, Launcher
from standin.server import StandIn

PROJECT = "BREAST"
KEPT = ("CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF", "PATH", "HOME")
SHIM = """#!/bin/sh
# What the service gives the container, and no more, goes in.
env | grep -vE '^(PATH|PWD|SHLVL|_)=' >{folder}/given
output="${{BRS_OUTPUT%/brs}}"
chown {uid} "$output"
if [ "$BRS_WRAPPER" = segment ]; then
    set -- --volume "$BRS_INPUT:$BRS_INPUT:ro" {image} brs "$@"
else
    set -- {image} brs "$@"
fi
exec env -i {kept} {podman} --env-file {folder}/given --volume "$output:$output:rw" "$@"
"""


def write_program(folder: Path, image: str, podman: list[str]) -> None:
    """Write ``folder/brs``, which runs ``brs`` of the image."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [f"{name}={os.environ[name]}" for name in KEPT if name in os.environ]
    text = SHIM.format(
        folder=shlex.quote(str(folder)),
        uid=podman[podman.index("--user") + 1],
        image=shlex.quote(image),
        kept=shlex.join(kept),
        podman=shlex.join(podman),
    )
    (folder / "brs").write_text(text)
    (folder / "brs").chmod(0o755)


def give_weights(server: StandIn, weights: Path) -> None:
    """Put the checkpoint where a training would have left it."""
    resource = f"{server.url}/data/projects/{PROJECT}/resources/BRS"
    with requests.Session() as http:
        http.auth = server.issue_token("admin")
        http.put(resource, timeout=30).raise_for_status()
        for path in weights.iterdir():
            url = f"{resource}/files/{path.name}?inbody=true"
            http.put(url, data=path.read_bytes(), timeout=60).raise_for_status()


def result_of(done: Launch) -> dict[str, object]:
    """Return a launch's last line, or end the test."""
    if done.status != "Complete":
        sys.exit(f"{done.status}\n{done.stdout}{done.stderr}")
    for secret in (done.env["XNAT_PASS"], done.env["XNAT_USER"]):
        if secret in done.stdout + done.stderr:
            sys.exit("the token is in the log")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(work: Path, image: str, command: Path, podman: list[str]) -> None:
    """Segment the trial session twice; the second time there is nothing to do."""
    program = work / "program"
    write_program(program, image, podman)
    with StandIn.start(work / "xnat") as server:
        server.add_project(PROJECT, members=["alice"])
        dicom = work / "trial" / "session"
        session = server.add_session(PROJECT, subject="S1", label="MR1", dicom=dicom)
        give_weights(server, work / "trial" / "weights")
        launcher = Launcher(server, command, scratch=work / "launches", image=program)
        inputs = {"device": "cpu"}
        for counted in ("segmented", "unchanged"):
            done = launcher.launch(
                "segment", user="alice", session=session, inputs=inputs
            )
            result = result_of(done)
            if result[counted] != 1:
                sys.exit(f"{counted} is not 1: {result}")
            sys.stderr.write(f"launched: {counted} 1, {len(done.files_uploaded)} up\n")
        masks = list(server.directory(session).rglob("segmentation.dcm"))
        collections = list((server.directory(session) / "ASSESSORS").rglob("*.dcm"))
        if (len(masks), len(collections)) != (1, 1):
            sys.exit(f"{len(masks)} masks and {len(collections)} collections")


if __name__ == "__main__":
    cut = sys.argv.index("--")
    folder, name, file = sys.argv[1:cut]
    run(Path(folder), name, Path(file), sys.argv[cut + 1 :])
