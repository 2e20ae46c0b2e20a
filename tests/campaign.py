"""A site that learns round by round: phantoms in a folder, and an annotator.

Seven sessions of six synthetic patients: one is annotated already, and the one that is
tested was examined twice. Each run of the loop has new folders, as a container has.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pydicom
import pytest
from torch import Tensor, nn
from torch.nn.functional import interpolate

from model.active_learning import Opening, RoundRecord
from model.checkpoint import read_checkpoint
from model.engine import Engine
from model.phantom import PhantomCase, draw_patient, make_case
from model.progress import TrainConfig
from plugin.demo import DemoOptions, draw_scanner
from plugin.exchange import HUMAN_FILE, store_human_mask
from plugin.folder_archive import FolderArchive
from plugin.loop import Finished, LoopOptions, Place, run_round
from plugin.masks import review_draft
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.pipeline import Segmenter
from plugin.reports.page import FILTERS
from plugin.rounds.waiting import Waiting
from plugin.rules import DceRules
from plugin.session import SECRET_FILE, open_session
from plugin.train import TrainOptions

SIZE = DemoOptions(cases=6, slices=10, matrix_px=64)
SESSIONS = tuple(f"P{number}" for number in range(1, SIZE.cases + 1))
KNOWN = "P1"
"""Annotated before the first round."""
TESTED, AGAIN = "P3", "P3b"
"""Of one patient, whom ``SECRET`` puts into the test set."""
SECRET = b"a key of this archive's patients"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CPU = Engine("cpu", "fp32")
CONFIG = TrainConfig(grid_px=32, epochs=4, folds=2, learning_rate=0.02)


class Stem(nn.Module):
    """The features that it sees; the network's own first layer is put in."""

    def forward(self, slices: Tensor) -> dict[str, Tensor]:
        return {"out": cast("nn.Module", self.conv1)(slices)}


class SmallFcn(nn.Module):
    """Stands for FCN-ResNet50: it learns to find bright tissue in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Stem()
        self.head = nn.Sequential(
            nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 1, 3, padding=1)
        )

    def forward(self, slices: Tensor) -> dict[str, Tensor]:
        logits = self.head(self.backbone(slices)["out"])
        return {"out": interpolate(logits, slices.shape[-2:], mode="bilinear")}


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds take seconds: a small network, and no pictures."""
    monkeypatch.setattr("model.network.fcn_resnet50", lambda **_: SmallFcn())
    monkeypatch.setattr("plugin.pipeline.preview_png", lambda *_, **__: b"picture")
    monkeypatch.setitem(FILTERS, "inline_svg", lambda *_: "drawing")


def segmenter(weights: Path) -> Segmenter:
    return Segmenter(read_checkpoint(weights), CPU)


OPTIONS = LoopOptions(
    train=TrainOptions(CPU, CONFIG, only_fold=0),
    segmenter=segmenter,
    start="none",
    ask=1,
    data="synthetic",
    now=lambda: NOW,
)


@dataclass
class Site:
    """An archive of phantoms, their true masks in an archive apart, and runs on it."""

    archive: FolderArchive
    truth: FolderArchive
    folders: Iterator[Path]

    @classmethod
    def at(cls, root: Path) -> "Site":
        """Return the site whose archives lie under ``root``."""
        for name in ("archive", "truth"):
            (root / name).mkdir(parents=True, exist_ok=True)
        folders = (root / f"machine-{number}" for number in range(99))
        truth = FolderArchive(root / "truth")
        return cls(FolderArchive(root / "archive"), truth, folders)

    def image(self) -> None:
        """Examine the patients, one of them twice, and keep the true masks apart."""
        rng = np.random.default_rng(0)
        site = draw_scanner(rng, SIZE)
        patients = dict(
            zip(SESSIONS, [draw_patient(rng) for _ in SESSIONS], strict=True)
        )
        for seed, name in enumerate((*SESSIONS, AGAIN)):
            patient = patients[TESTED if name == AGAIN else name]
            self._examine(make_case(patient, site, seed=seed), name)
        self.rename(AGAIN, TESTED, of=AGAIN)
        self.archive.write(None, SECRET_FILE, SECRET)
        self.draw([KNOWN])

    def _examine(self, case: PhantomCase, name: str) -> None:
        folder = self.archive.root / name
        style = VendorStyle.SEPARATE_SERIES
        write_session(case, folder, style=style, session_id=name, distractors=False)
        for series in sorted(folder.iterdir())[2:]:
            shutil.rmtree(series)
        session = open_session(name, folder, DceRules())
        union = (case.right | case.left).astype(np.uint8)
        mask = case.phases[0].with_array(union).match_geometry(session.pre)
        (self.truth.root / name).mkdir()
        store_human_mask(self.truth, session, mask)

    def rename(self, name: str, patient: str, *, of: str) -> None:
        """Give a session, imaged as ``of``, the PatientID of another patient."""
        for path in (self.archive.root / name).rglob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.PatientID = dataset.PatientID.replace(of, patient)
            dataset.save_as(path)

    def asked(self) -> tuple[str, ...]:
        """Return whom the first round asks for."""
        return Opening.from_json(self.files("rounds")["0001.open.json"]).asked

    def draw(self, sessions: Iterable[str]) -> None:
        """Annotate sessions as they truly are."""
        for name in sessions:
            drawn = self.truth.read(name, HUMAN_FILE)
            self.archive.write(name, HUMAN_FILE, drawn or b"")

    def accept(self, session: str) -> None:
        """Find a session's draft right."""
        review_draft(self.archive, session, accept=True, role="radiologist", now=NOW)

    def run(self, **changes: Any) -> Waiting | RoundRecord | Finished:
        """Run the loop once, on a machine of its own."""
        folder = next(self.folders)
        changed = replace(OPTIONS, **changes)
        return run_round(self.archive, Place(folder, folder / "work"), changed)

    def opened(self, **changes: Any) -> Waiting:
        """Run the loop; it must wait."""
        found = self.run(**changes)
        assert isinstance(found, Waiting), found
        return found

    def closed(self, **changes: Any) -> RoundRecord:
        """Run the loop; it must record a round."""
        found = self.run(**changes)
        assert isinstance(found, RoundRecord), found
        return found

    def files(self, folder: str) -> dict[str, bytes]:
        """Return the files of a folder of the project's resource."""
        return {
            path.name: path.read_bytes()
            for path in (self.archive.root / "BRS" / folder).iterdir()
        }
