"""What a trained fold does on the cases held out of it: scores, and its calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from model.calibration import Calibration, calibrated, thinned
from model.dataset import CaseStore
from model.engine import Engine
from model.evaluate import CaseScore, SliceScore, score_case
from model.inference import as_runner, predict_logits


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of the held-out cases, and the temperature fitted on them."""

    slices: tuple[SliceScore, ...]
    cases: tuple[CaseScore, ...]
    calibration: Calibration


def score_stored(
    store: CaseStore, case_id: str, mask: NDArray[np.bool_]
) -> tuple[tuple[SliceScore, ...], CaseScore]:
    """Return the scores of a mask of a stored case, on the network's grid."""
    info = store.info(case_id)
    spacing_mm = (info.slice_mm, info.mm_per_px, info.mm_per_px)
    return score_case(case_id, mask, store.mask(case_id), spacing_mm=spacing_mm)


def held_out(
    network: nn.Module, case_ids: Sequence[str], store: CaseStore, engine: Engine
) -> HeldOut:
    """Return what ``network`` does on stored cases that it was not trained on."""
    infos = [store.info(case_id) for case_id in case_ids]
    pixels = sum(info.slices * info.grid_px**2 for info in infos)
    slices: list[SliceScore] = []
    cases: list[CaseScore] = []
    seen: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
    runner = as_runner(network, engine, infos[0].grid_px)
    for case_id in case_ids:
        logits = predict_logits(store.stack(case_id), runner, engine)
        of_slices, of_case = score_stored(store, case_id, logits >= 0)
        slices += of_slices
        cases.append(of_case)
        truth = store.mask(case_id)
        seen.append((thinned(logits, pixels=pixels), thinned(truth, pixels=pixels)))
    values, labels = zip(*seen, strict=True)
    calibration = calibrated(np.concatenate(values), np.concatenate(labels))
    return HeldOut(tuple(slices), tuple(cases), calibration)
