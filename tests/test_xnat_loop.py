"""The loop on a project as XNAT launches it: each wrapper by its real command line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from discretion import check_told
from launcher import ForbiddenError, Launch, Launcher
from sessions import untrained_checkpoint
from standin.server import StandIn
from synthetic import SECRETS

from model.checkpoint import write_checkpoint
from plugin.demo import Cohort, DemoOptions, make_cohort
from plugin.exchange import HUMAN_FILE
from plugin.weights import CHECKPOINT_FILE
from plugin.xnat.target import XnatTarget
from plugin.xnat_archive import XnatArchive

COHORT = DemoOptions(cases=3, slices=16, matrix_px=96)
ANNOTATED = 2
TRAINING = {"epochs": "1", "folds": "2", "grid": "32"}
ALL = "everything.safetensors"
ALICE = ("alice", "alice-planted-password")


@dataclass
class Site:
    """A hospital: its server, its launcher, its sessions, and all that was launched."""

    server: StandIn
    launcher: Launcher
    sessions: list[str]
    cohort: Cohort
    names: dict[str, str]
    """Of the cohort's sessions, by XNAT id."""
    launches: list[Launch]

    def launch(self, wrapper: str, user: str = "alice", **where: object) -> Launch:
        done = self.launcher.launch(wrapper, user=user, **where)  # type: ignore[arg-type]
        self.launches.append(done)
        return done

    def on_project(self, wrapper: str, **inputs: str) -> dict[str, object]:
        return self._result(self.launch(wrapper, project="BREAST", inputs=inputs))

    def on_session(
        self, wrapper: str, session_id: str, **inputs: str
    ) -> dict[str, object]:
        return self._result(self.launch(wrapper, session=session_id, inputs=inputs))

    def _result(self, done: Launch) -> dict[str, object]:
        assert done.status == "Complete", done.stderr
        found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return found

    def folder(self, session_id: str | None) -> Path:
        if session_id is None:
            return self.server.project_directory("BREAST") / "resources"
        return self.server.directory(session_id)

    def files(self, session_id: str | None) -> dict[str, bytes]:
        """Return every file of a session or of the project's own, catalogs left out."""
        root = self.folder(session_id)
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and not path.name.endswith("_catalog.xml")
        }

    def resource(self, session_id: str | None) -> dict[str, bytes]:
        """Return the files of the resource BRS by name."""
        files = {Path(name): data for name, data in self.files(session_id).items()}
        return {path.name: data for path, data in files.items() if "BRS" in path.parts}

    def record(self, session_id: str | None, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.resource(session_id)[name])
        return found

    def weights(self) -> str:
        """Return the hash of the project's own checkpoint."""
        return str(self.record(None, "checkpoint.json")["weights_sha256"])

    def collections(self, session_id: str) -> list[tuple[str, bytes]]:
        """Return UID and bytes of every ROI collection of a session."""
        stored = (self.folder(session_id) / "ASSESSORS").rglob("*.dcm")
        found = [path.read_bytes() for path in stored]
        return [(str(pydicom.dcmread(BytesIO(b)).SOPInstanceUID), b) for b in found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("hospital")
    with StandIn.start(root / "xnat") as server:
        server.add_user(*ALICE)
        server.add_user("bob", "bob-planted-password")
        server.add_project("BREAST", owners=("alice",), collaborators=("bob",))
        truth = make_cohort(root / "source", COHORT)
        sessions = {plant(server, truth, name): name for name in truth.truth.sessions()}
        launcher = Launcher(server, Path("command-cpu.json"), cache=root / "cache")
        yield Site(server, launcher, sorted(sessions), truth, sessions, [])


def plant(server: StandIn, cohort: Cohort, name: str) -> str:
    """Add a session whose header, and whose label, hold what nobody may tell."""
    folder = cohort.archive.root / name
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = SECRETS[0], f"{SECRETS[1]}-{name}"
        dataset.PatientBirthDate, dataset.AccessionNumber = SECRETS[2:]
        dataset.save_as(path)
    label = f"{SECRETS[0]} (odd) {name}"
    return server.add_session("BREAST", subject=name, label=label, dicom=folder)


def annotate(site: Site, session_id: str) -> None:
    """Save the true mask as a person does in the viewer."""
    drawn = site.cohort.truth.read(site.names[session_id], HUMAN_FILE)
    label = f"SEG_20260131_{session_id}"
    site.server.add_collection(session_id, label, drawn or b"", user="alice")


def give_weights(site: Site, folder: Path) -> None:
    """Upload a checkpoint that calls everything breast: its masks are known."""
    made = untrained_checkpoint()
    write_checkpoint(made.network, made.manifest, folder / ALL)
    for name in (ALL, ALL.replace("safetensors", "json")):
        archive = XnatArchive(XnatTarget(site.server.url, "BREAST", *ALICE))
        archive.write(None, name, (folder / name).read_bytes())
        archive.close()


# One test, because each launch is a process that imports PyTorch.
@pytest.mark.slow
def test_a_project_goes_round_the_loop(site: Site, tmp_path: Path) -> None:
    assert site.on_project("rank", checkpoint="none")["ranked"] == COHORT.cases
    assert {"ranking.json", "ranking.csv", "report.html"} <= set(site.resource(None))

    *annotated, pool = site.sessions
    for session_id in annotated:
        annotate(site, session_id)
    trained = site.on_project("train", **TRAINING)
    assert (trained["cases"], trained["pushed"]) == (ANNOTATED, True)
    assert any("/engines/" in name for name in site.files(None)), "proven once for all"
    weights = site.weights()

    assert site.on_session("segment", pool)["segmented"] == 1
    made_by = site.record(pool, "result.json")["algorithm"]
    assert made_by["weights_sha256"] == weights

    give_weights(site, tmp_path)
    for session_id in (annotated[0], pool):
        found = site.on_session("segment", session_id, checkpoint=ALL)
        assert (found["segmented"], found["review"], found["not_shown"]) == (1, 1, 0)
        check_pushed(site, session_id)

    before = site.files(pool)
    again = site.on_session("segment", pool, checkpoint=ALL)
    assert (again["unchanged"], again["segmented"]) == (1, 0)
    assert site.files(pool) == before

    check_evaluation(site, annotated[0])
    retrained = site.on_project("train", **TRAINING)
    assert retrained["cases"] == ANNOTATED, "no model's mask is among them"
    assert site.weights() == weights

    site.on_session("review", pool, decision="accept", role="radiologist")
    assert site.record(pool, "mask.json")["state"] == "model-approved"
    tuned = site.on_project("finetune", checkpoint=CHECKPOINT_FILE, **TRAINING)
    assert tuned["cases"] == ANNOTATED + 1, "with the mask that a person approved"
    assert site.record(None, "checkpoint.json")["parent_sha256"] == weights
    stored = [
        pair for each in (None, *site.sessions) for pair in site.resource(each).items()
    ]
    check_told(site.server, site.launches, stored)


def check_pushed(site: Site, session_id: str) -> None:
    """The mask is in the resource and, as the same bytes, once in the viewer."""
    files = site.resource(session_id)
    assert {"mask.nii.gz", "preview.png", "mask.json", "result.json"} <= set(files)
    uid = site.record(session_id, "result.json")["sop_instance_uid"]
    shown = [data for found, data in site.collections(session_id) if found == uid]
    assert shown == [files["segmentation.dcm"]]


def check_evaluation(site: Site, session_id: str) -> None:
    """Everything (n voxels) against the truth (v of them): Dice is 2 v / (n + v)."""
    found = site.on_project("evaluate")
    assert (found["cases"], found["failed"]) == (1, COHORT.cases - 1)
    drawn = site.cohort.truth.read(site.names[session_id], HUMAN_FILE) or b""
    sides = pydicom.dcmread(BytesIO(drawn)).pixel_array
    n, v = sides.size // 2, int(sides.sum())
    assert found["case_dice_mean"] == pytest.approx(2 * v / (n + v), abs=1e-3)


def test_a_collaborator_is_refused_by_xnat_itself(site: Site) -> None:
    with pytest.raises(ForbiddenError):
        site.launch("rank", user="bob", project="BREAST")
