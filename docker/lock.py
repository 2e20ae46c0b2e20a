"""Print the exact versions that the image installs: those of this environment.

``python docker/lock.py > docker/requirements.txt`` at the top of the tree, in the
environment that the tests passed in. torch and torchvision, and what CUDA brings, are
left to the Dockerfile, whose variants differ in them.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OF_THE_VARIANT = ("cuda-", "nvidia-cu", "nvidia-n", "torch", "triton")
OF_EVERY_VARIANT = ("nvidia-ml-py",)


def closure(lines: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Yield the names of all that requirement ``lines`` need here, each once."""
    for line in lines:
        needed = Requirement(line)
        name = canonicalize_name(needed.name)
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if applies and name not in seen:
            seen.add(name)
            yield name
            yield from closure(requires(name) or [], seen)


def is_locked(name: str) -> bool:
    """Tell whether both variants install the same version of ``name``."""
    return name in OF_EVERY_VARIANT or not name.startswith(OF_THE_VARIANT)


def lock(project: Path) -> str:
    """Return the file's text for a ``pyproject.toml``."""
    declared = tomllib.loads(project.read_text())["project"]["dependencies"]
    names = sorted(name for name in closure(declared, set()) if is_locked(name))
    head = "# Made by docker/lock.py; not to be edited.\n"
    return head + "".join(f"{name}=={version(name)}\n" for name in names)


if __name__ == "__main__":
    sys.stdout.write(lock(Path("pyproject.toml")))
