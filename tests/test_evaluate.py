"""Scores per slice and per case, what they count, and the files they end in."""

import csv
import json
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import GeometryError
from model.evaluate import (
    CaseScore,
    Distribution,
    Origin,
    SliceScore,
    Summary,
    score_case,
    summarise,
    write_csv,
)

Mask = NDArray[np.bool_]
SPACING_MM = (2.0, 0.5, 0.5)


def five_slices() -> tuple[Mask, Mask]:
    """Predicted and reference: agreed, half found, missed, invented, both empty."""
    predicted, reference = (np.zeros((5, 30, 40), np.bool_) for _ in range(2))
    predicted[0, 5:15, 5:15] = reference[0, 5:15, 5:15] = True
    predicted[1, 5:15, 5:10] = reference[1, 5:15, 5:15] = True
    reference[2, 5:15, 5:15] = True
    predicted[3, 5:15, 5:15] = True
    return predicted, reference


def scored() -> tuple[tuple[SliceScore, ...], CaseScore]:
    return score_case("case-1", *five_slices(), spacing_mm=SPACING_MM)


def test_each_slice_is_scored_on_its_own() -> None:
    slices, _ = scored()
    assert [s.slice_index for s in slices] == [0, 1, 2, 3, 4]
    assert [s.dice for s in slices] == pytest.approx([1, 2 * 50 / 150, 0, 0, 1])
    assert [s.iou for s in slices] == pytest.approx([1, 0.5, 0, 0, 1])
    assert [s.both_empty for s in slices] == [False, False, False, False, True]
    assert [s.reference_px for s in slices] == [100, 100, 100, 0, 0]


def test_slice_distances_are_in_mm_and_in_pixels() -> None:
    slices, _ = scored()
    diagonal_px = 50.0
    expected_px = [0.0, 5.0, diagonal_px, diagonal_px, None]
    assert [s.hausdorff_px for s in slices] == expected_px
    halves = [None if px is None else px / 2 for px in expected_px]
    assert [s.hausdorff_mm for s in slices] == halves
    assert slices[2].hd95_px == diagonal_px
    assert slices[1].hd95_mm == pytest.approx(5 / 2)


def test_oblong_pixels_are_measured_apart_in_mm_and_in_pixels() -> None:
    predicted, reference = (np.zeros((1, 20, 20), np.bool_) for _ in range(2))
    predicted[0, 2, 2] = reference[0, 5, 6] = True
    slices, _ = score_case("c", predicted, reference, spacing_mm=(1.0, 2.0, 1.0))
    assert slices[0].hausdorff_px == pytest.approx(np.hypot(3, 4))
    assert slices[0].hausdorff_mm == pytest.approx(np.hypot(3 * 2, 4))


def test_a_case_is_scored_as_one_volume() -> None:
    _, case = scored()
    shared, predicted_px, reference_px = 150, 250, 300
    assert case.dice == pytest.approx(2 * shared / (predicted_px + reference_px))
    voxel_ml = 2.0 * 0.5 * 0.5 / 1000
    assert case.reference_ml == pytest.approx(reference_px * voxel_ml)
    assert case.predicted_ml == pytest.approx(predicted_px * voxel_ml)
    assert case.slices == 5


def test_case_distance_goes_through_slices() -> None:
    """The farthest of two slices too few is two slices of 2 mm away."""
    predicted, reference = (np.zeros((4, 20, 20), np.bool_) for _ in range(2))
    predicted[0:2, 5:8, 5:8] = True
    reference[0:4, 5:8, 5:8] = True
    _, case = score_case("c", predicted, reference, spacing_mm=(2.0, 1.0, 1.0))
    assert case.hausdorff_mm == pytest.approx(2 * 2.0)


def test_masks_on_two_grids_name_the_case() -> None:
    with pytest.raises(GeometryError, match="case-7"):
        score_case(
            "case-7",
            np.ones((2, 4, 4), np.bool_),
            np.ones((3, 4, 4), np.bool_),
            spacing_mm=SPACING_MM,
        )


def test_a_single_image_is_no_case() -> None:
    image = np.ones((4, 4), np.bool_)
    with pytest.raises(GeometryError, match="2 axes"):
        score_case("c", image, image, spacing_mm=SPACING_MM)


def known(distribution: Distribution | None) -> Distribution:
    assert distribution is not None
    return distribution


def summary() -> Summary:
    slices, case = scored()
    return summarise(slices, [case], origin=Origin("phantom", "torch", "float32"))


