"""A worker has its engine proven by a process that ends, and without it proves it."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from arrivals import service_config
from sessions import untrained_checkpoint

from model.checkpoint import read_manifest, write_checkpoint
from model.engine import Engine
from model.errors import CheckpointError
from model.fidelity import Fidelity
from plugin.engines import Wish, is_settled, subject_of
from plugin.proofs import Proofs
from plugin.service.config import ServiceConfig
from plugin.service.proving import prove_apart
from plugin.worker import CACHE, prepare

OPENVINO = Engine("cpu", "fp32", "openvino")
WISH = Wish("openvino", "cpu", "fp32")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "c.safetensors"
    checkpoint = untrained_checkpoint()
    write_checkpoint(checkpoint.network, checkpoint.manifest, path)
    return path


def config(work: Path, path: Path) -> ServiceConfig:
    asked = {"engine": WISH.engine, "device": WISH.device, "precision": WISH.precision}
    return service_config(work, checkpoint=str(path), **asked)


def know(path: Path, proofs: Proofs, dice: float) -> None:
    proofs.keep(subject_of(read_manifest(path), OPENVINO), Fidelity(dice, 0.0, 8))


def test_what_is_known_need_not_be_measured(path: Path, tmp_path: Path) -> None:
    proofs, any_engine = Proofs(tmp_path), Wish(device="cpu", precision="fp32")
    assert is_settled(path, Wish("torch", "cpu", "fp32"), proofs), "the reference"
    assert not is_settled(path, any_engine, proofs)
    know(path, proofs, 0.9)
    assert is_settled(path, WISH, proofs), "it is refused"
    assert is_settled(path, any_engine, proofs), "the reference stands in"
    know(path, proofs, 1.0)
    assert is_settled(path, WISH, proofs)


def test_workers_that_start_at_once_have_their_engine_proven_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs, started = Proofs(tmp_path), []

    def proven(words: list[str], **_more: Any) -> Any:
        started.append(words)
        time.sleep(0.3)
        know(path, proofs, 1.0)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", proven)
    with ThreadPoolExecutor(3) as workers:
        list(workers.map(lambda _: prove_apart(path, WISH, proofs), range(3)))
    assert len(started) == 1


@pytest.mark.slow
def test_the_variables_of_the_service_are_no_options_of_that_process(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRS_ARCHIVE", str(tmp_path / "missing"))
    prove_apart(path, WISH, Proofs(tmp_path))
    assert is_settled(path, WISH, Proofs(tmp_path))


def test_what_fails_in_that_process_is_told_by_the_worker(
    path: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "c.safetensors"
    damaged.write_bytes(path.read_bytes()[:-1])
    damaged.with_suffix(".json").write_bytes(path.with_suffix(".json").read_bytes())
    with pytest.raises(CheckpointError, match=r"c\.safetensors"):
        prepare(config(tmp_path / "work", damaged))


def test_a_worker_whose_proof_cannot_be_kept_proves_its_engine_itself(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / CACHE).write_text("a file where a folder should be")
    monkeypatch.setattr(subprocess, "run", None)  # a process would be in vain
    (segmenter,) = prepare(config(tmp_path, path)).segmenters
    assert segmenter.engine == OPENVINO
