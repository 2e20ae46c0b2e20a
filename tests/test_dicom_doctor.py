"""What the doctor finds at a PACS: TLS, echo both ways, and what it lets us do."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from orthanc import Orthanc, free_port, orthanc
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Verification,
)
from scp_peers import Authority, Sent, send
from storage_peers import dcmqrscp, scripted, storescp
from synthetic import SECRETS, write_pair

from plugin.check import Answer, examine
from plugin.commands.xnat import doctor
from plugin.errors import ConfigError
from plugin.pacs.checks import pacs_checks
from plugin.pacs.target import parse_target
from plugin.receiving.settings import TlsFiles
from plugin.sending.certificate import own_expiry
from plugin.sending.checks import Examined, peer_checks
from plugin.sending.limits import Limits

pytestmark = pytest.mark.peer

LIMITS = Limits(connect_s=2, stall_s=2, answer_s=2)
NAMES = [
    *("state", "tls", "echo", "store", "find"),
    *("sessions", "retrieve", "echo-back"),
]


@pytest.fixture(scope="module")
def door() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, door: int) -> Iterator[Orthanc]:
    root = tmp_path_factory.mktemp("pacs")
    write_pair(root / "study")
    with orthanc(root / "orthanc", modalities={"brs": ("BRS", door)}) as server:
        server.upload(root / "study")
        yield server


def ask(uri: str, tmp_path: Path, **variables: str) -> dict[str, Answer]:
    given = {"BRS_STATE": str(tmp_path / "state"), "BRS_DICOM_ADDRESS": "127.0.0.1"}
    checks = pacs_checks(parse_target(uri, given | variables))
    return {answer.name: answer for answer in examine(checks)}


def states(answers: Mapping[str, Answer]) -> dict[str, str]:
    return {name: answer.state for name, answer in answers.items()}


def test_a_healthy_pacs_reaches_us_and_is_well_but_for_plain_dicom(
    pacs: Orthanc, door: int, tmp_path: Path
) -> None:
    found = ask(pacs.uri, tmp_path, BRS_DICOM_PORT=str(door))
    assert states(found) == dict.fromkeys(NAMES, "ok") | {"tls": "warning"}
    assert found["sessions"].found == "1 sessions"
    assert found["echo-back"].found == f"one image came by C-MOVE to port {door}"
    assert not (tmp_path / "state").exists()


def test_the_configuration_in_the_documentation_is_all_that_orthanc_needs(
    tmp_path: Path,
) -> None:
    page = Path("docs/how-to/pacs-archive.md").read_text(encoding="utf-8")
    config = json.loads(page.partition("```json\n")[2].partition("```")[0])
    port = free_port()
    config["DicomModalities"]["brs"] |= {"Host": "127.0.0.1", "Port": port}
    shut: dict[str, Any] = {
        f"DicomAlwaysAllow{what}": False for what in ("Store", "Get", "Move")
    }
    write_pair(tmp_path / "study")
    with orthanc(tmp_path / "orthanc", **shut, **config) as server:
        server.upload(tmp_path / "study")
        found = ask(server.uri, tmp_path, BRS_DICOM_PORT=str(port))
    assert states(found) == dict.fromkeys(NAMES, "ok") | {"tls": "warning"}


def test_without_a_port_of_ours_the_way_back_is_not_called_well(
    pacs: Orthanc, tmp_path: Path
) -> None:
    found = ask(pacs.uri, tmp_path)["echo-back"]
    assert found.state == "warning"
    assert "BRS_DICOM_PORT" in found.mend


def test_a_pacs_that_knows_another_port_of_ours_fails_the_way_back(
    pacs: Orthanc, tmp_path: Path
) -> None:
    other = str(free_port())
    found = ask(pacs.uri, tmp_path, BRS_DICOM_PORT=other)["echo-back"]
    assert found.state == "failed"


def test_a_pacs_that_does_not_know_our_title_fails_the_way_back(
    pacs: Orthanc, door: int, tmp_path: Path
) -> None:
    ours = {"BRS_AE_TITLE": "STRANGER", "BRS_DICOM_PORT": str(door)}
    assert ask(pacs.uri, tmp_path, **ours)["echo-back"].state == "failed"


def test_an_empty_pacs_proves_nothing_and_the_exact_echo_is_told(
    tmp_path: Path, door: int
) -> None:
    with dcmqrscp(tmp_path / "peer", movers=[("BRS", door)]) as server:
        uri = f"dicom://PEER@127.0.0.1:{server.port}"
        found = ask(uri, tmp_path, BRS_DICOM_PORT=str(door))
    assert found["sessions"].state == found["echo-back"].state == "warning"
    assert "not proven: there is no study to move" in found["echo-back"].found
    assert "echoscu -aet PEER -aec BRS" in found["echo-back"].mend
    assert found["echo-back"].mend.endswith(f" {door}")


def test_a_pacs_that_can_only_move_needs_our_port(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "peer", "--disable-get") as server:
        uri = f"dicom://PEER@127.0.0.1:{server.port}"
        found = ask(uri, tmp_path)["retrieve"]
        port = ask(uri, tmp_path, BRS_DICOM_PORT="11112")["retrieve"]
    assert found.state == "failed"
    assert "set BRS_DICOM_PORT" in found.mend
    assert (port.state, port.found) == ("ok", "sends images by C-MOVE to port 11112")


def test_who_is_not_a_pacs_fails_what_a_pacs_must_do(tmp_path: Path) -> None:
    with storescp(tmp_path / "peer") as server:
        found = ask(f"dicom://PEER@127.0.0.1:{server.port}", tmp_path)
    assert found["echo"].state == "ok"
    assert found["find"].state == found["retrieve"].state == "failed"
    assert "C-FIND" in found["find"].mend
    assert found["sessions"].found == "not checked"


def test_a_pacs_that_is_away_fails_the_echo_and_asks_no_more(tmp_path: Path) -> None:
    found = ask(f"dicom://PACS@127.0.0.1:{free_port()}", tmp_path)
    assert found["echo"].state == "failed"
    assert "firewall" in found["echo"].mend
    assert found["echo-back"].found == "not checked"


def test_a_state_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("/proc/self")
    found = ask(f"dicom://PACS@127.0.0.1:{free_port()}", tmp_path)["state"]
    assert found.state == "failed"


def test_a_peer_set_not_to_be_asked_is_a_warning() -> None:
    def deaf(entity: AE) -> None:
        entity.remove_supported_context(StudyRootFind)
        entity.add_supported_context(Verification)

    with scripted(also=deaf) as peer:
        unasked = Examined(peer.unasked, "BRS", LIMITS)
        asked = Examined(peer.destination, "BRS", LIMITS)
        found = {a.name: a for a in examine(peer_checks(unasked))}
        assert found["store"].state == "ok"
        assert found["find"].state == "warning"
        assert {a.name: a.state for a in examine(peer_checks(asked))}[
            "find"
        ] == "failed"


# --- TLS ---


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("own") / "ca", "own")


def tls_of(own: Authority, pair: tuple[Path, Path]) -> dict[str, str]:
    return {
        "BRS_DICOM_TLS_CERT": str(pair[0]),
        "BRS_DICOM_TLS_KEY": str(pair[1]),
        "BRS_DICOM_TLS_CA": str(own.certificate),
    }


def at_storescp(
    tmp_path: Path,
    own: Authority,
    server: tuple[Path, Path],
    client: tuple[Path, Path],
    **more: str,
) -> Answer:
    """Return the doctor's answer on TLS to a storescp with that certificate."""
    words = ("+tls", server[1], server[0], "+cf", own.certificate)
    with storescp(tmp_path / "peer", *words) as peer:
        uri = f"dicom://PEER@127.0.0.1:{peer.port}"
        found = ask(uri, tmp_path, **tls_of(own, client), **more)
    assert found["echo"].state == ("ok" if found["tls"].state != "failed" else "failed")
    return found["tls"]


