"""A server's certificate is verified, by the site's own authority where it has one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import program
from standin.server import StandIn
from xnat_project import QUICK

from plugin.errors import ArchiveError, exit_code
from plugin.xnat.target import XnatTarget
from plugin.xnat_archive import XnatArchive

pytestmark = [pytest.mark.peer, pytest.mark.usefixtures("discreet")]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """Return the files of a certificate that nobody has signed, and of its key."""
    made = (str(tmp_path / "site.pem"), str(tmp_path / "site.key"))
    subprocess.run(
        [
            *(program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-subj", "/CN=xnat", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-days", "2", "-out", made[0], "-keyout", made[1]),
        ],
        check=True,
        capture_output=True,
    )
    return made


@pytest.fixture
def server(tmp_path: Path, certificate: tuple[str, str]) -> Iterator[StandIn]:
    with StandIn.start(tmp_path / "xnat", tls=certificate) as server:
        server.add_user("alice", "alice-secret")
        server.add_project("BREAST", owners=("alice",))
        yield server


def archive_of(server: StandIn) -> XnatArchive:
    return XnatArchive(XnatTarget(server.url, "BREAST", "alice", "alice-secret"), QUICK)


def test_a_certificate_that_nobody_vouches_for_is_refused(server: StandIn) -> None:
    with pytest.raises(ArchiveError, match=r"no login possible \(SSLError\)") as caught:
        archive_of(server)
    assert "REQUESTS_CA_BUNDLE" in str(caught.value)
    assert exit_code(caught.value) == 7
    assert not server.requests, "no login was sent"


def test_a_sites_own_authority_is_taken_from_the_environment(
    server: StandIn, certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate[0])
    archive = archive_of(server)
    assert archive.sessions() == []
    archive.close()
