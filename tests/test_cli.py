"""The command line: one JSON line, one exit code per cause, nothing of a patient."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from sessions import archive_with
from synthetic import SECRETS

from model.errors import BrsError, CheckpointError, ModelError, TrainingError
from plugin.cli import cli, main
from plugin.errors import ArchiveError, ConfigError, InputError, MaskError, exit_code

ERROR = {"found": "x", "needed": "y", "mend": "z"}


def brs(
    *arguments: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the real program."""
    return subprocess.run(
        [sys.executable, "-m", "plugin.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (env or {}),
    )


def last_line(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (BrsError, 1),
        (ModelError, 1),
        (InputError, 3),
        (MaskError, 4),
        (CheckpointError, 5),
        (TrainingError, 6),
        (ArchiveError, 7),
        (ConfigError, 8),
    ],
)
def test_every_cause_has_its_exit_code(kind: type[BrsError], code: int) -> None:
    assert exit_code(kind("subject", **ERROR)) == code


def test_an_error_says_what_was_found_needed_and_how_to_mend() -> None:
    assert str(InputError("series 5", **ERROR)) == (
        "series 5: found x; needed y. Mend: z."
    )


def test_a_missing_archive_is_one_line_and_a_json_line(tmp_path: Path) -> None:
    run = brs("rank", "--archive", tmp_path / "no", "--output", tmp_path / "out")
    assert run.returncode == 7
    assert "Traceback" not in run.stderr
    assert run.stderr.startswith("error: archive ")
    assert last_line(run)["exit_code"] == 7


def test_settings_come_from_variables_and_empty_means_unset(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "a")
    run = brs(
        "segment",
        "--dry-run",
        env={
            "BRS_ARCHIVE": str(archive.root),
            "BRS_OUTPUT": str(tmp_path / "out"),
            "BRS_CHECKPOINT": "",
            "BRS_RULES": "",
        },
    )
    assert run.returncode == 0, run.stderr
    (decision,) = last_line(run)["sessions"]
    assert decision["session"] == "a"
    assert decision["slices"] == 12
    assert decision["pre_series_uid"] != decision["post_series_uid"]


def test_nothing_of_a_patient_is_printed(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "a")
    (archive.root / "a" / "post" / "x.dcm").write_bytes(b"\0" * 200)
    run = brs(
        *("-vv", "segment", "--dry-run", "--archive", archive.root),
        *("--output", tmp_path / "out"),
    )
    assert run.returncode == 0
    assert not [s for s in SECRETS if s in run.stdout + run.stderr]


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", "--output", "x"),
        ("segment", "--output", "x", "--input", "a", "--archive", "b"),
        ("rank", "--archive", "a", "--output", "x", "--strategy", "astrology"),
        ("train", "--archive", "a", "--output", "x", "--epochs", "many"),
        ("review", "--archive", "a", "--session", "s", "--role", "radiologist"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_refused(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == 2


def test_one_variable_has_one_meaning() -> None:
    meanings: dict[str, set[str]] = {}
    for command in cli.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.envvar:
                long = max(parameter.opts, key=len)
                meanings.setdefault(str(parameter.envvar), set()).add(long)
    assert all(len(options) == 1 for options in meanings.values())
    assert {
        f"BRS_{next(iter(o))[2:].upper().replace('-', '_')}" for o in meanings.values()
    } == set(meanings)


def test_every_command_explains_itself() -> None:
    for name, command in cli.commands.items():
        run = CliRunner().invoke(cli, [name, "--help"])
        assert run.exit_code == 0
        assert (command.help or "").strip()
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                continue
            assert isinstance(parameter, click.Option)
            assert parameter.help, (name, parameter.name)


@pytest.mark.parametrize(
    ("workers", "by_hand", "expected"),
    [(2, None, "4"), (3, None, "2"), (2, "6", "6"), (2, "8", "8")],
)
def test_workers_of_the_service_share_what_a_container_is_granted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    by_hand: str | None,
    expected: str,
) -> None:
    config = tmp_path / "brs.toml"
    listen = '[listen]\nae_title = "BRS"\nany_caller = true\n'
    config.write_text(f'work = "w"\nworkers = {workers}\n{listen}')
    monkeypatch.setattr("model.processors._allowed", lambda: 32)
    monkeypatch.setattr("model.processors._quota", lambda _cgroup: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", by_hand or "")
    if by_hand is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(sys, "argv", ["brs", "serve", "--config", str(config)])
    passed: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda *words: passed.append(words[2]))
    with pytest.raises(SystemExit):
        main()
    assert [environ["OMP_NUM_THREADS"] for environ in passed] == [expected]