def test_certificates_that_last_are_well(tmp_path: Path, own: Authority) -> None:
    pairs = [own.sign(name, days=400) for name in ("server", "client")]
    found = at_storescp(tmp_path, own, *pairs)
    assert found.state == "ok"
    # The last of the 400 days has begun.
    assert found.found == (
        "certificates valid: ours for 399 more days, the peer's for 399 more days; "
        "host name matches"
    )


def test_a_certificate_that_ends_soon_is_a_warning(
    tmp_path: Path, own: Authority
) -> None:
    soon, late = own.sign("soon", days=20), own.sign("later", days=400)
    for number, pairs in enumerate([(soon, late), (late, soon)]):
        found = at_storescp(tmp_path / str(number), own, *pairs)
        assert (found.state, "19 more days" in found.found) == ("warning", True)


def test_orthanc_and_we_reach_each_other_by_tls(tmp_path: Path, own: Authority) -> None:
    port, (certificate, key) = free_port(), own.sign("orthanc", days=400)
    ours = {"AET": "BRS", "Host": "127.0.0.1", "Port": port, "UseDicomTls": True}
    settings: dict[str, Any] = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(own.certificate),
        "DicomModalities": {"brs": ours},
    }
    write_pair(tmp_path / "study")
    with orthanc(tmp_path / "orthanc", **settings) as server:
        server.upload(tmp_path / "study")
        tls = tls_of(own, own.sign("both-ways", days=400))
        found = ask(server.uri, tmp_path, BRS_DICOM_PORT=str(port), **tls)
    assert states(found) == dict.fromkeys(NAMES, "ok")
    assert "C-MOVE" in found["echo-back"].found


