"""Small but real inputs of figures and reports: measured masks, scores, footprints."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bag import BagFeatures, measure, overlay_map
from model.carbon import Footprint, footprint
from model.evaluate import CaseScore, Origin, SliceScore, score_case, summarise
from model.preprocess import Placement
from model.preview import preview_png
from model.progress import EpochRecord
from model.ranking import Candidate, Ranking
from model.selection import rank
from plugin.report import DemoFindings
from plugin.reports.evaluation import Evaluated
from plugin.reports.training import TrainedFold

GRID_PX, SLICES, MM_PER_PX = 64, 12, 5.0
DEVICE = "NVIDIA H200"


def placement(*, top_px: int = 0) -> Placement:
    return Placement(
        grid_px=GRID_PX,
        mm_per_px=MM_PER_PX,
        slice_mm=4.0,
        top_px=top_px,
        left_px=0,
        rows_px=GRID_PX - 2 * top_px,
        columns_px=GRID_PX,
    )


def box_mask(first_row: int, rows: int) -> NDArray[np.bool_]:
    """Two boxes, columns 10-19 and 40-49, in all but the first and last slice."""
    mask = np.zeros((SLICES, GRID_PX, GRID_PX), bool)
    for column in (10, 40):
        mask[1:-1, first_row : first_row + rows, column : column + 10] = True
    return mask


def measured(
    first_row: int = 6, rows: int = 20, *, top_px: int = 0, confidence: float = 0.9
) -> tuple[BagFeatures, NDArray[np.int32]]:
    mask = box_mask(first_row, rows)
    features = measure(
        mask, placement(top_px=top_px), source="boundary", confidence=confidence
    )
    return features, overlay_map(mask)


def pool(
    names: Sequence[str], *, patients: int | None = None
) -> tuple[Ranking, dict[str, NDArray[np.int32]]]:
    """Rank sessions of rising nearest point, one patient each unless ``patients``."""
    candidates, overlays = [], {}
    for at, name in enumerate(names):
        features, overlays[name] = measured(1 + at % 30, 15 + at % 7)
        key = f"{at % (patients or len(names)):016x}"
        candidates.append(Candidate(name, key, features))
    return rank(candidates, strategy="nearest-point", seed=0), overlays


def history(losses: Sequence[float]) -> list[EpochRecord]:
    return [
        EpochRecord(epoch, loss - 0.02, loss, 1e-3, 10.0, None)
        for epoch, loss in enumerate(losses)
    ]


def used(energy_j: float | None, *, duration_s: float = 600.0) -> Footprint:
    known = energy_j is not None
    return footprint(
        energy_j,
        duration_s=duration_s,
        method="nvml-counter" if known else "unknown",
        coverage=1.0 if known else 0.0,
        devices=[DEVICE] if known else [],
    )


def fold(name: str = "0", *, energy_j: float | None = 3.6e5) -> TrainedFold:
    power = {DEVICE: [(float(t), 600.0) for t in range(600)]} if energy_j else {}
    return TrainedFold(name, history([0.5, 0.2, 0.1, 0.15]), used(energy_j), power)


def scored(
    names: Sequence[str], *, rows: int = 18
) -> tuple[list[SliceScore], list[CaseScore]]:
    """Score a mask of ``rows`` rows against one of 20: Dice = 2 rows / (rows + 20)."""
    slices: list[SliceScore] = []
    cases = []
    for name in names:
        of_slices, of_case = score_case(
            name, box_mask(6, rows), box_mask(6, 20), spacing_mm=(4.0, 5.0, 5.0)
        )
        slices += of_slices
        cases.append(of_case)
    return slices, cases


def evaluated(names: Sequence[str]) -> Evaluated:
    slices, cases = scored(names)
    origin = Origin("synthetic, one site", "torch-cpu", "fp32")
    return Evaluated(slices, cases, summarise(slices, cases, origin=origin))


def preview(name: str) -> bytes:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 100, (SLICES, GRID_PX, GRID_PX)).astype(np.float32)
    mask = box_mask(6, 20)
    right, left = mask.copy(), mask.copy()
    right[..., 30:], left[..., :30] = False, False
    return preview_png(image, right, left, title=name)


def findings(names: Sequence[str], *, annotated: int) -> DemoFindings:
    ranking, overlays = pool(names)
    unseen = [pick.case_id for pick in ranking.picks[annotated:]]
    return DemoFindings(
        ranking=ranking,
        overlays=overlays,
        annotated=annotated,
        folds=[fold(energy_j=None)],
        evaluated=evaluated(unseen),
        result={"cases": len(names), "energy_kwh": "unknown", "test_dice_mean": 0.947},
        previews={name: preview(name) for name in unseen},
        verdicts=dict.fromkeys(unseen, "review: left side empty"),
        failures={"broken": "no usable pair"},
    )


def training_files(folder: Path) -> tuple[Path, Path]:
    """Write ``history.csv`` and ``power.csv`` as a training does."""
    epochs, power = folder / "history.csv", folder / "power.csv"
    epochs.write_text(
        "epoch,train_loss,validation_loss,learning_rate,duration_s,emitted_g\n"
        "0,0.5,0.6,0.001,12.5,unknown\n"
        "1,0.3,0.4,0.001,12.0,1.25\n"
    )
    power.write_text(
        f"t_s,device,power_w\n0.000,{DEVICE},300\n1.000,{DEVICE},unknown\n"
    )
    return epochs, power
