"""A command loads what it needs: PyTorch takes seconds to import, and is not always."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from arrivals import accept, series, study_key
from service import Running, await_that, running, settings
from sessions import archive_with, untrained_checkpoint
from synthetic import post_plan, pre_plan

from model.checkpoint import write_checkpoint
from model.processors import THREADS, available
from plugin.cli import COMMANDS, cli
from plugin.jobs import Queue, State
from plugin.worker import CACHE

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "torchvision", "matplotlib", "highdicom", "openvino", "nibabel"}
PROBE = """
import atexit, sys
calls = set()
sys.addaudithook(lambda event, _: event == "socket.connect" and calls.add(event))
atexit.register(lambda: print("loaded", *sys.modules, *calls, file=sys.stderr))
from plugin.cli import main
main()
"""


def loaded(*arguments: object) -> set[str]:
    """Return the modules a command had loaded, and ``socket.connect`` if it did."""
    run = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    line = run.stderr.splitlines()[-1]
    assert line.startswith("loaded ")
    return set(line.split()[1:])


def test_the_list_of_commands_loads_nothing_heavy() -> None:
    assert not loaded("--help") & HEAVY


def test_a_lint_loads_nothing_heavy() -> None:
    assert not loaded("command-lint", ROOT / "command.json") & HEAVY


def test_a_doctor_loads_nothing_heavy(tmp_path: Path) -> None:
    archive = archive_with(tmp_path, "a")
    assert not loaded("doctor", "--archive", archive.root) & HEAVY


def test_ranking_loads_no_network(tmp_path: Path) -> None:
    found = loaded("rank", "--help")
    assert "plugin.rank" in found
    assert not found & {"torch", "openvino"}


@pytest.mark.slow
def test_a_proven_checkpoint_is_served_without_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRS_CACHE", str(tmp_path / "cache"))
    archive = archive_with(tmp_path / "archive", "a")
    checkpoint = untrained_checkpoint()
    path = tmp_path / "c.safetensors"
    write_checkpoint(checkpoint.network, checkpoint.manifest, path)
    engine = ("--checkpoint", path, "--device", "cpu", "--engine", "openvino")
    where = ("--archive", archive.root)
    assert "torch" in loaded("engine", *where, *engine)
    # As a container's launch does, with nothing but what the project keeps.
    monkeypatch.setenv("BRS_CACHE", str(tmp_path / "empty"))
    found = loaded("segment", *where, "--output", tmp_path / "out", *engine)
    assert not (tmp_path / "empty").exists()
    assert "openvino" in found
    assert not found & {"torch", "torchvision", "socket.connect"}


def states_of(service: Running) -> list[str]:
    return [worker["state"] for worker in service.health["workers"]]


@pytest.mark.slow
def test_a_service_of_two_workers_without_a_proof_serves_without_pytorch(
    tmp_path: Path,
) -> None:
    checkpoint = untrained_checkpoint()
    path = tmp_path / "c.safetensors"
    write_checkpoint(checkpoint.network, checkpoint.manifest, path)
    config = settings(tmp_path, path, top='engine = "openvino"\nworkers = 2')
    images = [*series(pre_plan()), *series(post_plan())]
    queue, key = Queue(tmp_path / "work"), study_key(images)
    for image in images:
        accept(queue, image)
    queue.enqueue(key)
    brs = ("-m", "plugin.cli", "serve", "--config", str(config))
    environ = {k: v for k, v in os.environ.items() if k != THREADS}
    with running(config, tmp_path / "work", brs, environ) as service:
        service.await_state(key, State.DONE)
        await_that(lambda: states_of(service) == ["idle", "idle"], "both workers")
        places = [Path(f"/proc/{pid}") for pid in service.worker_pids()]
        mapped = [(place / "maps").read_text() for place in places]
        environs = [(place / "environ").read_text() for place in places]
    assert len(list((tmp_path / "work" / CACHE).rglob("*.json"))) == 1
    assert all("libopenvino" in text for text in mapped)
    assert not any("libtorch" in text for text in mapped)
    assert ", engine openvino-cpu-fp32 (Dice 1.0000 with torch fp32)\n" in service.said
    share = f"{THREADS}={max(1, available() // 2)}"
    assert all(share in text.split("\0") for text in environs)


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    probe = "import sys, threading, model.openvino_runner\n"
    probe += "print(*threading.enumerate(), *sys.modules, sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )
    assert "openvino.tools.ovc.telemetry_stub" in run.stdout
    assert "openvino_telemetry.main" not in run.stdout
    assert run.stdout.count("Thread(") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_list_says_of_a_command_what_its_help_says_first(name: str) -> None:
    command = cli.commands[name]
    assert command.name == name
    assert command.help is not None
    assert command.help.startswith(COMMANDS[name].summary)