@pytest.mark.parametrize(
    ("kind", "says", "mend"),
    [
        ("expired", "expired", "renew the peer's certificate"),
        ("foreign", "not trusted", "authority"),
        ("elsewhere", "mismatch", "host name"),
    ],
)
def test_a_peers_bad_certificate_fails_with_its_mend(
    tmp_path: Path, own: Authority, kind: str, says: str, mend: str
) -> None:
    server = {
        "expired": lambda: own.sign("expired", days=-1),
        "foreign": lambda: Authority(tmp_path / "foreign", "f").sign("foreign"),
        "elsewhere": lambda: own.sign("elsewhere", address="10.9.8.7"),
    }[kind]()
    found = at_storescp(tmp_path, own, server, own.sign(f"client-{kind}"))
    assert found.state == "failed"
    assert says in found.found
    assert mend in found.mend


def test_our_own_expired_certificate_fails_before_the_peer_sees_it(
    tmp_path: Path, own: Authority
) -> None:
    late = own.sign("late", days=-1)
    found = at_storescp(tmp_path, own, own.sign("server-2"), late)
    assert found.state == "failed"
    assert "expired" in found.found
    assert "our certificate" in found.found


def test_the_end_of_our_certificate_is_read_and_a_wrong_key_is_refused(
    own: Authority,
) -> None:
    (certificate, key), other = own.sign("mine", days=10), own.sign("other")
    files = TlsFiles(certificate, key, own.certificate)
    left = own_expiry(files) - datetime.now(UTC)
    assert timedelta(days=9, hours=23) < left <= timedelta(days=10)
    with pytest.raises(ConfigError):
        own_expiry(replace(files, key=other[1]))


# --- the command ---


def run(uri: str, tmp_path: Path, *words: str, **env: str) -> Result:
    paths = ["--work", str(tmp_path), "--state", str(tmp_path / "state")]
    variables = {"BRS_DICOM_ADDRESS": "127.0.0.1"} | env
    return CliRunner(env=variables).invoke(doctor, ["--archive", uri, *paths, *words])


def test_an_echo_of_the_pacs_is_waited_for(pacs: Orthanc, tmp_path: Path) -> None:
    port = free_port()
    heard: list[Sent] = []

    def call() -> None:
        titles = ("-aet", "ORTHANC", "-aec", "BRS")
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s and (not heard or heard[-1].code):
            heard.append(send("echoscu", *titles, "127.0.0.1", port))
            time.sleep(0.1)

    caller = threading.Thread(target=call)
    caller.start()
    done = run(pacs.uri, tmp_path, "--listen", "60", BRS_DICOM_PORT=str(port))
    caller.join()
    assert done.exit_code == 0, done.output
    assert f"ok echo-back: ORTHANC called port {port}" in done.stderr
    assert not [word for word in SECRETS if word in done.output]


def test_an_echo_that_does_not_come_fails_with_the_command(
    pacs: Orthanc, tmp_path: Path
) -> None:
    port = str(free_port())
    done = run(pacs.uri, tmp_path, "--listen", "0.2", BRS_DICOM_PORT=port)
    assert done.exit_code == 7
    checks = {c["name"]: c for c in json.loads(done.stdout.splitlines()[-1])["checks"]}
    assert checks["echo-back"]["state"] == "failed"
    assert "echoscu -aet ORTHANC -aec BRS" in checks["echo-back"]["mend"]
