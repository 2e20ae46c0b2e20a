"""Small studies: stored cases with BAG features, and a lab whose cells take moments."""

from pathlib import Path

import numpy as np
from bag_pools import candidate
from cases import GRID_PX, case_info, filled_store, small_network

from model.cell import Lab
from model.cell_store import CellStore
from model.dataset import CaseStore
from model.engine import Engine
from model.experiment import Design, Pool, pool_of
from model.progress import TrainConfig
from model.ranking import Candidate

CONFIG = TrainConfig(
    grid_px=GRID_PX, epochs=2, batch=8, folds=2, learning_rate=0.02, deterministic=True
)


def names(count: int) -> tuple[str, ...]:
    return tuple(f"s{at:02d}" for at in range(count))


def candidates(count: int) -> list[Candidate]:
    rng = np.random.default_rng(0)
    return [
        candidate(name, float(rng.uniform(5, 90)), float(rng.uniform(60, 160)))
        for name in names(count)
    ]


def filled(root: Path, count: int) -> CaseStore:
    return filled_store(root / "cases", names(count))


def lab_at(root: Path, store: CaseStore) -> Lab:
    cells = CellStore(root / "cells")
    return Lab(store, cells, Engine("cpu", "fp32"), network=small_network)


def pool(design: Design, count: int) -> Pool:
    infos = {name: case_info(name) for name in names(count)}
    return pool_of(candidates(count), infos, design)
