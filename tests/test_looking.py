"""Strategies that ask a network: who is asked, and what it says of a session."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sessions import archive_with, opened
from torch import Tensor, nn

from model.checkpoint import Checkpoint, Manifest, write_checkpoint
from model.engine import Engine
from plugin.cli import cli
from plugin.engines import Choice
from plugin.errors import ConfigError
from plugin.folder_archive import FolderArchive
from plugin.looking import Looker, ensemble_of

CPU = Engine("cpu", "fp32")
MANIFEST = Manifest("test", 32, 0, 0, (), {}, {}, {})


class Echo(nn.Module):
    """A network that calls bright what is bright, on the left side of the image."""

    def __init__(self, *, sided: bool) -> None:
        super().__init__()
        self.sided = sided

    def forward(self, slices: Tensor) -> Tensor:
        logits = slices[:, :1] * 4
        if self.sided:
            logits[..., logits.shape[-1] // 2 :] = -9.0
        return logits


def member(*, sided: bool, temperature: float | None = None, sha: str = "a") -> Choice:
    metrics = {} if temperature is None else {"temperature": temperature}
    manifest = replace(MANIFEST, weights_sha256=sha, metrics=metrics)
    return Choice(Checkpoint(Echo(sided=sided), manifest), CPU, None)  # type: ignore[arg-type]


def test_a_network_that_contradicts_its_mirror_image_is_unsure(tmp_path: Path) -> None:
    session = opened(archive_with(tmp_path, "S1"), "S1")
    sure = Looker((member(sided=False),)).evidence(session)
    unsure = Looker((member(sided=True),)).evidence(session)
    assert sure.disagreement == pytest.approx(0.0)
    assert unsure.disagreement == pytest.approx(1.0)
    assert (sure.members, sure.checkpoints) == (2, ("a",))


def test_an_ensemble_s_entropy_needs_the_calibration_of_all(tmp_path: Path) -> None:
    session = opened(archive_with(tmp_path, "S1"), "S1")
    known = member(sided=False, temperature=1.0)
    whole = Looker((known, replace(known))).evidence(session)
    part = Looker((known, member(sided=False))).evidence(session)
    assert whole.entropy is not None
    assert part.entropy is None
    assert (whole.members, part.members) == (4, 4)


def test_other_weights_or_engines_are_other_lookers() -> None:
    plain = Looker((member(sided=False),))
    others = [
        Looker((member(sided=False, sha="b"),)),
        Looker((replace(member(sided=False), engine=Engine("cpu", "bf16")),)),
        Looker((member(sided=False), member(sided=False))),
    ]
    assert len({looker.key for looker in (plain, *others)}) == 4


def kept(
    archive: FolderArchive, name: str, seed: int, cases: str = "", **config: int
) -> Path:
    """Put a small fold into the project, and return it as a file."""
    path = archive.root.parent / f"{name}.safetensors"
    network = nn.Conv2d(2, 1, 1)
    nn.init.constant_(network.weight, seed)
    manifest = replace(MANIFEST, cases_sha256=cases, config=config)
    write_checkpoint(network, manifest, path)
    for part in (path, path.with_suffix(".json")):
        archive.write(None, part.name, part.read_bytes())
    return path


def test_a_checkpoint_that_is_a_fold_is_asked_with_the_folds_of_its_training(
    tmp_path: Path,
) -> None:
    archive = archive_with(tmp_path / "archive", "S1")
    folds = [kept(archive, f"fold-{n}", seed=n, epochs=3) for n in (0, 1)]
    kept(archive, "fold-2", seed=2, epochs=9)
    found = ensemble_of(folds[1], archive, tmp_path / "work")
    assert [path.name for path in found] == ["fold-0.safetensors", "fold-1.safetensors"]
    assert [path.read_bytes() for path in found] == [f.read_bytes() for f in folds]


def test_folds_of_fewer_cases_are_not_asked_with_a_fold_of_more(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "S1")
    anew = kept(archive, "fold-0", seed=0, cases="after")
    kept(archive, "fold-1", seed=1, cases="before")
    kept(archive, "fold-2", seed=2, cases="after")
    found = ensemble_of(anew, archive, tmp_path / "work")
    assert [path.name for path in found] == ["fold-0.safetensors", "fold-2.safetensors"]


def test_any_other_checkpoint_is_asked_alone(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "archive", "S1")
    other = kept(archive, "mine", seed=5)
    assert ensemble_of(other, archive, tmp_path / "work") == (other,)
    kept(archive, "fold-0", seed=0)
    assert ensemble_of(other, archive, tmp_path / "work") == (other,)


def test_without_a_network_nobody_can_be_asked(tmp_path: Path) -> None:
    archive_with(tmp_path / "archive", "S1")
    options = {"archive": "archive", "output": "out", "cache": "cache"}
    arguments = [f"--{name}={tmp_path / folder}" for name, folder in options.items()]
    asks = ["--strategy=uncertainty", "--checkpoint=none"]
    run = CliRunner().invoke(cli, ["rank", *arguments, *asks])
    assert isinstance(run.exception, ConfigError)
    assert "give another --checkpoint" in str(run.exception)
