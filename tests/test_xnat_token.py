"""A training that outlives its token, or its container: no finished fold is lost."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from discretion import check_told
from launcher import Launch, Launcher
from standin.server import Fault, StandIn
from xnat_project import add_session, archive_of, breast_project, drawn, opened

from plugin import seg

TRAINING = {"epochs": "1", "folds": "2", "grid": "32"}
SECOND_FOLD = r"/files/fold-1\.json$"
"""Asked for when the first fold is stored and the second one begins."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("site")
    with breast_project(folder) as server:
        for name in ("1", "2"):
            draw(server, add_session(server, folder, f"S{name}", f"MR{name}"), folder)
        yield server


def draw(server: StandIn, session_id: str, folder: Path) -> None:
    """Save a mask as a person does in the viewer."""
    archive = archive_of(server)
    session = opened(archive, session_id, folder / "w")
    archive.close()
    human = drawn(session)
    label = f"SEG_20260131_{session_id}"
    server.add_collection(session_id, label, seg.to_bytes(human), user="alice")


def folds(server: StandIn) -> dict[str, bytes]:
    """Return the checkpoints of single folds that the project keeps."""
    root = server.project_directory("BREAST")
    return {p.name: p.read_bytes() for p in root.rglob("fold-*.safetensors")}


def result(done: Launch) -> dict[str, object]:
    assert done.status == "Complete", done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def trained_epochs(done: Launch) -> int:
    return done.stderr.count("epoch 1 of at most 1")


# One test, because each launch is a process that imports PyTorch.
@pytest.mark.slow
def test_no_fold_is_lost_or_trained_twice(server: StandIn, tmp_path: Path) -> None:
    launcher = Launcher(server, Path("command-cpu.json"), scratch=tmp_path)

    def train() -> Launch:
        return launcher.launch("train", user="alice", project="BREAST", inputs=TRAINING)

    server.faults.append(Fault(path=SECOND_FOLD, method="GET", beside=launcher.kill))
    killed = train()
    assert (killed.status, killed.exit_code) == ("Killed", None)
    assert set(folds(server)) == {"fold-0.safetensors"}, "pushed as it ended"
    (first,) = folds(server).values()

    server.faults.append(
        Fault(
            path=SECOND_FOLD,
            method="GET",
            beside=lambda: server.expire_token(launcher.alias),
        )
    )
    outlived = train()
    found = result(outlived)
    assert (found["folds"], found["pushed"]) == (2, False)
    assert trained_epochs(outlived) == 1
    assert "the token expired (401)" in outlived.stderr
    assert "not pushed, but kept in the output" in outlived.stderr
    assert "aliasTokenTimeout" in outlived.stderr
    kept = folds(server)
    assert kept.keys() == {"fold-0.safetensors", "fold-1.safetensors"}
    assert kept["fold-0.safetensors"] == first

    again = train()
    assert (result(again)["folds"], result(again)["pushed"]) == (2, True)
    assert trained_epochs(again) == 0
    assert folds(server) == kept
    check_told(server, (killed, outlived, again), ())
