"""From predicted and reference masks to scores per slice and per case, and tables."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.atomic import write_atomically
from model.errors import GeometryError
from model.metrics import Surface, check_masks, overlap, surface_distance

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SliceScore:
    """Agreement on one slice, and a row of ``slices.csv``.

    Distances are ``None``, an empty cell, where both masks are empty.
    """

    case_id: str
    slice_index: int
    """From 0 in the order of the arrays; towards the head in canonical order."""
    dice: float
    iou: float
    precision: float
    recall: float
    hausdorff_px: float | None
    hausdorff_mm: float | None
    hd95_px: float | None
    hd95_mm: float | None
    reference_px: int
    predicted_px: int
    both_empty: bool


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Agreement on one case as a volume, and a row of ``cases.csv``.

    Distances are mm only, between 3-D surfaces: a voxel is no unit of length where
    slices are thicker than pixels. ``None``, an empty cell, where both are empty.
    """

    case_id: str
    slices: int
    dice: float
    iou: float
    precision: float
    recall: float
    hausdorff_mm: float | None
    hd95_mm: float | None
    reference_ml: float
    predicted_ml: float
    both_empty: bool


@dataclass(frozen=True, slots=True)
class Distribution:
    """Mean and spread of the values that exist; ``sd`` is the sample's, 0 for one."""

    count: int
    mean: float
    sd: float
    median: float
    q1: float
    q3: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Distribution of every score over a set of slices or cases, ``None`` if empty."""

    dice: Distribution | None
    iou: Distribution | None
    precision: Distribution | None
    recall: Distribution | None
    hausdorff_px: Distribution | None
    """``None`` for cases."""
    hausdorff_mm: Distribution | None
    hd95_px: Distribution | None
    hd95_mm: Distribution | None


@dataclass(frozen=True, slots=True)
class SliceCounts:
    """How many slices are of which kind."""

    slices: int
    reference_positive: int
    """Slices with breast in the reference."""
    both_empty: int
    """Slices with breast in neither: Dice and IoU are 1 there."""
    missed: int
    """Reference-positive slices where nothing was predicted: Dice 0, precision 1."""
    invented: int
    """Slices without breast where some was predicted: Dice 0, recall 1."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the masks come from: no score means anything without it."""

    data: str = "unknown"
    """``real``, or the phantom family."""
    engine: str = "unknown"
    precision: str = "unknown"


@dataclass(frozen=True, slots=True)
class Summary:
    """An evaluation in numbers; the headline is ``slices.dice.mean``."""

    origin: Origin
    counts: SliceCounts
    slices: Scores
    """Over reference-positive slices."""
    all_slices: Scores
    """Over all slices, the both-empty ones counted with Dice and IoU 1."""
    cases: Scores
    """Over cases, each as one volume."""


def score_case(
    case_id: str,
    predicted: Mask,
    reference: Mask,
    *,
    spacing_mm: tuple[float, float, float],
) -> tuple[tuple[SliceScore, ...], CaseScore]:
    """Return the scores of each slice and of the case as a volume.

    Masks and spacing are (slices, rows, columns).

    Raises
    ------
    GeometryError
        If the masks differ in shape, are not boolean, or are not volumes.
    """
    check_masks(predicted, reference, subject=f"masks of case {case_id}")
    if predicted.ndim != 3:
        raise GeometryError(
            f"masks of case {case_id}",
            found=f"arrays of {predicted.ndim} axes",
            needed="volumes of slices, rows and columns",
            mend="give a single slice a first axis of length 1",
        )
    slices = tuple(
        _score_slice(case_id, index, pair, spacing_mm[1:])
        for index, pair in enumerate(zip(predicted, reference, strict=True))
    )
    return slices, _score_volume(case_id, predicted, reference, spacing_mm)


def summarise(
    slice_scores: Sequence[SliceScore],
    case_scores: Sequence[CaseScore],
    *,
    origin: Origin | None = None,
) -> Summary:
    """Return means, medians and spreads over slices and over cases, and the counts."""
    positive = [score for score in slice_scores if score.reference_px > 0]
    predicted = [score for score in slice_scores if score.predicted_px > 0]
    hits = sum(score.predicted_px > 0 for score in positive)
    return Summary(
        origin=origin or Origin(),
        counts=SliceCounts(
            slices=len(slice_scores),
            reference_positive=len(positive),
            both_empty=sum(score.both_empty for score in slice_scores),
            missed=len(positive) - hits,
            invented=len(predicted) - hits,
        ),
        slices=_scores(positive),
        all_slices=_scores(slice_scores),
        cases=_scores(case_scores),
    )


