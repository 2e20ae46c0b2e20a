import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.checkpoint import (
    FEATURES,
    Scored,
    agreement,
    dice,
    end_slices,
    main,
    summary,
)
from model.checkpoint import Manifest, write_checkpoint
from model.network import new_network
from model.synthetic.families import STYLES, draw_unseen_patient

EMPTY = dict.fromkeys(FEATURES)
ONE = Scored(0, "drawn", "ordinary", 0.9, 0.5, 0.01, EMPTY, EMPTY)


def test_dice_counts_voxels_of_the_whole_volume() -> None:
    truth, found = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    truth[0, :4], found[0, 2:], found[1, :2] = True, True, True
    # 4 true, 4 found, 2 shared
    assert dice(truth, found) == 2 * 2 / 8
    assert dice(~truth & truth, found & ~found) == 1.0


def test_ends_are_the_slices_within_15_mm_of_where_breast_begins() -> None:
    filled = np.array([0] * 4 + [1] * 9 + [0] * 3, bool)
    near = end_slices(filled, slice_mm=7.5)
    # two slices on both sides of the steps between 3 and 4, and 12 and 13
    assert np.flatnonzero(near).tolist() == [2, 3, 4, 5, 11, 12, 13, 14]


def test_an_end_outside_the_image_is_none() -> None:
    assert not end_slices(np.ones(5, bool), 3.0).any()


def test_the_summary_leaves_out_what_a_case_does_not_have() -> None:
    other = replace(ONE, dice=0.7, end_dice=None, false_share=None)
    row = summary([ONE, other])
    assert row["dice_mean"] == pytest.approx(0.8)
    assert row["end_dice_mean"] == 0.5
    assert row["false_area_percent"] == pytest.approx(1.0)
    # the 5th percentile of two lies 5 % of the way between them
    assert row["dice_p5"] == pytest.approx(0.71)


def test_agreement_ranks_the_cases_in_which_both_masks_show_the_feature() -> None:
    pairs = [(1.0, 3.0), (2.0, 4.0), (3.0, 5.0), (9.0, None)]
    scored = [
        replace(
            ONE, true=EMPTY | {"nearest_point_mm": t}, found={"nearest_point_mm": f}
        )
        for t, f in pairs
    ]
    row = agreement(scored, "nearest_point_mm")
    assert (row["cases"], row["median_error"]) == (3, 2.0)
    assert row["spearman"] == pytest.approx(1.0)


def test_unseen_patients_name_their_family() -> None:
    rng = np.random.default_rng(0)
    names = {draw_unseen_patient(rng)[0] for _ in range(60)}
    assert {"boxy chest", "implants under the muscle", "ordinary"} <= names


@pytest.mark.slow
def test_a_checkpoint_is_scored_on_two_phantoms(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    manifest = Manifest("0", 32, 0, 0, (), {}, {}, {})
    write_checkpoint(new_network(seed=0), manifest, weights)
    out, sheet = tmp_path / "out.json", tmp_path / "sheet.png"
    options = ["--cases=2", "--slices=10", "--matrix=48", f"--out={out}"]
    result = CliRunner().invoke(
        main, [str(weights), *options, f"--sheet={sheet}"], catch_exceptions=False
    )
    assert result.exit_code == 0
    document = json.loads(out.read_text())
    assert list(document["styles"]) == list(STYLES)[:2]
    assert document["all"]["cases"] == 2
    assert 0 <= document["all"]["dice_mean"] < 0.9
    assert sheet.read_bytes().startswith(b"\x89PNG")
