"""Small stored cases for tests: a bright ellipse to find, noise around it."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

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


class SmallNetwork(nn.Sequential):
    """A network of the same signature whose epochs take milliseconds."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(2, 8, 5, padding=2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(8, 1, 5, padding=2),
        )

    def encode(self, slices: Tensor) -> Tensor:
        """Map slices (N, 2, H, W) to mean features (N, 8)."""
        shown: Tensor = self[2](self[1](self[0](slices)))
        return shown.mean(dim=(2, 3))


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return SmallNetwork()
