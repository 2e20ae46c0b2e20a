"""Small stored cases for tests: a bright ellipse to find, noise around it."""

from pathlib import Path

import numpy as np

from model.dataset import CaseInfo, CaseStore

GRID_PX = 32


def case_info(case_id: str, *, patient: str = "", slices: int = 4) -> CaseInfo:
    return CaseInfo(
        case_id=case_id,
        patient_key=patient or case_id,
        source_key=f"source-{case_id}",
        mask_uid=f"1.2.{case_id}",
        mask_state="human",
        slices=slices,
        grid_px=GRID_PX,
        mm_per_px=2.0,
        slice_mm=3.0,
    )


def filled_store(root: Path, case_ids: tuple[str, ...]) -> CaseStore:
    store = CaseStore(root)
    for number, case_id in enumerate(case_ids):
        info = case_info(case_id)
        rng = np.random.default_rng(number)
        rows, columns = np.mgrid[:GRID_PX, :GRID_PX]
        centre = rng.uniform(12, 20, 2)
        inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 64
        mask = np.repeat(inside[None], info.slices, axis=0)
        noise = rng.normal(0, 0.05, (info.slices, 2, GRID_PX, GRID_PX))
        store.put(info, mask[:, None] * 0.8 + noise, mask)
    return store