def test_every_kind_of_slice_is_counted() -> None:
    counts = summary().counts
    assert (counts.slices, counts.reference_positive) == (5, 3)
    assert (counts.both_empty, counts.missed, counts.invented) == (1, 1, 1)


def test_the_headline_mean_is_over_reference_positive_slices() -> None:
    dice = known(summary().slices.dice)
    assert dice.count == 3
    assert dice.mean == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_the_mean_over_all_slices_counts_agreed_empty_ones() -> None:
    dice = known(summary().all_slices.dice)
    assert dice.count == 5
    assert dice.mean == pytest.approx((1 + 2 / 3 + 0 + 0 + 1) / 5)


def test_slices_without_a_distance_are_no_zeros() -> None:
    distance = known(summary().all_slices.hausdorff_px)
    assert distance.count == 4
    assert distance.mean == pytest.approx((0 + 5 + 50 + 50) / 4)


def test_spread_of_five_cases_by_arithmetic() -> None:
    _, case = scored()
    values = [0.1, 0.5, 0.6, 0.8, 1.0]
    cases = [replace(case, dice=value) for value in values]
    dice = known(summarise((), cases).cases.dice)
    assert (dice.minimum, dice.q1, dice.median) == pytest.approx((0.1, 0.5, 0.6))
    assert (dice.q3, dice.maximum) == pytest.approx((0.8, 1.0))
    assert dice.mean == pytest.approx(3 / 5)
    squares = [(value - 0.6) ** 2 for value in values]
    assert dice.sd == pytest.approx((sum(squares) / 4) ** 0.5)


def test_nothing_to_summarise_is_none_not_zero() -> None:
    empty = np.zeros((2, 8, 8), np.bool_)
    slices, case = score_case("c", empty, empty, spacing_mm=SPACING_MM)
    found = summarise(slices, [case])
    assert found.slices.dice is None
    assert found.cases.hausdorff_mm is None
    assert known(found.cases.dice).mean == 1
    assert found.counts.both_empty == 2
    assert found.origin.data == "unknown"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_hold_every_score_and_leave_undefined_cells_empty(
    tmp_path: Path,
) -> None:
    slices, case = scored()
    write_csv(tmp_path, slices, [case])
    written = rows(tmp_path / "slices.csv")
    assert list(written[0]) == [field.name for field in fields(SliceScore)]
    assert [float(row["dice"]) for row in written] == pytest.approx(
        [s.dice for s in slices], abs=1e-6
    )
    assert [row["hausdorff_px"] for row in written][3:] == ["50.000000", ""]
    assert [row["both_empty"] for row in written][3:] == ["False", "True"]
    only = rows(tmp_path / "cases.csv")
    assert [row["case_id"] for row in only] == ["case-1"]
    assert float(only[0]["reference_ml"]) == pytest.approx(case.reference_ml, abs=1e-6)


def test_summary_names_its_origin_and_both_counts(tmp_path: Path) -> None:
    slices, case = scored()
    origin = Origin(data="phantom", engine="torch", precision="float32")
    write_csv(tmp_path, slices, [case], origin=origin)
    text = (tmp_path / "summary.json").read_text()
    assert "NaN" not in text
    written = json.loads(text)
    assert written["origin"]["engine"] == "torch"
    assert written["counts"]["reference_positive"] == 3
    assert written["slices"]["dice"]["mean"] == pytest.approx((1 + 2 / 3) / 3)
    assert written["cases"]["hausdorff_px"] is None


def two_breasts(shift_px: int) -> Mask:
    """A study of 160 slices, 1.5 million voxels of breast."""
    z = np.linspace(-1, 1, 160)[:, None, None]
    y, x = np.arange(256)[:, None], np.arange(256)
    sides = [(x - c - shift_px) ** 2 / 0.8 + (y - 150) ** 2 for c in (75, 180)]
    near = np.minimum(*sides)
    return np.asarray((near < 3600 * (1 - z**2)) & (y < 160))


def test_a_whole_study_is_scored_in_seconds() -> None:
    """About 0.7 s on one quiet core; the slow way takes half a minute."""
    predicted, reference = two_breasts(2), two_breasts(0)
    start_s = time.process_time()
    _, case = score_case("c", predicted, reference, spacing_mm=(1.5, 1.0, 1.0))
    assert time.process_time() - start_s < 6
    assert case.dice > 0.9
