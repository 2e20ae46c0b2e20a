"""The grid as values: who is selected, who is tested, and what names a cell."""

from dataclasses import replace

import pytest
from bag_pools import candidate, seen
from cases import case_info
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import CONFIG, candidates, names, pool

from model.errors import SelectionError
from model.experiment import (
    Design,
    annotated_slices,
    cell_key,
    cells,
    order,
    pool_of,
    select,
)
from model.selection import STRATEGIES

DESIGN = Design(("random", "bag", "uncertainty"), (0.25, 0.5), (0, 1), CONFIG)


@settings(max_examples=30, deadline=None)
@given(
    patients=st.integers(8, 30),
    sessions=st.integers(1, 3),
    share=st.floats(0, 0.3),
    proportion=st.floats(0.05, 1),
    strategy=st.sampled_from(["random", "bag", "hybrid"]),
)
def test_no_patient_is_on_two_sides(
    patients: int, sessions: int, share: float, proportion: float, strategy: str
) -> None:
    cases = [
        candidate(f"p{p}s{s}", p, 100 + s, patient_key=f"k{p}")
        for p in range(patients)
        for s in range(sessions)
    ]
    infos = {c.case_id: case_info(c.case_id, patient=c.patient_key) for c in cases}
    design = replace(DESIGN, test_share=share)
    made = pool_of(cases, infos, design)
    ranking = order(made, design, strategy, 0)
    chosen = select(made, ranking, strategy, proportion)
    sides = [
        {infos[case].patient_key for case in side}
        for side in (chosen.cases, chosen.unselected, made.common)
    ]
    assert sum(map(len, sides)) == len(set().union(*sides)) == patients
    assert len(sides[2]) == round(share * patients)
    assert len(chosen.cases) == len(sides[0]), "a patient is drawn once"


def test_the_common_test_set_is_the_same_for_every_design() -> None:
    made = pool(DESIGN, 20)
    assert len(made.common) == 4
    assert made.common == pool(replace(DESIGN, seeds=(7,)), 20).common
    assert not pool(replace(DESIGN, test_share=0.0), 20).common


def test_too_few_patients_to_select_from_are_refused() -> None:
    assert len(pool(DESIGN, 6).candidates) == 5
    with pytest.raises(SelectionError, match="6 patients, 30% of them for the test"):
        pool(replace(DESIGN, test_share=0.3), 6)


def test_a_larger_proportion_keeps_the_smaller_one() -> None:
    made = pool(DESIGN, 20)
    for strategy in ("random", "bag"):
        ranking = order(made, DESIGN, strategy, 1)
        few, more = (select(made, ranking, strategy, p) for p in DESIGN.proportions)
        # 16 patients: 5 of 0.25 * 16 = 4, because folds need five, and 8.
        assert (len(few.cases), len(more.cases)) == (5, 8)
        assert more.cases[:5] == few.cases


def test_a_network_strategy_begins_with_geometry_and_goes_on_from_it() -> None:
    made = pool(DESIGN, 20)
    begun = order(made, DESIGN, "uncertainty", 0)
    assert begun.picks == order(made, DESIGN, "bag", 0).picks
    first = select(made, begun, "uncertainty", 0.25)
    looked = seen(list(made.candidates))
    evidence = {c.case_id: c.evidence for c in looked if c.evidence}
    then = order(made, DESIGN, "uncertainty", 0, before=first, seen=evidence)
    assert then.first == first.cases
    rest = [pick.case_id for pick in then.picks[5:]]
    doubts = [evidence[case].disagreement for case in rest]
    assert doubts == sorted(doubts, reverse=True)


def test_a_cell_is_named_by_all_that_decides_its_weights() -> None:
    made = pool(DESIGN, 20)
    chosen = select(made, order(made, DESIGN, "bag", 0), "bag", 0.25)
    first, second = cells(made, chosen, DESIGN, "torch-cpu-fp32")
    assert {first.fold.number, second.fold.number} == {0, 1}
    fold, config, infos = first.fold, first.config, made.infos
    case = fold.train[0]
    drawn_anew = {**infos, case: replace(infos[case], source_key="drawn anew")}
    other = {
        cell_key(fold, replace(config, seed=9), infos, "torch-cpu-fp32"),
        cell_key(fold, config, infos, "torch-cuda-bf16"),
        cell_key(replace(fold, number=1), config, infos, "torch-cpu-fp32"),
        cell_key(fold, config, drawn_anew, "torch-cpu-fp32"),
        cell_key(fold, config, infos, "torch-cpu-fp32", "weights"),
        second.key,
    }
    assert len(other) == 6
    assert first.key not in other
    assert first.key == cell_key(fold, config, infos, "torch-cpu-fp32")


def test_strategies_with_the_same_cases_share_their_cells() -> None:
    made = pool(DESIGN, 20)
    of = {
        strategy: select(made, order(made, DESIGN, strategy, 1), strategy, 1.0)
        for strategy in ("random", "bag")
    }
    keys = [{c.key for c in cells(made, s, DESIGN, "e")} for s in of.values()]
    assert of["random"].cases != of["bag"].cases, "the order differs"
    assert keys[0] == keys[1]


def test_one_fold_may_be_trained_alone() -> None:
    design = replace(DESIGN, only_fold=1)
    made = pool(design, 20)
    chosen = select(made, order(made, design, "bag", 0), "bag", 0.25)
    assert [cell.fold.number for cell in cells(made, chosen, design, "e")] == [1]


def test_every_strategy_can_be_designed() -> None:
    made = pool(DESIGN, 12)
    for strategy in STRATEGIES:
        assert len(order(made, DESIGN, strategy, 0).picks) == len(made.candidates)


def test_annotation_is_counted_in_slices_with_breast() -> None:
    assert annotated_slices(["a", "b"], {"a": 10, "b": 7, "c": 99}) == 17
    assert len(candidates(3)) == len(names(3))
