"""What a Dockerfile, a .dockerignore and a file of docker/ say, for tests."""

import importlib.util
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, with the name of the stage it stands in."""

    stage: str
    word: str
    text: str


def instructions(text: str) -> list[Instruction]:
    """Return a Dockerfile's instructions; before the first FROM the stage is ``""``."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found, stage = [], ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.split()[-1]
        found.append(Instruction(stage, word, " ".join(rest.split())))
    return found


def lineage(found: list[Instruction], last: str) -> list[str]:
    """Return the stages that ``last`` is built on, itself first."""
    parents = {i.stage: i.text.split()[0] for i in found if i.word == "FROM"}
    chain = [last]
    while (parent := parents.get(chain[-1], "")) in parents:
        chain.append(parent)
    return chain


def settings(found: list[Instruction], word: str) -> dict[str, str]:
    """Return the NAME=VALUE pairs of all ARG, ENV or LABEL instructions."""
    pairs = {}
    for instruction in found:
        if instruction.word == word:
            for part in shlex.split(instruction.text):
                name, _, value = part.partition("=")
                pairs[name] = value
    return pairs


def is_sent(path: str, patterns: list[str]) -> bool:
    """Tell whether a file goes to the build: the last pattern that fits decides."""
    sent = True
    for pattern in patterns:
        rule = pattern.removeprefix("!")
        if _fits(path, rule):
            sent = pattern.startswith("!")
    return sent


def _fits(path: str, rule: str) -> bool:
    """Tell whether ``rule`` names ``path`` or a folder above it."""
    parts = path.split("/")
    if rule.startswith("**/"):
        return any(fnmatch(part, rule[3:]) for part in parts)
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    return any(re.fullmatch(rule.replace("*", "[^/]*"), name) for name in above)


def module(path: str) -> ModuleType:
    """Import a file of docker/, which is no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, DOCKER / path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
