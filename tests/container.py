"""A process in place of a container: its folders, its run, and what it must not do.

The paths of the mounts, where an environment variable or a word of the command line is
one or lies below one, become folders of this machine. A container cannot change what
is mounted read-only, nor write elsewhere: here both are looked for afterwards.
"""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from resolution import Mounted

BESIDE_IMAGES = ("ASSESSORS", "RESOURCES")


def places_of(mounts: tuple[Mounted, ...], folder: Path) -> dict[str, Path]:
    """Return the folder of this machine for each mount's path in the container."""
    places = {}
    for mount in mounts:
        place = mount.source or folder / mount.name
        place.mkdir(parents=True, exist_ok=True)
        places[mount.path] = place
    return places


def here(text: str, places: Mapping[str, Path]) -> str:
    for path, place in places.items():
        if text == path or text.startswith(f"{path}/"):
            return str(place) + text.removeprefix(path)
    return text


def images_in(source: Path) -> dict[Path, tuple[int, int]]:
    """Return the size and time of every file that only XNAT may change."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in source.rglob("*")
        if path.is_file() and path.relative_to(source).parts[0] not in BESIDE_IMAGES
    }


def run_program(
    argv: list[str],
    env: Mapping[str, str],
    folder: Path,
    timeout_s: float,
    started: Callable[["subprocess.Popen[bytes]"], None],
) -> tuple[int | None, str, str]:
    """Run the container's program and keep its logs; no code means it was killed."""
    root, logs = folder / "root", folder / "LOGS"
    root.mkdir(parents=True)
    logs.mkdir()
    out, err = logs / "stdout.log", logs / "stderr.log"
    with (
        out.open("wb") as stdout,
        err.open("wb") as stderr,
        subprocess.Popen(
            argv,
            env=dict(env),
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        ) as process,
    ):
        started(process)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    assert not list(root.iterdir()), "files were left outside the mounts"
    return code if code >= 0 else None, _text(out), _text(err)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
