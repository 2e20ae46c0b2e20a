"""The image's files: what goes wrong there shows at a site, not in a unit test.

Building and running it is `make image-test`.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from dockerfiles import DOCKER, ROOT, instructions, is_sent, lineage, module, settings
from packaging.requirements import Requirement
from packaging.version import Version
from peers import program

from plugin.container.image_label import label_value
from plugin.version import VERSION

FOUND = instructions((DOCKER / "Dockerfile").read_text())
STAGES = {i.stage for i in FOUND} - {""}
VARIANTS = ("cpu", "gpu")
IMAGE = {v: ["image", *lineage(FOUND, v)] for v in VARIANTS}
SECRET = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|_KEY", re.IGNORECASE)
IGNORE = (ROOT / ".dockerignore").read_text().splitlines()
PATTERNS = [line for line in IGNORE if line and not line.startswith("#")]


def words_of(*stages: str, word: str) -> list[str]:
    return [i.text for i in FOUND if i.stage in stages and i.word == word]


# --- Dockerfile


def test_the_base_is_pinned_by_its_digest_and_every_stage_stands_on_it() -> None:
    arguments = settings([i for i in FOUND if i.stage == ""], "ARG")
    assert re.fullmatch(
        r"python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", arguments["BASE"]
    )
    parents = {i.text.split()[0] for i in FOUND if i.word == "FROM"}
    assert parents - STAGES == {"${BASE}", "${VARIANT}"}
    assert set(VARIANTS) < STAGES


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_image_runs_as_a_number_that_is_not_root(variant: str) -> None:
    users = words_of(*IMAGE[variant], word="USER")
    assert users == ["10001:10001"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_whole_command_line_is_the_callers(variant: str) -> None:
    assert words_of(*STAGES, word="ENTRYPOINT") == []
    assert words_of(*IMAGE[variant], word="CMD") == ['["brs", "--help"]']


def test_no_instruction_can_hold_a_secret() -> None:
    names = [*settings(FOUND, "ARG"), *settings(FOUND, "ENV")]
    assert [name for name in names if SECRET.search(name)] == []
    assert words_of(*STAGES, word="ADD") == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_ships_fetches_nothing_in_its_own_stages(variant: str) -> None:
    runs = " ".join(words_of(*IMAGE[variant], word="RUN"))
    assert "pip --python /opt/brs/bin/python install" in runs
    assert "--no-index" in runs
    assert not re.search(r"\b(apt-get|apt|curl|wget|git)\b", runs)


def test_any_uid_finds_a_place_to_write_and_a_name() -> None:
    given = settings([i for i in FOUND if i.stage == "runtime"], "ENV")
    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR", "TORCH_HOME", "XDG_CACHE_HOME"):
        assert given[name].split("/")[1] == "tmp", name
    assert given["LOGNAME"]


def test_only_the_gpu_variant_asks_for_a_gpu() -> None:
    for variant, asks in (("cpu", False), ("gpu", True)):
        given = settings([i for i in FOUND if i.stage in IMAGE[variant]], "ENV")
        assert ("NVIDIA_VISIBLE_DEVICES" in given) is asks


def test_the_cpu_variant_demands_the_build_without_cuda() -> None:
    (run,) = words_of("environment", word="RUN")
    assert "cpu) build=+cpu;" in run
    assert '"torch==${TORCH}${build}" "torchvision==${TORCHVISION}${build}"' in run


def test_version_and_commands_reach_the_labels() -> None:
    labels = settings(FOUND, "LABEL")
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    assert labels["org.nrg.commands"] == "${COMMANDS}"
    checks = [t for t in words_of("image", word="RUN") if "check_label.py" in t]
    assert '"${VERSION}" "${VARIANT}" "${COMMANDS}"' in checks[0]


def test_hadolint_finds_nothing() -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), DOCKER / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.peer
def test_shellcheck_finds_nothing() -> None:
    scripts = sorted(DOCKER.rglob("*.sh"))
    assert len(scripts) >= 3
    run = subprocess.run(
        [program("shellcheck"), "--external-sources", *scripts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "")


# --- build.sh: a stand-in engine prints what it was asked


@pytest.mark.parametrize(
    ("variant", "suffix", "file"),
    [("gpu", "", "command.json"), ("cpu", "-cpu", "command-cpu.json")],
)
def test_build_sh_gives_the_packages_version_and_the_command_file(
    tmp_path: Path, variant: str, suffix: str, file: str
) -> None:
    engine, asked = tmp_path / "engine", tmp_path / "asked"
    engine.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" > {asked}\n")
    engine.chmod(0o755)
    run = subprocess.run(
        [DOCKER / "build.sh", variant, "--extra"],
        env={"ENGINE": str(engine), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == f"brs:{VERSION}{suffix}\n"
    words = asked.read_text().split("\0")
    commands = label_value([json.loads((ROOT / file).read_text())])
    assert f"VERSION={VERSION}" in words
    assert f"VARIANT={variant}" in words
    assert f"COMMANDS={commands}" in words
    assert words[-3:] == ["--extra", ".", ""]
    check = module("check_label.py")
    tag = f"{VERSION}{suffix}"
    assert check.problems(VERSION, tag, commands, installed=VERSION) == []


# --- requirements.txt


def pins() -> dict[str, Version]:
    lines = (DOCKER / "requirements.txt").read_text().splitlines()
    parts = [line.split("==") for line in lines if not line.startswith("#")]
    return {name: Version(version) for name, version in parts}


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    arguments = settings(FOUND, "ARG")
    pinned = pins() | {
        "torch": Version(arguments["TORCH"]),
        "torchvision": Version(arguments["TORCHVISION"]),
    }
    needed = [Requirement(line) for line in project["dependencies"]]
    assert {n.name for n in needed} - set(pinned) == set()
    assert [n.name for n in needed if pinned[n.name] not in n.specifier] == []


def test_the_lock_leaves_to_the_variants_what_differs_in_them() -> None:
    locked = set(pins())
    assert "nvidia-ml-py" in locked
    assert {
        n for n in locked if n.startswith(("torch", "triton", "nvidia-cu"))
    } == set()
    lock = module("lock.py")
    assert not lock.is_locked("nvidia-nccl-cu13")
    assert not lock.is_locked("cuda-toolkit")
    names = list(lock.closure(["highdicom", "pydicom"], set()))
    assert "pyjpegls" in names
    assert len(names) == len(set(names))


# --- .dockerignore


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("pyproject.toml", True),
        ("plugin/cli.py", True),
        ("plugin/templates/report.html", True),
        ("model/synthetic/site.py", True),
        ("model/weights/default.safetensors", True),
        ("docker/requirements.txt", True),
        ("plugin/__pycache__/cli.cpython-311.pyc", False),
        (".git/config", False),
        (".venv/bin/python", False),
        ("brs-demo/cohort/S1/IM000001.dcm", False),
        ("tests/test_image.py", False),
        (".env", False),
        ("docker/.env", False),
        ("docker/plugins/container-service.jar", False),
        ("anything-new/secret.txt", False),
    ],
)
def test_only_the_package_goes_to_the_build(path: str, sent: bool) -> None:  # noqa: FBT001
    assert is_sent(path, PATTERNS) is sent


def test_what_the_dockerfile_takes_is_there_and_goes_to_the_build() -> None:
    taken = []
    for text in words_of(*STAGES, word="COPY"):
        if "--from=" not in text:
            parts = [p for p in text.split() if not p.startswith("--")]
            taken += parts[:-1]
    for text in words_of(*STAGES, word="RUN"):
        taken += re.findall(r"type=bind,source=([^,]+),", text)
    assert {"plugin", "model", "docker/healthcheck.py"} <= set(taken)
    for name in taken:
        assert (ROOT / name).exists(), name
        assert is_sent(f"{name}/x" if (ROOT / name).is_dir() else name, PATTERNS), name


def test_all_that_the_wheel_is_made_of_reaches_its_stage() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *wheel["packages"]}
    needed |= {*project["project"]["license-files"], *wheel.get("force-include", {})}
    copied = {w for text in words_of("wheel", word="COPY") for w in text.split()}
    assert needed - copied == set()


# --- compose.yaml

COMPOSE = (DOCKER / "compose.yaml", DOCKER / "compose.container-service.yaml")
TRIAL: dict[str, Any] = yaml.safe_load(COMPOSE[0].read_text())
VARIABLE = re.compile(r"\$\{(\w+)(:?[-?])?([^}]*)\}")


def test_the_trial_has_all_four_parts_and_no_floating_image() -> None:
    services = TRIAL["services"]
    assert set(services) == {"db", "xnat", "orthanc", "brs"}
    for name, service in services.items():
        image = VARIABLE.sub(r"\3", service["image"])
        assert re.search(r":\d", image), name
    assert services["brs"]["image"].endswith(f"brs:{VERSION}-cpu}}")


def test_the_trial_listens_on_loopback_alone() -> None:
    ports = [p for s in TRIAL["services"].values() for p in s.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_compose_file_holds_a_secret() -> None:
    found = []
    for path in COMPOSE:
        for line in path.read_text().splitlines():
            given = re.fullmatch(r"\s*(\w[\w.]*?)(?:: |=)(.*)", line)
            if given and re.search("pass(word)?$", given[1], re.IGNORECASE):
                found.append(given[2])
    assert len(found) == 4
    for value in found:
        variable = VARIABLE.fullmatch(value)
        assert variable
        assert variable[2] == ":?" or not variable[3]


def test_the_example_names_every_variable_and_sets_no_password() -> None:
    lines = (DOCKER / "env.example").read_text().splitlines()
    example = dict(
        line.split("=") for line in lines if line and not line.startswith("#")
    )
    used = {v[0]: v[2] for p in COMPOSE for v in VARIABLE.findall(p.read_text())}
    with_default = {name for name, default in used.items() if "set it" not in default}
    assert set(used) - set(example) <= with_default
    assert set(example) <= set(used)
    assert set(example.values()) == {""}


def test_brs_is_guarded_in_the_trial() -> None:
    brs = TRIAL["services"]["brs"]
    assert brs["read_only"] is True
    assert brs["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in brs["security_opt"]
    assert "privileged" not in brs
    assert "docker.sock" not in COMPOSE[0].read_text().split("services:")[1]
