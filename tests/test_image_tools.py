"""The small programs that run inside the image, or make what a trial of it lacks."""

import base64
import hashlib
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from dockerfiles import module
from hypothesis import given
from hypothesis import strategies as st

from plugin.version import VERSION

health = module("healthcheck.py")
label = module("check_label.py")
bill = module("bill_of_materials.py")
wheels = module("stand-ins/torchvision_without_cuda.py")

# --- healthcheck


def cmdline(*words: str) -> bytes:
    """Return a command line as /proc shows it."""
    return b"".join(word.encode() + b"\0" for word in words)


@pytest.mark.parametrize(
    "words",
    [
        ("/opt/brs/bin/python", "/opt/brs/bin/brs", "serve"),
        ("brs", "-v", "serve", "--port", "8080"),
        ("/sbin/docker-init", "--", "brs", "serve"),
    ],
)
def test_a_server_is_told_by_its_command_line(words: tuple[str, ...]) -> None:
    assert health.serves(cmdline(*words))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("/opt/brs/bin/python", "/opt/brs/bin/brs", "launch"),
        ("brs", "segment", "--session", "serve"),
        ("brs", "--help"),
        ("python", "serve"),
        ("/sbin/init",),
    ],
)
def test_a_batch_command_is_no_server(words: tuple[str, ...]) -> None:
    assert not health.serves(cmdline(*words))


@given(st.binary(max_size=200))
def test_any_command_line_is_read(raw: bytes) -> None:
    assert health.serves(raw) in (True, False)


class Answer(BaseHTTPRequestHandler):
    """Answers /healthz with 200 and all else with 503."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_a_server_is_healthy_while_it_answers_well(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A site's proxy must not be asked for what is inside the container.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    arguments = tmp_path / "cmdline"
    arguments.write_bytes(cmdline("brs", "serve"))
    assert health.main(arguments, f"{server}/healthz") == 0
    assert health.main(arguments, f"{server}/other") == 1


def test_only_a_server_is_unhealthy_when_nothing_answers(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/healthz"
    arguments = tmp_path / "cmdline"
    for verb, code in (("serve", 1), ("launch", 0)):
        arguments.write_bytes(cmdline("brs", verb))
        assert health.main(arguments, url) == code


# --- check_label


def command(**changes: str) -> str:
    entry = {"name": "brs", "version": "1.2.0", "image": "brs:1.2.0"} | changes
    return json.dumps([entry])


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (command(version="1.1.0"), "not of 1.2.0"),
        (command(image="brs:1.2.0-cpu"), "not for the tag 1.2.0"),
        (command(image="brs:latest"), "not for the tag 1.2.0"),
        ("{}", "no JSON list"),
        ('["brs"]', "no JSON list"),
        ("[", "no JSON list"),
    ],
)
def test_a_label_of_another_version_stops_the_build(commands: str, said: str) -> None:
    (problem,) = label.problems("1.2.0", "1.2.0", commands, installed="1.2.0")
    assert said in problem


def test_a_right_label_and_none_pass_and_a_wrong_version_does_not() -> None:
    for commands in (command(), "[]"):
        assert label.problems("1.2.0", "1.2.0", commands, installed="1.2.0") == []
    assert len(label.problems("1.3.0", "1.2.0", "[]", installed="1.2.0")) == 1


# --- bill of materials


def distribution(folder: Path, name: str, *fields: str) -> Distribution:
    metadata = folder / f"{name}-1.dist-info"
    metadata.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1", *fields]
    (metadata / "METADATA").write_text("\n".join(lines) + "\n\n")
    return Distribution.at(metadata)


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        (("License-Expression: MIT", "License: other"), "MIT"),
        (("License: BSD-3-Clause",), "BSD-3-Clause"),
        (("Classifier: License :: OSI Approved :: MIT License",), "MIT License"),
        (("License: BSD 3-Clause", "        All rights"), "BSD 3-Clause"),
        ((), "unknown"),
    ],
)
def test_a_licence_is_found_wherever_it_is_stated(
    tmp_path: Path, fields: tuple[str, ...], licence: str
) -> None:
    assert bill.licence(distribution(tmp_path, "some", *fields)) == licence


def test_every_installed_distribution_is_listed_with_a_package_url() -> None:
    listed = {c.name: c for c in bill.from_python(distributions())}
    assert listed["xnat-brs"].purl == f"pkg:pypi/xnat-brs@{VERSION}"
    assert listed["xnat-brs"].licence == "Apache-2.0"
    assert {"torch", "highdicom", "numpy"} <= set(listed)


def test_debian_packages_become_components() -> None:
    (found,) = bill.from_debian("libc6\t2.36-9+deb12u14\tamd64\n")
    assert found.purl == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64"
    record = bill.to_cyclonedx([found])
    assert record["bomFormat"] == "CycloneDX"
    assert record["components"][0]["version"] == "2.36-9+deb12u14"


def test_an_unknown_licence_is_left_out_of_the_bill() -> None:
    component = bill.Component("some", "1", "unknown", "pkg:pypi/some@1")
    assert "licenses" not in component.to_cyclonedx()


# --- stand-in wheel


def test_the_stand_in_wheel_lacks_the_operators_and_is_well_formed(
    tmp_path: Path,
) -> None:
    wheel = tmp_path / "vision-0.1.0-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as source:
        source.writestr("vision/_C.so", b"\x7fELF")
        source.writestr("vision/extension.py", "import torch\n")
        source.writestr("vision-0.1.0.dist-info/METADATA", "Version: 0.1.0\nA: b\n")
        source.writestr("vision-0.1.0.dist-info/RECORD", "old")
    (tmp_path / "made").mkdir()
    made = wheels.strip(wheel, tmp_path / "made")
    assert made.name == "vision-0.1.0+cpu-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(made) as read:
        names = read.namelist()
        assert not any(name.endswith(".so") for name in names)
        assert b"qnms" in read.read("vision/extension.py")
        assert b"Version: 0.1.0+cpu\n" in read.read(
            "vision-0.1.0+cpu.dist-info/METADATA"
        )
        record = read.read("vision-0.1.0+cpu.dist-info/RECORD").decode().splitlines()
        assert len(record) == len(names)
        for line in record[:-1]:
            name, digest, size = line.split(",")
            data = read.read(name)
            raw = hashlib.sha256(data).digest()
            encoded = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={encoded}", len(data))
