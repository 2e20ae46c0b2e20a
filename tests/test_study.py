"""Tables and verdicts of studies whose scores are written down by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bag_pools import candidate
from report_inputs import scored, used
from studies import POOL, case_means, findings, noise, study

from model.cell_store import Scored
from model.comparison import comparisons, minutes_for
from model.results import means
from model.statistics import Interval
from model.study import COMMON, UNSELECTED, Study
from model.table import bag_gap, rows
from model.verdict import Comparison, p_text, signed
from plugin.reports.experiment import study_verdict

FEATURES = (candidate("x", 10, 100), candidate("y", 50, 120))


def compared(made: Study, **wanted: object) -> Comparison:
    wanted = {"test": COMMON, "proportion": 0.25, "strategy": "bag"} | wanted
    found = [
        one
        for one in comparisons(made)
        if all(getattr(one, name) == value for name, value in wanted.items())
    ]
    assert len(found) == 1
    return found[0]


def test_case_means_are_over_slices_with_breast() -> None:
    slices, (case,) = scored(["a"])
    found = means(Scored(tuple(slices), case, np.zeros((1, 1, 1), bool)))
    assert found is not None
    # 18 of 20 rows, so Dice 36 / 38 and IoU 18 / 20; ten of twelve slices hold breast.
    assert (found.slices, found.precision) == (10, 1)
    assert found.dice == pytest.approx(36 / 38)
    assert found.iou == pytest.approx(0.9)
    assert found.volume_dice == pytest.approx(36 / 38)
    empty = [score for score in slices if score.reference_px == 0]
    assert means(Scored(tuple(empty), case, np.zeros((1, 1, 1), bool))) is None


def test_a_row_is_the_mean_over_folds_seeds_and_slices() -> None:
    made = study(lambda s, p, seed, at: 0.8 + 0.1 * seed)
    of = {(r.test, r.proportion, r.strategy): r for r in rows(made)}
    assert len(of) == 2 * 2 * 2
    row = of[COMMON, 0.25, "bag"]
    assert row.metrics["dice"].mean == pytest.approx((0.8 + 0.9) / 2)
    assert row.seed_sd == pytest.approx(0.1 / 2**0.5)
    assert (row.patients, row.cells, row.test_patients) == (12, 2, 12)
    assert row.energy_kwh == pytest.approx(1.0)
    assert row.cfp_kg == pytest.approx(0.475)
    assert row.annotation_minutes == 12 * 4 * 0.5
    assert of[UNSELECTED, 0.5, "random"].test_patients == 25  # 24 of 48, two seeds


def test_slices_weigh_a_row_and_not_cases() -> None:
    made = study(lambda s, p, seed, at: 0.9)
    one = made.results[0]
    first = POOL.common[0]
    scores = {**one.scores, first: case_means(first, 0.1, slices=36)}
    made = replace(made, results=(replace(one, scores=scores),))
    (row,) = (r for r in rows(made) if r.test == COMMON)
    # Eleven cases of four slices at 0.9, one of 36 slices at 0.1.
    assert row.metrics["dice"].mean == pytest.approx((44 * 0.9 + 36 * 0.1) / 80)


def test_an_unknown_energy_makes_the_rows_unknown_not_zero() -> None:
    made = study(lambda s, p, seed, at: 0.9)
    unknown = replace(made.results[0].record, footprint=used(None))
    first = replace(made.results[0], record=unknown)
    made = replace(made, results=(first, *made.results[1:]))
    of = {(r.proportion, r.strategy): r for r in rows(made)}
    assert of[0.25, "random"].energy_kwh is None
    assert of[0.5, "random"].energy_kwh is not None
    assert compared(made).energy_kwh is None
    assert compared(made, proportion=0.5).energy_kwh == 0


def test_noise_is_not_called_a_difference() -> None:
    found = compared(study(lambda s, p, seed, at: 0.9 + noise(at, len(s))))
    assert found.verdict == "not distinguishable"
    said = found.sentence()
    assert said.startswith("bag at 25%: not distinguishable from random (Dice ")
    assert "12 patients, higher with" in said
    assert said.endswith("2 seeds: the luck of the training is not excluded).")


def test_a_shift_of_every_case_is_called_better_and_its_reverse_worse() -> None:
    up = {"bag": 0.02, "random": 0.0}
    made = study(lambda s, p, seed, at: 0.8 + up[s] + noise(at) + noise(at, 1) * up[s])
    found = compared(made)
    assert found.verdict == "better"
    assert found.dice is not None
    assert found.dice.mean == pytest.approx(0.02, abs=0.001)
    # Two comparisons, one a proportion: the smallest p of 12 pairs, times 2.
    assert found.p == pytest.approx(2 / 2**12)
    assert found.p_holm == pytest.approx(4 / 2**12)
    assert (found.rank_biserial, found.seeds_better, found.seeds) == (1, 2, 2)
    assert found.hd95_mm is not None
    assert found.hd95_mm.mean == pytest.approx(-found.dice.mean)
    down = {"bag": -0.02, "random": 0.0}
    made = study(lambda s, p, seed, at: 0.8 + down[s] + noise(at))
    assert compared(made).verdict == "worse"


@pytest.mark.parametrize("count", [1, 3])
def test_a_study_of_few_seeds_does_not_exclude_the_luck_of_the_training(
    count: int,
) -> None:
    up = {"bag": 0.02, "random": 0.0}
    made = study(lambda s, p, seed, at: 0.8 + up[s] + noise(at), seeds=range(count))
    found = findings(made, failures={})
    told = (
        study_verdict(found),
        found.comparisons[0].sentence(),
        json.loads(found.document.to_json())["caution"],
    )
    assert told[0].startswith("Better than random: bag at 25%, bag at 50%; ")
    luck = f"{count} seed{'s' * (count > 1)}: the luck of the training is not excluded"
    assert [luck in text for text in told] == [count < 3] * 3


def test_pairs_are_the_patients_that_both_were_tested_on() -> None:
    made = study(lambda s, p, seed, at: 0.9 + noise(at))
    # bag leaves over all but 10..21; random with seeds 0 and 1 tests, in all, 0 and
    # 12..47: 1..11 are selected with either seed. Shared: 0 and 22..47.
    assert compared(made, test=UNSELECTED).pairs == 1 + 26


def test_the_same_cells_are_called_the_same_cases() -> None:
    made = study(lambda s, p, seed, at: 0.9 + noise(at), ("random",))
    twins = tuple(
        replace(
            r, run=replace(r.run, selection=replace(r.run.selection, strategy="bag"))
        )
        for r in made.results
    )
    found = compared(replace(made, results=(*made.results, *twins)))
    assert found.verdict == "same"
    assert found.sentence() == "bag at 25%: the same cases as random."


def test_without_a_common_set_and_with_few_left_nothing_is_claimed() -> None:
    made = study(lambda s, p, seed, at: 0.9 + (s == "bag") * 0.05)
    few = {case: made.results[0].scores[case] for case in POOL.common[:5]}
    results = tuple(replace(r, scores=few) for r in made.results)
    found = compared(replace(made, results=results))
    assert found.sentence() == (
        "bag at 25%: too few to tell from random (5 shared patients, 6 needed)."
    )


def test_the_bag_gap_is_the_mean_distance_to_the_nearest_selected() -> None:
    near, far = (
        replace(c, case_id=name) for name, c in zip("ab", FEATURES, strict=True)
    )
    # Two cases, 40 and 20 mm apart: the quartiles are half of that apart, which is
    # 1.349 robust SD, so the whole is 2.698 in each feature.
    made = replace(POOL, candidates=(near, far))
    assert bag_gap(made, ["a"]) == pytest.approx((2 * 2.698) / 2, abs=0.001)
    assert bag_gap(made, ["a", "b"]) == 0


def test_only_trainings_that_both_sides_had_are_compared() -> None:
    # With the second seed, which random was not trained with, all are far better.
    made = study(lambda s, p, seed, at: 0.8 + 0.1 * seed + noise(at, len(s)))
    half = [r for r in made.results if r.strategy == "bag" or r.run.selection.seed == 0]
    found = compared(replace(made, results=tuple(half)))
    assert (found.verdict, found.seeds) == ("not distinguishable", 1)
    none = [r for r in made.results if (r.strategy == "bag") == r.run.selection.seed]
    assert comparisons(replace(made, results=tuple(none))) == ()


def test_nothing_is_claimed_where_the_mean_and_most_patients_disagree() -> None:
    # Eleven patients a little higher, one much lower: ranks say up, the mean down.
    steps = [-0.5, *(0.001 * at for at in range(1, 12))]
    made = study(lambda s, p, seed, at: 0.8 + (s == "bag") * steps[at % 12])
    alone = tuple(r for r in made.results if r.proportion == 0.25)
    found = compared(replace(made, results=alone))
    assert found.p_holm == pytest.approx(0.0342, abs=1e-4)  # exact, T = 12, n = 12
    assert found.dice is not None
    assert found.rank_biserial is not None
    assert found.dice.mean < 0 < found.rank_biserial
    assert found.verdict == "not distinguishable"


def test_a_significant_hd95_is_told_beside_dice() -> None:
    made = compared(study(lambda s, p, seed, at: 0.9 + noise(at, len(s))))
    shifted = replace(made, hd95_mm=Interval(40.2, 30.1, 50.3), hd95_p_holm=0.0001)
    assert "HD95 +40.2 (+30.1 to +50.3) mm, p < 0.001" in shifted.sentence()
    assert "HD95" not in replace(shifted, hd95_p_holm=0.2).sentence()
    assert [*map(p_text, (None, 0.0004, 0.001))] == ["unknown", "< 0.001", "0.001"]


def test_minutes_saved_are_read_off_the_learning_curve() -> None:
    # bag: 0.80 at 24 min, 0.90 at 48 min; random reaches 0.85 at 48 min.
    curve = {("bag", 0.25): 0.8, ("bag", 0.5): 0.9}
    made = study(lambda s, p, seed, at: curve.get((s, p), 0.85 if p == 0.5 else 0.7))
    assert compared(made, proportion=0.5).minutes_saved == pytest.approx(48 - 36)
    assert compared(made, proportion=0.25).minutes_saved == 0  # nothing is known below
    assert compared(made).annotation_minutes == 0


def test_a_dice_that_is_never_reached_takes_no_minutes() -> None:
    assert minutes_for([(10, 0.5), (20, 0.7), (30, 0.6)], 0.8) is None
    assert minutes_for([(10, 0.5), (20, 0.7)], 0.6) == pytest.approx(15)
    assert minutes_for([], 0.6) is None
    assert signed(None) == "unknown"
