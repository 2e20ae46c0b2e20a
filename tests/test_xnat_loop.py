"""The loop on a project as XNAT launches it: each wrapper by its real command line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from launcher import ForbiddenError, Launch, Launcher
from standin.server import StandIn
from synthetic import SECRETS

from plugin.demo import Cohort, DemoOptions, make_cohort
from plugin.exchange import HUMAN_FILE
from plugin.provenance import is_ours

COHORT = DemoOptions(cases=4, slices=16, matrix_px=96)
ANNOTATED = 3
TRAINING = {"epochs": "3", "folds": "2", "grid": "48"}


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

    def resource(self, session_id: str | None) -> dict[str, bytes]:
        """Return the files of the resource BRS, catalogs left out."""
        root = (
            self.server.project_directory("BREAST")
            if session_id is None
            else self.server.directory(session_id)
        )
        found = [p for p in root.rglob("*") if p.is_file() and "BRS" in p.parts]
        return {
            p.name: p.read_bytes() for p in found if not p.name.endswith("_catalog.xml")
        }

    def collections(self, session_id: str) -> list[pydicom.Dataset]:
        """Return the SEG of every ROI collection of a session."""
        root = self.server.directory(session_id) / "ASSESSORS"
        return [
            pydicom.dcmread(BytesIO(path.read_bytes()))
            for path in sorted(root.rglob("*.dcm"))
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("hospital")
    with StandIn.start(root / "xnat") as server:
        for user in ("alice", "bob"):
            server.add_user(user, f"{user}-planted-password")
        server.add_project("BREAST", owners=("alice",), collaborators=("bob",))
        truth = make_cohort(root / "source", COHORT)
        sessions = {plant(server, truth, name): name for name in truth.truth.sessions()}
        launcher = Launcher(server, command=Path("command-cpu.json"))
        yield Site(server, launcher, sorted(sessions), truth, sessions, [])


def plant(server: StandIn, cohort: Cohort, name: str) -> str:
    """Add a synthetic session under a patient's data that nothing may show."""
    folder = cohort.archive.root / name
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = SECRETS[0], f"{SECRETS[1]}-{name}"
        dataset.PatientBirthDate, dataset.AccessionNumber = SECRETS[2:]
        dataset.save_as(path)
    label = f"MR (odd) {name}"
    return server.add_session("BREAST", subject=name, label=label, dicom=folder)


def annotate(site: Site, session_id: str) -> None:
    """Save the true mask as a person does in the viewer."""
    drawn = site.cohort.truth.read(site.names[session_id], HUMAN_FILE)
    label = f"SEG_20260131_{session_id}"
    site.server.add_collection(session_id, label, drawn or b"", user="alice")


def states(site: Site, session_id: str) -> list[bool]:
    return [is_ours(found) for found in site.collections(session_id)]


# One test, because each launch is a process that imports PyTorch.
@pytest.mark.slow
def test_a_project_goes_round_the_loop(site: Site) -> None:
    assert site.on_project("rank", checkpoint="none")["ranked"] == COHORT.cases
    assert {"ranking.json", "ranking.csv", "report.html"} <= set(site.resource(None))

    *annotated, pool = site.sessions
    for session_id in annotated:
        annotate(site, session_id)
    trained = site.on_project("train", **TRAINING)
    assert (trained["cases"], trained["pushed"]) == (ANNOTATED, True)
    weights = site.resource(None)["checkpoint.safetensors"]

    for session_id in (pool, annotated[0]):
        found = site.on_session("segment", session_id)
        assert found["segmented"] == 1
    check_pushed(site, pool)
    before = {p: p.read_bytes() for p in files_of(site.server.directory(pool))}

    again = site.on_session("segment", pool)
    assert (again["unchanged"], again["segmented"]) == (1, 0)
    after = {p: p.read_bytes() for p in files_of(site.server.directory(pool))}
    assert after == before

    check_evaluation(site, annotated[0])
    retrained = site.on_project("train", **TRAINING)
    assert retrained["cases"] == ANNOTATED
    assert site.resource(None)["checkpoint.safetensors"] == weights

    check_review(site, pool)
    check_secrets(site)


def check_pushed(site: Site, session_id: str) -> None:
    """Held masks stay out; others are in the resource and, once, in the viewer."""
    files = site.resource(session_id)
    result = json.loads(files["result.json"])
    if result["verdict"] == "hold":
        assert set(files) == {"result.json"}
        assert states(site, session_id) == []
        return
    assert {"segmentation.dcm", "mask.nii.gz", "preview.png", "mask.json"} <= set(files)
    (shown,) = site.collections(session_id)
    assert shown.SOPInstanceUID == result["sop_instance_uid"]


def check_evaluation(site: Site, session_id: str) -> None:
    """A held mask is not measured; another is, against the person's."""
    held = json.loads(site.resource(session_id)["result.json"])["verdict"] == "hold"
    if held:
        done = site.launch("evaluate", project="BREAST")
        assert (done.status, done.exit_code) == ("Failed", 4)
        return
    found = site.on_project("evaluate")
    assert (found["cases"], found["failed"]) == (1, COHORT.cases - 1)


def check_review(site: Site, session_id: str) -> None:
    if "mask.json" not in site.resource(session_id):
        done = site.launch(
            "review",
            session=session_id,
            inputs={"decision": "accept", "role": "reader"},
        )
        assert (done.status, done.exit_code) == ("Failed", 4)
        return
    site.on_session("review", session_id, decision="accept", role="radiologist")
    record = json.loads(site.resource(session_id)["mask.json"])
    assert record["state"] == "model-approved"


def files_of(folder: Path) -> list[Path]:
    return [
        p
        for p in folder.rglob("*")
        if p.is_file() and not p.name.endswith(".xml") and "LOGS" not in p.parts
    ]


def check_secrets(site: Site) -> None:
    """Nothing that was printed or stored names a patient or a secret."""
    planted = {*SECRETS, "planted-password"}
    for done in site.launches:
        planted |= {done.env["XNAT_PASS"], done.env["XNAT_USER"]}
    for done in site.launches:
        text = done.stdout + done.stderr
        assert not [word for word in planted if word in text]
    for session_id in (None, *site.sessions):
        for name, data in site.resource(session_id).items():
            if not name.endswith(".dcm"):
                assert not [w for w in planted if w.encode() in data], name


def test_a_collaborator_is_refused_by_xnat_itself(site: Site) -> None:
    with pytest.raises(ForbiddenError):
        site.launch("rank", user="bob", project="BREAST")
