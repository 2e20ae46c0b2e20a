"""The archive that is a PACS, against Orthanc and dcmqrscp."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from click.testing import CliRunner
from orthanc import Orthanc, free_port, orthanc
from scp_peers import instance, study
from sessions import box_mask, untrained_segmenter
from storage_peers import Program, breaking, dcmqrscp, storescp
from synthetic import SECRETS, Plan, enhanced, uid, write, write_pair, write_plan

from plugin import seg
from plugin.archive import open_archive
from plugin.cli import cli
from plugin.demo import DemoOptions, make_cohort
from plugin.dicom_archive import DicomArchive, Patience
from plugin.errors import ArchiveError, InputError
from plugin.exchange import HUMAN_FILE, human_seg, store_human_mask
from plugin.masks import has_trainable_mask, trainable_mask
from plugin.pacs.target import parse_target
from plugin.pipeline import SEG_FILE, segment_session
from plugin.provenance import MaskState, is_ours
from plugin.rules import DceRules
from plugin.sending.deliver import deliver
from plugin.sending.limits import Limits
from plugin.session import OpenSession, find_pair, load_session

pytestmark = pytest.mark.peer

RULES = DceRules()
QUICK = Patience(attempts=2, longest_wait_s=0.01, limits=Limits(connect_s=2))
STUDY, OTHER = uid("study"), uid("other")
SLICES = 12


@dataclass
class Peer:
    """A PACS with two studies, and the archive's address of it."""

    uri: str
    variables: dict[str, str]
    program: Program | None = None
    """Of DCMTK: its log tells what was asked for."""

    def archive(self, state: Path, **more: str) -> DicomArchive:
        variables = {"BRS_STATE": str(state)} | self.variables | more
        return DicomArchive(parse_target(self.uri, variables), QUICK)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies: a pair each, the first with a T2 series and a report beside it."""
    root = tmp_path_factory.mktemp("source")
    for name in ("study", "other"):
        plans = [
            Plan(
                number=5 + phase,
                phase=phase,
                study=name,
                patient=f"{name}-ID",
                description=f"t1_fl3d_tra {what}",
            )
            for phase, what in enumerate(("pre", "post"))
        ]
        write_pair(root / name, *plans)
    t2 = Plan(number=9, description="t2_tse_tra").with_tags(ScanningSequence="SE")
    write_plan(root / "study" / "9", t2)
    return root


@pytest.fixture(scope="module", params=["orthanc-get", "dcmtk-get", "dcmtk-move"])
def peer(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    source: Path,
) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("peer") / "peer"
    if request.param == "orthanc-get":
        with orthanc(folder) as server:
            server.upload(source)
            yield Peer(server.uri, {})
        return
    port = free_port()
    options = ["--disable-get"] if request.param == "dcmtk-move" else []
    with dcmqrscp(folder, *options, movers=[("BRS", port)]) as server:
        for folder_of_study in source.iterdir():
            files = sorted(folder_of_study.rglob("*.dcm"))
            deliver(files, server.destination(), calling_ae="MODALITY")
        variables = {"BRS_DICOM_PORT": str(port), "BRS_DICOM_ADDRESS": "127.0.0.1"}
        yield Peer(f"dicom://PEER@127.0.0.1:{server.port}", variables, server)


def datasets(folder: Path) -> dict[str, pydicom.Dataset]:
    found = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
    return {str(each.SOPInstanceUID): each for each in found}


# --- images ---


def test_sessions_are_the_mr_studies_by_their_uid(peer: Peer, tmp_path: Path) -> None:
    assert peer.archive(tmp_path).sessions() == sorted([STUDY, OTHER])


def test_the_instances_that_arrive_are_the_pacs_own(
    peer: Peer, source: Path, tmp_path: Path
) -> None:
    folder = peer.archive(tmp_path / "state").fetch(STUDY, tmp_path / "w")
    assert datasets(folder) == datasets(source / "study")


def test_only_the_pair_is_pulled_of_a_study_with_more(
    peer: Peer, tmp_path: Path
) -> None:
    archive = peer.archive(tmp_path / "state")
    pair = find_pair(archive, STUDY, tmp_path / "w", RULES)
    assert (len(pair.pre.frames), len(pair.post.frames)) == (SLICES, SLICES)
    pulled = datasets(tmp_path / "w" / "images").values()
    assert {int(each.SeriesNumber) for each in pulled} == {5, 6}
    assert len(pulled) == 2 * SLICES
    archive.release(STUDY, tmp_path / "w")
    assert not list(tmp_path.glob("w/**/*.dcm"))


def requests_for_images(server: Program) -> int:
    kind = "Message Type                  : C-{} RQ"
    return sum(server.said(kind.format(way)) for way in ("GET", "MOVE"))


def test_a_whole_phase_in_one_instance_comes_once(tmp_path: Path) -> None:
    phases = [Plan(number=5, phase=0), Plan(number=6, phase=1)]
    files = write([enhanced([plan]) for plan in phases], tmp_path / "study")
    with dcmqrscp(tmp_path / "peer") as server:
        deliver(files, server.destination(), calling_ae="MODALITY")
        there = Peer(f"dicom://PEER@127.0.0.1:{server.port}", {})
        archive = there.archive(tmp_path / "state")
        folder = archive.fetch(
            STUDY, tmp_path / "w", lambda seen: [each.scan_id for each in seen]
        )
        assert requests_for_images(server) == 2
    assert datasets(folder) == datasets(tmp_path / "study")


def test_an_interrupted_pull_asks_for_what_is_missing_only(
    peer: Peer, source: Path, tmp_path: Path
) -> None:
    archive = peer.archive(tmp_path / "state")
    folder = archive.fetch(STUDY, tmp_path / "w")
    files = sorted(folder.iterdir())
    for lost in files[:2]:
        lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in files[2:]}
    archive.fetch(STUDY, tmp_path / "w")
    assert datasets(folder) == datasets(source / "study")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    if peer.program is not None:
        asked = requests_for_images(peer.program)
        archive.fetch(STUDY, tmp_path / "w")
        assert requests_for_images(peer.program) == asked


def test_a_pull_that_breaks_goes_on_where_it_broke(tmp_path: Path) -> None:
    files = sorted(study(tmp_path / "study", slices=12).iterdir())
    with breaking(files, after=9) as server:
        there = Peer(f"dicom://PEER@127.0.0.1:{server.port}", {})
        session_id = str(pydicom.dcmread(files[0]).StudyInstanceUID)
        folder = there.archive(tmp_path / "state").fetch(session_id, tmp_path / "w")
        # The series, of which nine came; then the other three, one by one.
        assert server.asked == ["SERIES", "IMAGE", "IMAGE", "IMAGE"]
    assert datasets(folder) == datasets(tmp_path / "study")


def test_a_study_that_is_not_there_and_a_name_that_is_no_uid_are_told_apart(
    peer: Peer, tmp_path: Path
) -> None:
    archive = peer.archive(tmp_path)
    with pytest.raises(ArchiveError, match="no such study"):
        archive.fetch("1.2.3", tmp_path)
    with pytest.raises(ArchiveError, match="a StudyInstanceUID"):
        archive.fetch("../other", tmp_path)


def test_a_study_without_mr_is_no_session(peer: Peer, tmp_path: Path) -> None:
    report = instance("1.2.77", "1.2.77.1")
    report.Modality = "OT"
    report.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    archive = peer.archive(tmp_path / "state")
    there = archive.target.peer
    deliver([tmp_path / "x.dcm"], there, calling_ae="MODALITY")
    assert archive.sessions() == sorted([STUDY, OTHER])
    with pytest.raises(InputError, match="without MR images"):
        archive.fetch("1.2.77", tmp_path / "w")


def test_orthanc_cuts_lists_short_and_is_asked_again(tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc", LimitFindResults=3) as server:
        for day in range(1, 8):
            each = instance(f"1.2.{day}", f"1.2.{day}.1")
            each.StudyDate = f"2024010{day}"
            each.save_as(tmp_path / "x.dcm", enforce_file_format=True)
            server.upload(tmp_path / "x.dcm")
        archive = Peer(server.uri, {}).archive(tmp_path / "state")
        assert archive.sessions() == [f"1.2.{day}" for day in range(1, 8)]


def test_a_pacs_that_can_only_move_needs_our_port(tmp_path: Path, source: Path) -> None:
    with dcmqrscp(tmp_path / "peer", "--disable-get") as server:
        files = sorted((source / "other").rglob("*.dcm"))
        deliver(files, server.destination(), calling_ae="MODALITY")
        there = Peer(f"dicom://PEER@127.0.0.1:{server.port}", {})
        with pytest.raises(ArchiveError, match="BRS_DICOM_PORT"):
            there.archive(tmp_path / "state").fetch(OTHER, tmp_path / "w")
        # The port is there now, and the PACS does not know our title.
        port = {"BRS_DICOM_PORT": str(free_port()), "BRS_DICOM_ADDRESS": "127.0.0.1"}
        archive = there.archive(tmp_path / "state", **port)
        with pytest.raises(ArchiveError, match="destination unknown"):
            archive.fetch(OTHER, tmp_path / "w")


def test_a_pacs_that_is_away_is_an_error_with_its_address(tmp_path: Path) -> None:
    there = Peer(f"dicom://PACS@127.0.0.1:{free_port()}", {})
    with pytest.raises(ArchiveError, match="PACS at 127") as caught:
        there.archive(tmp_path).sessions()
    assert "Connection refused" in caught.value.found


# --- masks ---


def opened(archive: DicomArchive, session_id: str, work: Path) -> OpenSession:
    return load_session(session_id, find_pair(archive, session_id, work, RULES))


def test_our_mask_reaches_the_pacs_once_and_is_a_draft_there(
    peer: Peer, tmp_path: Path
) -> None:
    archive = peer.archive(tmp_path / "state")
    folder = archive.fetch(OTHER, tmp_path / "w")
    segment_session(OTHER, folder, tmp_path / "out", untrained_segmenter())
    archive.prepare(OTHER)
    ours = tmp_path / "out" / SEG_FILE
    assert archive.publish(OTHER, ours, "")
    assert archive.publish(OTHER, ours, "")
    (there,) = archive.mask_paths(OTHER, tmp_path / "w")
    assert pydicom.dcmread(there) == pydicom.dcmread(ours)
    assert is_ours(pydicom.dcmread(there))
    assert not has_trainable_mask(archive, OTHER, tmp_path / "w")
    if peer.program is not None:
        uid = pydicom.dcmread(ours).SOPInstanceUID
        assert peer.program.said(f"SOP Instance UID     : {uid}") == 2 * 1


def test_a_persons_mask_in_the_pacs_is_learnt_from_and_ours_is_not(
    peer: Peer, tmp_path: Path
) -> None:
    archive = peer.archive(tmp_path / "state")
    session = opened(archive, STUDY, tmp_path / "w")
    assert not has_trainable_mask(archive, STUDY, tmp_path / "w")
    drawn = tmp_path / "human.dcm"
    seg.write(human_seg(session, box_mask(session)), drawn)
    deliver([drawn], archive.target.peer, calling_ae="VIEWER")
    found = trainable_mask(archive, session, tmp_path / "w")
    assert found.state is MaskState.HUMAN
    assert (found.volume.array == box_mask(session).array).all()


def test_an_imported_mask_lies_in_the_state_folder_and_is_not_pulled_besides(
    peer: Peer, tmp_path: Path
) -> None:
    archive = peer.archive(tmp_path / "state")
    session = opened(archive, STUDY, tmp_path / "w")
    store_human_mask(archive, session, box_mask(session))
    kept = tmp_path / "state" / archive.target.peer.ae_title / STUDY / "BRS"
    assert (kept / HUMAN_FILE).is_file()
    paths = archive.mask_paths(STUDY, tmp_path / "w")
    assert kept / HUMAN_FILE in paths
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]
    assert len(uids) == len(set(uids))


def test_a_pacs_that_takes_no_masks_is_found_out_before_any_computing(
    tmp_path: Path,
) -> None:
    # storescp 3.6.7 takes SEG only when it takes everything.
    with storescp(tmp_path / "peer", "--refuse") as server:
        there = Peer(f"dicom://PEER@127.0.0.1:{server.port}", {})
        archive = there.archive(tmp_path / "state")
        archive.prepare(None)
        with pytest.raises(ArchiveError, match="needed an association"):
            archive.prepare(STUDY)


# --- the state folder ---


def test_files_of_project_and_session_are_kept_per_pacs(
    tmp_path: Path,
) -> None:
    uri = "dicom://PACS@127.0.0.1:1"
    archive = open_archive(uri, {"BRS_STATE": str(tmp_path / "state")})
    assert archive.read(None, "ranking.json") is None
    assert archive.read(STUDY, "result.json") is None
    assert not (tmp_path / "state").exists()
    archive.write(None, "ranking.json", b"1")
    archive.write(STUDY, "result.json", b"2")
    assert archive.read(None, "ranking.json") == b"1"
    assert archive.read(STUDY, "result.json") == b"2"
    assert archive.add(None, "rounds/0001.json", b"3")
    assert not archive.add(None, "rounds/0001.json", b"4")
    other = open_archive(
        "dicom://B@127.0.0.1:1", {"BRS_STATE": str(tmp_path / "state")}
    )
    assert other.read(STUDY, "result.json") is None


def test_a_state_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    uri = "dicom://PACS@127.0.0.1:1"
    archive = open_archive(uri, {"BRS_STATE": str(tmp_path / "state")})
    with pytest.raises(ArchiveError):
        archive.prepare(None)


# --- a researcher's way ---


@dataclass
class Researcher:
    """Somebody who works on a PACS by the command line."""

    uri: str
    state: Path
    output: Path
    said: list[str]

    def run(self, command: str, *words: str) -> dict[str, Any]:
        where = ["--archive", self.uri, "--state", str(self.state)]
        if command != "review":
            where += ["--output", str(self.output / command)]
        done = CliRunner().invoke(cli, [command, *where, *words])
        self.said.append(done.output)
        assert done.exit_code == 0, (done.output, done.exception)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@pytest.mark.slow
def test_a_researcher_goes_round_the_loop_on_orthanc(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort", DemoOptions(4, slices=16, matrix_px=96))
    by_study = plant(cohort.archive.root)
    with orthanc(tmp_path / "orthanc") as server:
        server.upload(*(cohort.archive.root / name for name in by_study.values()))
        me = Researcher(server.uri, tmp_path / "state", tmp_path / "out", [])
        assert me.run("rank", "--checkpoint", "none")["ranked"] == 4
        *annotated, pool = by_study
        for uid_of_study in annotated:
            drawn = cohort.truth.read(by_study[uid_of_study], HUMAN_FILE)
            server.post("/instances", drawn or b"")
        tiny = (*("--epochs", "2", "--grid", "32"), *("--folds", "2", "--fold", "0"))
        trained = me.run("train", *tiny)
        assert (trained["cases"], trained["pushed"]) == (3, True)
        found = me.run("segment", "--session", pool, "--session", annotated[0])
        assert (found["segmented"], found["not_shown"]) == (2, 0)
        again = me.run("segment", "--session", pool)
        assert (again["unchanged"], again["segmented"]) == (1, 0)
        # What the network drew beside the three drawn by hand is not learnt from.
        assert me.run("train", *tiny)["cases"] == 3
        check_masks(server, me, pool)
        check_secrets(me)


def plant(root: Path) -> dict[str, str]:
    """Put a patient's data into every file; return session names by study UID."""
    names = {}
    for folder in sorted(p for p in root.iterdir() if p.name != "BRS"):
        for path in folder.rglob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.PatientName, dataset.PatientID = (
                SECRETS[0],
                SECRETS[1] + folder.name,
            )
            dataset.PatientBirthDate, dataset.AccessionNumber = SECRETS[2:]
            dataset.save_as(path)
        names[str(dataset.StudyInstanceUID)] = folder.name
    return names


def check_masks(server: Orthanc, me: Researcher, pool: str) -> None:
    """A held mask stays here; any other is in the PACS once, and can be approved."""
    kept = me.state / "ORTHANC" / pool / "BRS"
    result = json.loads((kept / "result.json").read_bytes())
    there = server.instances(StudyInstanceUID=pool, Modality="SEG")
    if result["verdict"] == "hold":
        assert there == []
        return
    (stored,) = [server.dataset(each) for each in there]
    assert stored.SOPInstanceUID == result["sop_instance_uid"]
    assert stored == pydicom.dcmread(kept / SEG_FILE)
    words = ("--decision", "accept", "--role", "radiologist")
    assert me.run("review", "--session", pool, *words)["state"] == "model-approved"
    assert me.run("evaluate")["cases"] >= 1


def check_secrets(me: Researcher) -> None:
    """Nothing that was printed or kept as text names a patient."""
    files = [p for p in me.state.rglob("*") if p.is_file() and p.suffix != ".dcm"]
    texts = [*me.said, *(p.read_bytes().decode("latin-1") for p in files)]
    assert not [word for word in SECRETS for text in texts if word in text]