def write_csv(
    folder: Path,
    slice_scores: Sequence[SliceScore],
    case_scores: Sequence[CaseScore],
    *,
    origin: Origin | None = None,
) -> None:
    """Write ``slices.csv``, ``cases.csv`` and ``summary.json`` into ``folder``.

    The columns are the fields of ``SliceScore`` and ``CaseScore``, the keys those of
    ``Summary``; scores are 0 to 1, the unit of the rest is its suffix.
    """
    write_atomically(folder / "slices.csv", _table(SliceScore, slice_scores))
    write_atomically(folder / "cases.csv", _table(CaseScore, case_scores))
    summary = asdict(summarise(slice_scores, case_scores, origin=origin))
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2).encode())


def _score_slice(
    case_id: str, index: int, pair: tuple[Mask, Mask], pixel_mm: tuple[float, float]
) -> SliceScore:
    found = overlap(*pair)
    in_mm = surface_distance(*pair, spacing_mm=pixel_mm)
    in_px = _in_pixels(pair, in_mm, pixel_mm)
    return SliceScore(
        case_id=case_id,
        slice_index=index,
        dice=found.dice,
        iou=found.iou,
        precision=found.precision,
        recall=found.recall,
        hausdorff_px=in_px.hausdorff_mm,
        hausdorff_mm=in_mm.hausdorff_mm,
        hd95_px=in_px.hd95_mm,
        hd95_mm=in_mm.hd95_mm,
        reference_px=found.reference_px,
        predicted_px=found.predicted_px,
        both_empty=found.both_empty,
    )


def _in_pixels(
    pair: tuple[Mask, Mask], in_mm: Surface, pixel_mm: tuple[float, float]
) -> Surface:
    """Return the distances in pixels: scaled if they are square, else measured."""
    row_mm, column_mm = pixel_mm
    if row_mm != column_mm or in_mm.hausdorff_mm is None or in_mm.hd95_mm is None:
        return surface_distance(*pair, spacing_mm=(1.0, 1.0))
    return Surface(in_mm.hausdorff_mm / row_mm, in_mm.hd95_mm / row_mm)


def _score_volume(
    case_id: str,
    predicted: Mask,
    reference: Mask,
    spacing_mm: tuple[float, float, float],
) -> CaseScore:
    found = overlap(predicted, reference)
    surface = surface_distance(predicted, reference, spacing_mm=spacing_mm)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return CaseScore(
        case_id=case_id,
        slices=len(reference),
        dice=found.dice,
        iou=found.iou,
        precision=found.precision,
        recall=found.recall,
        hausdorff_mm=surface.hausdorff_mm,
        hd95_mm=surface.hd95_mm,
        reference_ml=found.reference_px * voxel_ml,
        predicted_ml=found.predicted_px * voxel_ml,
        both_empty=found.both_empty,
    )


def _scores(scores: Sequence[SliceScore] | Sequence[CaseScore]) -> Scores:
    names = [field.name for field in fields(Scores)]
    columns = {name: [getattr(score, name, None) for score in scores] for name in names}
    return Scores(**{name: _distribution(column) for name, column in columns.items()})


def _distribution(column: Sequence[float | None]) -> Distribution | None:
    values = np.array([value for value in column if value is not None])
    if not len(values):
        return None
    q1, median, q3 = np.percentile(values, (25, 50, 75))
    return Distribution(
        count=len(values),
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        median=float(median),
        q1=float(q1),
        q3=float(q3),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )


def _table(
    kind: type[SliceScore] | type[CaseScore],
    scores: Sequence[SliceScore] | Sequence[CaseScore],
) -> bytes:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(field.name for field in fields(kind))
    lines.writerows(_cells(astuple(score)) for score in scores)
    return text.getvalue().encode()


def _cells(values: Sequence[Any]) -> list[str | int]:
    return [f"{v:.6f}" if isinstance(v, float) else v for v in values]
