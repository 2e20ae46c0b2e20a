"""Packages of npm that tests run, each folder's installed once per lock file."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
from peers import program

PINNED = ("package.json", "package-lock.json")
INSTALL_S = 120
INSTALL = (
    "ci",
    "--ignore-scripts",
    "--prefer-offline",
    "--fetch-retries=1",
    "--fetch-timeout=20000",
)


def installed(pinned: Path) -> Path:
    """Return ``node_modules`` with what the folder's lock file names.

    Fails when CI=true and it cannot be had, skips elsewhere.
    """
    npm = program("npm")
    lock = hashlib.sha256((pinned / PINNED[1]).read_bytes()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "brs-tests" / f"{pinned.name}-{lock[:16]}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            _install(npm, pinned, Path(name))
            _publish(Path(name), target)
    return target / "node_modules"


def _install(npm: str, pinned: Path, folder: Path) -> None:
    for name in PINNED:
        shutil.copyfile(pinned / name, folder / name)
    try:
        run = subprocess.run(
            [npm, *INSTALL],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_S,
        )
    except subprocess.TimeoutExpired:
        _cannot(f"npm could not install {pinned.name} in {INSTALL_S} s")
    if run.returncode != 0:
        _cannot(f"npm could not install {pinned.name}: {run.stderr[-500:]}")


def _publish(folder: Path, target: Path) -> None:
    """Move the finished folder into place, unless another test worker was faster."""
    whole = folder / "whole"
    whole.mkdir()
    (folder / "node_modules").rename(whole / "node_modules")
    try:
        whole.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _cannot(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
