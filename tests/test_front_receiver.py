"""DCMTK's receiver in front of ours, as the guide says to put it there."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from orthanc import free_port
from peers import program
from scp_peers import storing, study
from service import await_that

from plugin.jobs import Queue
from plugin.listener import Listener
from plugin.receiving.landing import Landing
from plugin.receiving.settings import Caller, ListenerConfig

pytestmark = pytest.mark.peer

GUIDE = Path(__file__).parents[1] / "docs" / "how-to" / "pacs.md"


@contextmanager
def front(folder: Path, port: int) -> Iterator[int]:
    """Run the guide's receiver and script, with places and ports of this test."""
    section = GUIDE.read_text().partition("## A faster receiver in front")[2]
    command, script = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[:2]
    spool, forward, own = folder / "front", folder / "forward", free_port()
    spool.mkdir()
    script = script.replace("storescu", program("storescu"))
    forward.write_text(script.replace("10.0.0.20 11112", f"127.0.0.1 {port}"))
    forward.chmod(0o755)
    command = command.replace("/usr/local/bin/forward", str(forward))
    command = command.replace("/var/spool/front", str(spool)).replace("11113", str(own))
    command = command.replace("timeout 5", "timeout 1")
    words = ["sh", "-c", command.replace("storescp", f"exec {program('storescp')}", 1)]
    process = subprocess.Popen(words, env=dict(os.environ))
    try:
        await_that(lambda: listens(own), "storescp")
        yield own
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_study_sent_to_dcmtk_in_front_is_forwarded_whole_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    sent = sorted(study(tmp_path / "sent", slices=3).iterdir())
    config = ListenerConfig("BRS", callers=(Caller("FRONT"),), port=0)
    landing = Landing(Queue(tmp_path / "work"))
    with Listener(config, landing) as listener, front(tmp_path, listener.port) as port:
        assert storing(port, *sent, called="FRONT").code == 0
        await_that(lambda: listener.counts() == {"new": 3}, "the forwarded study")
        await_that(lambda: not list((tmp_path / "front").iterdir()), "an empty folder")
