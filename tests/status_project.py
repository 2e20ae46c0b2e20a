"""An archive's project as ranking, segmentation and training leave it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from report_inputs import history, pool, used
from status_inputs import preview, result, study_uid

from model.progress import history_csv
from plugin.folder_archive import FolderArchive
from plugin.provenance import MaskRecord, MaskState

RANKING = pool([f"BREAST_{number:03d}" for number in range(1, 31)])[0]
NAMES = tuple(pick.case_id for pick in RANKING.picks)
"""Thirty sessions of thirty patients, in the order in which to annotate them."""
RISING_DICE = ((0.6, 0.4, 0.3, 0.2), (0.5, 0.3, 0.2, 0.15), (0.7, 0.4, 0.25, 0.18))
"""Validation losses of three folds; the best is the second, at Dice 1 - 0.15."""


def ranked(root: Path) -> FolderArchive:
    """Return an archive of empty sessions and their ranking."""
    for name in NAMES:
        (root / name).mkdir(parents=True)
    archive = FolderArchive(root)
    archive.write(None, "ranking.json", RANKING.to_json().encode())
    return archive


def draft(
    archive: FolderArchive,
    name: str,
    state: MaskState = MaskState.MODEL_DRAFT,
    *,
    picture: bytes | None = None,
) -> str:
    """Store a session's mask record with its preview; return the mask's UID."""
    uid = study_uid(name)
    record = MaskRecord(state, uid, study_uid(f"{name} pre"), verdict="review")
    found = result("review", reasons=["Dice 0.87 with the mirrored images' mask"])
    archive.write(name, "mask.json", record.to_json())
    archive.write(name, "result.json", json.dumps(found).encode())
    archive.write(name, "preview.png", picture or preview())
    return uid


def trained(
    archive: FolderArchive, losses: Sequence[Sequence[float]] = RISING_DICE
) -> None:
    """Store finished folds of a training of five, 0.1 kWh each."""
    for at, curve in enumerate(losses):
        manifest = {
            "config": {"folds": 5},
            "footprint": asdict(used(3.6e5)),
            "engine": "torch-cuda-bf16",
        }
        archive.write(None, f"fold-{at}.history.csv", history_csv(history(curve)))
        archive.write(None, f"fold-{at}.json", json.dumps(manifest).encode())
