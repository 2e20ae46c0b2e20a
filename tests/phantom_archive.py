"""An archive of phantoms for studies, and the tables that a study leaves."""

import csv
from pathlib import Path

import numpy as np

from model.phantom import draw_patient, draw_site, make_case
from plugin.exchange import store_human_mask
from plugin.folder_archive import FolderArchive
from plugin.nifti import write_nifti
from plugin.rules import DceRules
from plugin.session import open_session


def imaged(
    made: FolderArchive, cases: int, annotated: int, *, slices: int, matrix_px: int
) -> FolderArchive:
    """Add phantoms as NIfTI sessions, so many annotated with their true masks."""
    rng = np.random.default_rng(0)
    for number in range(cases):
        site = draw_site(rng, slices=slices, matrix_px=matrix_px)
        case = make_case(draw_patient(rng), site, seed=number)
        folder = made.root / f"P{number:02d}"
        folder.mkdir()
        for name, phase in zip(("pre", "post"), case.phases, strict=False):
            write_nifti(phase, folder / f"{name}.nii.gz")
        if number < annotated:
            session = open_session(folder.name, folder, DceRules())
            mask = (case.right | case.left).astype(np.uint8)
            truth = case.phases[0].with_array(mask).match_geometry(session.pre)
            store_human_mask(made, session, truth)
    return made


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
