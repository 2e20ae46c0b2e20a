"""kill -9 in the middle, the same command again: the same end as without the kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file
from sessions import annotate, archive_with, untrained_checkpoint

from model.checkpoint import write_checkpoint
from model.resume import read_progress
from plugin.folder_archive import RESOURCE, FolderArchive
from plugin.pipeline import RESULT_FILE, SEG_FILE

PATIENCE_S = 240.0
EPOCHS = 3
TRAIN = ("--grid", 32, "--batch", 4, "--epochs", EPOCHS, "--fold", 0)
QUICK = {"OMP_NUM_THREADS": "1"}
BRS = ("-m", "plugin.cli")
EAGER = (str(Path(__file__).with_name("eager.py")),)
"""Keeps its state after every epoch."""


def start(*arguments: object, program: Sequence[str] = BRS) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | QUICK | {"PYTHONPATH": root},
    )


def finish(*arguments: object) -> None:
    assert start(*arguments).wait(PATIENCE_S) == 0


def kill_when(
    happened: Callable[[], bool], *arguments: object, program: Sequence[str] = BRS
) -> None:
    """Start a command and kill -9 it as soon as ``happened``."""
    process = start(*arguments, program=program)
    deadline = time.monotonic() + PATIENCE_S
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the command ended before the kill"


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "a", "b")
    annotate(archive, "a", "b")
    command = ("train", "--archive", archive.root, *TRAIN, "--deterministic")
    finish(*command, "--output", tmp_path / "whole")
    # A finished fold in the archive would be taken instead of trained again.
    for path in (archive.root / RESOURCE).glob("fold-*"):
        path.unlink()
    cut = tmp_path / "cut"
    state = cut / "fold-0" / "state.safetensors"
    kill_when(state.exists, *command, "--output", cut, program=EAGER)
    assert 1 <= len(read_progress(state)["history"]) < EPOCHS
    assert not (cut / "checkpoint.safetensors").exists()
    finish(*command, "--output", cut)
    weights = [
        load_file(tmp_path / n / "checkpoint.safetensors") for n in ("whole", "cut")
    ]
    assert all(weights[0][k].equal(weights[1][k]) for k in weights[0])
    assert not (cut / "fold-0").exists()
    history = [(tmp_path / n / "history.csv").read_text() for n in ("whole", "cut")]
    assert [losses(text) for text in history] == [losses(history[0])] * 2


def losses(history: str) -> list[str]:
    """Return the columns of a history that do not depend on the clock."""
    return [",".join(line.split(",")[:5]) for line in history.splitlines()]


@pytest.mark.slow
def test_a_killed_batch_ends_with_the_same_masks(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    checkpoint = tmp_path / "c.safetensors"
    made = untrained_checkpoint()
    write_checkpoint(made.network, made.manifest, checkpoint)
    options = ("--checkpoint", checkpoint, "--precision", "fp32")
    archives = {n: archive_with(tmp_path / n, *names) for n in ("whole", "cut")}

    def command(name: str) -> tuple[object, ...]:
        root = archives[name].root
        return (
            "segment",
            "--archive",
            root,
            "--output",
            tmp_path / f"{name}-out",
            *options,
        )

    finish(*command("whole"))
    first = archives["cut"].root / "a" / "BRS" / RESULT_FILE
    kill_when(first.exists, *command("cut"))
    assert not (archives["cut"].root / "c" / "BRS" / RESULT_FILE).exists()
    finish(*command("cut"))
    assert masks(archives["cut"]) == masks(archives["whole"])
    assert not list(archives["cut"].root.rglob("*.part"))


def masks(archive: FolderArchive) -> dict[str, bytes]:
    found = archive.root.glob(f"*/BRS/{SEG_FILE}")
    return {str(path.relative_to(archive.root)): path.read_bytes() for path in found}
