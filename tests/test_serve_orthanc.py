"""The whole way round: a PACS receives a study, routes it to us, and has its mask."""

import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from orthanc import Orthanc, orthanc
from peers import dicom_errors
from phantoms import patient_for, site_for
from scp_peers import send
from service import (
    Running,
    await_that,
    destination_row,
    running,
    settings,
    small_study,
)
from storage_peers import Program, dcmqrscp

from model.phantom import make_case
from plugin.jobs import State
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.receiving.identity import key

pytestmark = [pytest.mark.peer, pytest.mark.slow]

GUIDE = Path(__file__).parents[1] / "docs" / "how-to" / "pacs.md"
SLICES, PHASES, OTHERS = 12, 6, 15
"""The phantom's dynamic series; its localiser and T2 have 9 and 6 instances."""


@dataclass(frozen=True)
class Hospital:
    """A PACS that routes what it receives, our service, and a second archive."""

    pacs: Orthanc
    service: Running
    second: Program
    folder: Path

    def masks(self, study_uid: str) -> list[str]:
        """Return Orthanc's ids of the masks of a study."""
        return self.pacs.instances(StudyInstanceUID=study_uid, Modality="SEG")

    def instances(self, outcome: str) -> int:
        """Return how many received instances ended so."""
        url = f"http://127.0.0.1:{self.service.http_port}/metrics"
        with urllib.request.urlopen(url, timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        start = f'brs_instances_total{{outcome="{outcome}"}} '
        return sum(int(float(x.split()[1])) for x in lines if x.startswith(start))


def route() -> str:
    """Return the Lua callback that the guide tells a PACS admin to install."""
    (found,) = re.findall(r"```lua\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def hospital(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path
) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("hospital")
    script = folder / "route.lua"
    script.write_text(route())
    with (
        orthanc(folder / "orthanc", LuaScripts=[str(script)]) as pacs,
        dcmqrscp(folder / "second") as second,
    ):
        config = settings(folder, checkpoint, http="port = 0")
        rows = [
            destination_row(pacs.port, ae_title="ORTHANC", sources=["ORTHANC"]),
            destination_row(second.port, name="second", sources=["ROUTER"]),
            '[[callers]]\nae_title = "ORTHANC"\nhosts = ["127.0.0.1"]\n',
        ]
        config.write_text("\n".join([config.read_text(), *rows]))
        with running(config, folder / "work") as service:
            modality = {"AET": "BRS", "Host": "127.0.0.1", "Port": service.port}
            pacs.put("/modalities/brs", modality)
            yield Hospital(pacs, service, second, folder)


def test_a_study_that_a_pacs_receives_has_its_mask_there_and_nobody_did_anything(
    hospital: Hospital,
) -> None:
    case = make_case(patient_for(1), site_for(1), seed=1)
    images = hospital.folder / "phantom"
    write_session(case, images, style=VendorStyle.SEPARATE_SERIES, session_id="p")
    files = sorted(images.rglob("*.dcm"))
    study_uid = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    pacs, service = hospital.pacs, hospital.service

    sent = send("storescu", "-aec", "ORTHANC", "127.0.0.1", pacs.port, *files)
    assert sent.code == 0
    await_that(lambda: len(hospital.masks(study_uid)) == 1, "the mask in the PACS")

    (mask,) = hospital.masks(study_uid)
    path = hospital.folder / "mask.dcm"
    path.write_bytes(pacs.file(mask))
    assert dicom_errors(path) == []
    header = pydicom.dcmread(path)
    (series,) = header.ReferencedSeriesSequence
    referred = {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence}
    pre = [pydicom.dcmread(f) for f in files if f.parent.name == "SE000005"]
    assert series.SeriesInstanceUID == pre[0].SeriesInstanceUID
    assert referred == {image.SOPInstanceUID for image in pre}
    assert len(pre) == SLICES
    assert header.PatientID == pre[0].PatientID

    # The mask makes the study stable anew: all of it is routed to us once more.
    await_that(lambda: hospital.instances("discarded") >= 1, "the mask's return")
    count = SLICES * PHASES + OTHERS
    await_that(lambda: hospital.instances("duplicate") == count, "the images' return")
    time.sleep(2)
    assert hospital.instances("new") == count
    assert service.queue.depth().incoming == 0
    assert service.state(key(study_uid)) is State.DONE
    kinds = [event.kind.value for event in service.events(key(study_uid))]
    assert (kinds.count("taken"), kinds.count("done")) == (1, 1)
    assert len(hospital.masks(study_uid)) == 1


def test_masks_go_where_the_sender_of_their_study_says(hospital: Hospital) -> None:
    study = small_study(hospital.folder, "routed")
    service, second = hospital.service, hospital.second
    before = hospital.pacs.instances(Modality="SEG")
    words = ("-aet", "ROUTER", "-aec", "BRS", "127.0.0.1", service.port)
    assert send("storescu", *words, *study.files).code == 0
    service.await_state(study.key, State.DONE)
    (mask,) = second.files.glob("*.dcm")
    uid = pydicom.dcmread(study.pre[0]).StudyInstanceUID
    assert pydicom.dcmread(mask).StudyInstanceUID == uid
    assert hospital.pacs.instances(Modality="SEG") == before
