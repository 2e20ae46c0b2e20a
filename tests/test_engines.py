"""An engine is used with weights only where it finds the masks of fp32 PyTorch."""

import os
from dataclasses import replace
from pathlib import Path
from platform import machine

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sessions import untrained_checkpoint
from torch import nn

from model.checkpoint import read_weights, write_checkpoint
from model.engine import Engine, may_have_gpu
from model.errors import CheckpointError, DeviceError
from model.fidelity import NEEDED_DICE, Fidelity, compare, held_out_slices
from model.inference import predict
from model.network import new_network
from model.openvino_graph import build_graph
from model.openvino_runner import OpenVinoRunner, has_bf16
from plugin import engines
from plugin.cache import cache_folder
from plugin.commands import training
from plugin.engines import Choice, Wish, candidates, open_checkpoint
from plugin.folder_archive import FolderArchive, lost
from plugin.proofs import Proofs, Subject
from plugin.rounding import cpu_type

FP32 = Engine("cpu", "fp32")
OPENVINO = Engine("cpu", "fp32", "openvino")
SUBJECT = Subject("abc", "openvino-cpu-bf16", "openvino 1", "x86_64 FP32")
NO_GPU = pytest.mark.skipif(may_have_gpu(), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "c.safetensors"
    checkpoint = untrained_checkpoint()
    nn.init.constant_(checkpoint.network.fcn.classifier[-1].bias, 0.0)
    write_checkpoint(checkpoint.network, checkpoint.manifest, path)
    return path


@pytest.fixture(scope="module")
def openvino(path: Path) -> OpenVinoRunner:
    return OpenVinoRunner(read_weights(path)[0], OPENVINO)


class Constant:
    """A runner that says the same of every pixel but adds a gradient."""

    batch = 1

    def __init__(self, offset: float, *, slope: float = 1.0) -> None:
        self.offset, self.slope = offset, slope

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.linspace(-1, 1, inputs.shape[2], dtype=np.float32)
        plane = self.offset + self.slope * rows[None, :, None]
        return np.broadcast_to(plane, (len(inputs), *inputs.shape[2:])).astype(
            np.float32
        )


@pytest.mark.parametrize("shape", [(32, 32), (50, 70)])
def test_openvino_says_what_pytorch_says(
    path: Path, openvino: OpenVinoRunner, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    voxels = rng.uniform(0, 1.5, (2, 2, *shape)).astype(np.float32)
    network = untrained_checkpoint().network
    nn.init.constant_(network.fcn.classifier[-1].bias, 0.0)
    expected = predict(voxels, network, FP32)
    assert predict(voxels, openvino, OPENVINO) == pytest.approx(expected, abs=1e-4)
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("asked", ["1", "1,4"])
def test_openvino_computes_with_as_many_threads_as_it_is_left(
    path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    weights, _ = read_weights(path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    free = OpenVinoRunner(weights, OPENVINO).threads
    assert free == 1 if os.cpu_count() == 1 else free > 1
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert OpenVinoRunner(weights, OPENVINO).threads == 1


def test_weights_of_another_network_are_no_graph() -> None:
    weights = {k: v.numpy() for k, v in new_network(seed=0).state_dict().items()}
    stem = "fcn.backbone.conv1.weight"
    for wrong in ({}, {**weights, stem: weights[stem][:, :1]}):
        with pytest.raises(CheckpointError, match="found other tensors"):
            build_graph(wrong)


@pytest.mark.skipif(has_bf16(), reason="this CPU computes in bf16")
def test_bf16_is_refused_where_the_cpu_has_none(path: Path) -> None:
    with pytest.raises(DeviceError, match="does not compute in bf16"):
        OpenVinoRunner(read_weights(path)[0], Engine("cpu", "bf16", "openvino"))


def test_fidelity_compares_masks_and_probabilities() -> None:
    # 4 rows at -1, -1/3, 1/3, 1: rows 2 and 3 are breast; shifted by -1/2 row 3 is
    voxels = np.zeros((3, 2, 4, 5), np.float32)
    found = compare(Constant(-0.5), Constant(0.0), voxels)
    assert found.dice == pytest.approx(2 * 1 / (2 + 1))
    # the third row falls from 1/3 to 1/3 - 1/2
    assert found.worst_difference == pytest.approx(expit(1 / 3) - expit(-1 / 6))
    assert found.slices == 3
    assert not found.is_enough
    assert compare(Constant(0.0), Constant(0.0), voxels).is_enough


def test_two_empty_masks_prove_nothing() -> None:
    # no pixel reaches 0.5; the engine finds the gradient upside down
    voxels = np.zeros((1, 2, 200, 5), np.float32)
    reference, upside_down = Constant(-9.0), Constant(-9.0, slope=-1.0)
    assert compare(upside_down, reference, voxels).dice == 0.0
    assert compare(reference, reference, voxels).dice == 1.0


def test_the_question_is_about_a_breast_and_always_the_same() -> None:
    voxels = held_out_slices(64)
    assert voxels.shape == (8, 2, 64, 64)
    assert np.array_equal(voxels, held_out_slices(64))
    bright = (voxels[:, 0] > 0.1).mean(axis=(1, 2))
    assert (bright > 0.2).all()


def test_the_chosen_engine_is_faithful_and_proven_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish, proofs = Wish("openvino", "cpu", "fp32"), Proofs(tmp_path)
    choice = open_checkpoint(path, wish, proofs)
    assert choice.engine == OPENVINO
    assert choice.fidelity is not None
    assert choice.fidelity.dice >= NEEDED_DICE
    monkeypatch.setattr(engines, "compare", None)  # a second measurement would fail
    assert open_checkpoint(path, wish, proofs).fidelity == choice.fidelity
    assert len(list(tmp_path.rglob("*.json"))) == 1


def test_an_engine_is_told_with_why_it_is_trusted() -> None:
    weights = untrained_checkpoint()
    proven = Choice(weights, OPENVINO, Fidelity(0.99876, 0.01, 8))
    assert proven.told == "openvino-cpu-fp32 (Dice 0.9988 with torch fp32)"
    assert Choice(weights, FP32, None).told == "torch-cpu-fp32 (the reference)"


def unfaithful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every measurement find another mask."""
    found = Fidelity(0.9, 0.5, 8)
    monkeypatch.setattr(engines, "compare", lambda *_: found)


def test_auto_goes_back_to_pytorch_when_an_engine_is_not_faithful(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfaithful(monkeypatch)
    choice = open_checkpoint(path, Wish(device="cpu"), Proofs(tmp_path))
    assert (choice.engine, choice.fidelity) == (FP32, None)


def test_an_engine_that_was_asked_for_is_not_replaced_silently(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfaithful(monkeypatch)
    with pytest.raises(CheckpointError, match=r"Dice 0\.9000 with openvino-cpu-fp32"):
        open_checkpoint(path, Wish("openvino", precision="fp32"), Proofs(tmp_path))


@NO_GPU
@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish("torch", "cpu", "fp32"), [FP32]),
        (Wish("auto", "cpu", "fp32"), [OPENVINO, FP32]),
        (Wish("auto", "auto", "fp32"), [OPENVINO, FP32]),
        (Wish("openvino", "auto", "fp32"), [OPENVINO]),
    ],
)
def test_a_wish_is_fulfilled_by_the_fastest_first(
    wish: Wish, expected: list[Engine]
) -> None:
    assert list(candidates(wish)) == expected


def test_auto_prefers_bf16_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model.openvino_runner.has_bf16", lambda: True)
    first = [str(engine) for engine in candidates(Wish(device="cpu"))][:2]
    assert first == ["openvino-cpu-bf16", "openvino-cpu-fp32"]


def test_openvino_on_a_gpu_is_refused() -> None:
    with pytest.raises(DeviceError, match="found the engine openvino"):
        next(candidates(Wish("openvino", "cuda:1")))


@NO_GPU
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match="no GPU"):
        next(candidates(Wish("auto", "cuda")))


@pytest.mark.parametrize("node", ["nvidia0", "dxg", "kfd"])
def test_a_gpu_shows_as_a_device(tmp_path: Path, node: str) -> None:
    assert not may_have_gpu(tmp_path)
    (tmp_path / node).touch()
    assert may_have_gpu(tmp_path)


def test_a_proof_is_found_again_only_for_the_same_subject(tmp_path: Path) -> None:
    proofs, found = Proofs(tmp_path), Fidelity(0.999, 0.01, 8)
    assert proofs.find(SUBJECT) is None
    proofs.keep(SUBJECT, found)
    assert proofs.find(SUBJECT) == found
    for name in ("weights_sha256", "engine", "runtime", "processor", "question"):
        assert proofs.find(replace(SUBJECT, **{name: "another"})) is None


def test_a_damaged_proof_is_no_proof(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    proofs.keep(SUBJECT, Fidelity(1.0, 0.0, 8))
    (file,) = tmp_path.rglob("*.json")
    whole = file.read_text()
    for damaged in (whole[:-9], whole.replace("1.0", '"all"'), "[]"):
        file.write_text(damaged)
        assert proofs.find(SUBJECT) is None


def test_what_one_machine_proved_another_of_its_kind_finds_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    project, found = FolderArchive(tmp_path / "project"), Fidelity(0.999, 0.01, 8)
    Proofs(tmp_path / "one", project).keep(SUBJECT, found)
    other = Proofs(tmp_path / "empty", project)
    assert other.find(SUBJECT) == found
    for changed in ({"processor": "x86_64 another"}, {"weights_sha256": "abd"}):
        theirs = replace(SUBJECT, **changed)
        assert other.find(theirs) is None
        # Not even where its file lies in the place of another.
        monkeypatch.setattr(Subject, "place", SUBJECT.place)
        assert other.find(theirs) is None
        monkeypatch.undo()


class Refusing(FolderArchive):
    """An archive in whose project the user may neither read nor write."""

    def read(self, session_id: str | None, name: str) -> bytes | None:
        raise lost(session_id, name, "a refusal to read")

    def write(self, session_id: str | None, name: str, data: bytes) -> None:
        raise lost(session_id, name, "a refusal to write")


def test_a_project_that_takes_no_files_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proofs, found = Proofs(tmp_path / "cache", Refusing(tmp_path)), Fidelity(1, 0, 8)
    assert proofs.find(SUBJECT) is None
    assert "cannot be read: engines/openvino-cpu-bf16" in caplog.text
    proofs.keep(SUBJECT, found)
    assert "not kept in the project: engines/openvino-cpu-bf16" in caplog.text
    assert proofs.find(SUBJECT) == found


def test_a_check_that_fails_does_not_undo_the_training_before_it(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(training, "open_checkpoint", None)  # a call fails
    settings = {"work": tmp_path, "device": "cpu"}
    training._prove(FolderArchive(tmp_path), path, settings)
    assert "checked at the next start" in caplog.text


def test_a_cpu_is_told_from_another_by_its_vector_instructions(tmp_path: Path) -> None:
    facts = tmp_path / "cpuinfo"
    text = "processor : 0\nmodel name : CPU one\nflags : fpu fma avx2 amx_bf16\n"
    facts.write_text(text + text.replace("0", "1"))
    assert cpu_type(facts) == f"{machine()} CPU one amx_bf16 avx2 fma"
    facts.write_text(text.replace(" amx_bf16", ""))
    assert cpu_type(facts) == f"{machine()} CPU one avx2 fma"
    assert cpu_type(tmp_path / "none").startswith(machine())


def test_a_cache_that_takes_no_files_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "engines").write_text("a file where a folder should be")
    Proofs(tmp_path).keep(SUBJECT, Fidelity(1.0, 0.0, 8))
    assert "not kept" in caplog.text
    assert Proofs(tmp_path).find(SUBJECT) is None


def test_the_cache_follows_the_users_own() -> None:
    assert cache_folder({"HOME": "/home/x"}) == Path("/home/x/.cache/brs")
    given = {"HOME": "/home/x", "XDG_CACHE_HOME": "/tmp/cache"}
    assert cache_folder(given) == Path("/tmp/cache/brs")
    assert cache_folder({"XDG_CACHE_HOME": ""}) == Path("/.cache/brs")
