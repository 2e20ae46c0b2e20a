"""Strategies: one contract for all, and what each covers better than chance."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bag_pools import candidate, paper_pool
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.errors import SelectionError
from model.selection import (
    STRATEGIES,
    Candidate,
    Ranking,
    rank,
    replay,
    training_count,
)

PROPORTIONS = (0.1, 0.2, 0.3, 0.4)
SEEDS = range(50)


def lengths_mm(pool: list[Candidate], feature: str) -> NDArray[np.float64]:
    return np.array([getattr(c.features, f"{feature}_mm") for c in pool])


def uncovered(pool: list[Candidate], strategy: str, seed: int) -> NDArray[np.float64]:
    """Mean distance in mm of every case to the nearest picked one, (2, proportions)."""
    position = {c.case_id: at for at, c in enumerate(pool)}
    picks = rank(pool, strategy=strategy, seed=seed).picks
    order = [position[pick.case_id] for pick in picks]
    values = np.stack(
        [lengths_mm(pool, "nearest_point"), lengths_mm(pool, "breast_size")]
    )
    rows = []
    for proportion in PROPORTIONS:
        chosen = order[: training_count(len(pool), proportion)]
        gaps = np.abs(values[:, :, None] - values[:, None, chosen])
        rows.append(gaps.min(axis=2).mean(axis=1))
    return np.stack(rows, axis=1)


@pytest.fixture(scope="module")
def uncovered_mm() -> dict[str, NDArray[np.float64]]:
    """Mean over 50 pools like the paper's, (2 features, 4 proportions) by strategy."""
    return {
        name: np.mean([uncovered(paper_pool(1000 + s), name, s) for s in SEEDS], axis=0)
        for name in STRATEGIES
    }


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@settings(max_examples=15, deadline=None)
@given(
    patients=st.integers(1, 25),
    sessions=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    shuffle=st.integers(0, 99),
)
def test_every_strategy_keeps_the_contract(
    strategy: str, patients: int, sessions: int, seed: int, shuffle: int
) -> None:
    pool = paper_pool(seed, patients=patients, sessions=sessions)
    mixed = [pool[at] for at in np.random.default_rng(shuffle).permutation(len(pool))]
    picks = STRATEGIES[strategy](pool, rng=np.random.default_rng(seed))
    assert picks == STRATEGIES[strategy](mixed, rng=np.random.default_rng(seed))
    assert [pick.rank for pick in picks] == list(range(1, len(pool) + 1))
    assert sorted(pick.case_id for pick in picks) == sorted(c.case_id for c in pool)
    assert all(pick.reason for pick in picks)
    patient = {c.case_id: c.patient_key for c in pool}
    for start in range(0, len(pool), patients):
        turn = picks[start : start + patients]
        assert len({patient[pick.case_id] for pick in turn}) == patients


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_same_table_gives_the_same_bytes(strategy: str) -> None:
    pool = paper_pool(3, patients=20, sessions=2)
    first = rank(pool, strategy=strategy, seed=7)
    noisy = [
        replace(
            c,
            features=replace(
                c.features,
                nearest_point_mm=round(c.features.nearest_point_mm, 1) + 1e-9,
            ),
        )
        for c in reversed(pool)
    ]
    again = rank(noisy, strategy=strategy, seed=7)
    assert first.to_json() == again.to_json()
    assert first.to_csv() == again.to_csv()
    read = Ranking.from_json(first.to_json())
    assert read == first
    assert replay(read).to_json() == first.to_json()


@pytest.mark.parametrize("strategy", ["random", "stratified-random", "hybrid"])
def test_chance_follows_the_seed(strategy: str) -> None:
    pool = paper_pool(1)
    orders = {rank(pool, strategy=strategy, seed=seed).picks for seed in range(5)}
    assert len(orders) == 5


@pytest.mark.parametrize("strategy", ["nearest-point", "breast-size", "bag"])
def test_coverage_ignores_the_seed(strategy: str) -> None:
    pool = paper_pool(1)
    first, second = (rank(pool, strategy=strategy, seed=s).picks for s in (1, 2))
    assert first == second


def test_picks_of_a_small_pool_are_the_medoids() -> None:
    lengths = [0, 1, 2, 40, 41, 42, 43, 90]
    pool = [candidate(f"c{at}", mm, 100) for at, mm in enumerate(lengths)]
    picks = rank(pool, strategy="nearest-point", seed=0).picks
    assert [pick.case_id for pick in picks[:3]] == ["c3", "c1", "c7"]
    assert picks[0].reason == "represents 8 sessions with nearest point 0-90 mm"
    assert picks[1].reason == "represents 3 sessions with nearest point 0-2 mm"
    assert picks[2].reason == "represents 1 session with nearest point 90 mm"


def test_equal_features_go_by_case_id() -> None:
    pool = [candidate(name, 30, 100) for name in ("b", "d", "a", "c")]
    picks = rank(pool, strategy="bag", seed=0).picks
    assert [pick.case_id for pick in picks] == ["a", "b", "c", "d"]


def test_geometry_strategies_cover_their_own_feature_better_than_chance(
    uncovered_mm: dict[str, NDArray[np.float64]],
) -> None:
    chance = uncovered_mm["random"]
    assert (uncovered_mm["nearest-point"][0] < 0.7 * chance[0]).all()
    assert (uncovered_mm["breast-size"][1] < 0.7 * chance[1]).all()


def test_joint_strategies_cover_both_features_better_than_chance(
    uncovered_mm: dict[str, NDArray[np.float64]],
) -> None:
    chance = uncovered_mm["random"]
    for strategy in ("bag", "hybrid"):
        assert (uncovered_mm[strategy] < chance).all(), strategy
    few = slice(0, 2)  # with more picks chance alone meets every stratum
    assert (uncovered_mm["stratified-random"][:, few] < chance[:, few]).all()


def test_hybrid_takes_the_three_in_turn() -> None:
    pool = paper_pool(2)
    picks = rank(pool, strategy="hybrid", seed=4).picks
    names = [pick.reason.split(":")[0] for pick in picks[:6]]
    assert names == ["by random", "by nearest-point", "by breast-size"] * 2
    first = rank(pool, strategy="nearest-point", seed=4).picks[0]
    assert picks[1].case_id == first.case_id


def test_stratified_prefixes_share_out_the_strata() -> None:
    pool = [candidate(f"n{at:02d}", 10, 100) for at in range(20)]
    pool += [candidate(f"f{at:02d}", 60, 100) for at in range(10)]
    pool += [candidate(f"s{at:02d}", 60, 50) for at in range(10)]
    picks = rank(pool, strategy="stratified-random", seed=5).picks
    for end in (4, 8, 20, 40):
        kinds = [pick.case_id[0] for pick in picks[:end]]
        for kind, share in (("n", 0.5), ("f", 0.25), ("s", 0.25)):
            assert abs(kinds.count(kind) - share * end) <= 1
    assert "drawn at random from 20 sessions with nearest point 10 mm" in (
        next(pick.reason for pick in picks if pick.case_id.startswith("n"))
    )


def test_a_patient_with_many_sessions_is_counted_once_per_round() -> None:
    pool = [candidate(f"a{at}", 10 * at, 100, patient_key="A") for at in range(9)]
    pool += [candidate("b0", 200, 100, patient_key="B")]
    picks = rank(pool, strategy="nearest-point", seed=0).picks
    assert [pick.case_id for pick in picks[:3]] == ["a4", "b0", "a1"]


@pytest.mark.parametrize(
    ("patients", "proportion", "expected"),
    [
        (59, 0.1, 6),
        (59, 0.2, 12),
        (59, 0.3, 18),
        (59, 0.4, 24),
        (20, 0.1, 5),
        (200, 0.01, 5),
        (12, 1.0, 12),
        (3, 0.3, 3),
        (0, 0.3, 0),
    ],
)
def test_training_count_is_a_share_of_patients_and_at_least_five(
    patients: int, proportion: float, expected: int
) -> None:
    assert training_count(patients, proportion) == expected


@pytest.mark.parametrize("proportion", [0.0, -0.1, 1.01])
def test_a_proportion_is_a_share(proportion: float) -> None:
    with pytest.raises(SelectionError, match="at most 1"):
        training_count(59, proportion)


def test_csv_lists_the_picks_in_order_with_their_features() -> None:
    ranking = rank(paper_pool(0, patients=6), strategy="bag", seed=0)
    header, *lines = ranking.to_csv().splitlines()
    assert header.startswith("rank,case_id,patient_key,reason,nearest_point_mm")
    assert header.endswith("grid_px,mm_per_px,min_px,min_slices")
    assert [line.split(",")[1] for line in lines] == [p.case_id for p in ranking.picks]
    assert "None" not in ranking.to_csv()


def test_the_manifest_names_its_engine_and_holds_rounded_features() -> None:
    ranking = rank([candidate("x", 12.3456, 99.96)], strategy="random", seed=11)
    document = json.loads(ranking.to_json())
    assert document["engine"] == "brs-selection/1"
    assert (document["strategy"], document["seed"]) == ("random", 11)
    held = document["candidates"][0]["features"]
    assert held["nearest_point_mm"] == 12.3
    assert held["breast_size_mm"] == 100.0
    assert held["rule"] == {"min_px": 4, "min_slices": 3}
    assert held["sternal_size_mm"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "brs-ranking/9"}'])
def test_a_file_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(SelectionError, match="needed JSON of format brs-ranking/1"):
        Ranking.from_json(text)


def test_pools_that_cannot_be_ranked_are_refused() -> None:
    pool = [candidate("a", 1, 1), candidate("a", 2, 2)]
    with pytest.raises(SelectionError, match="no session"):
        rank([], strategy="bag", seed=0)
    with pytest.raises(SelectionError, match="1 sessions more than once, a among"):
        rank(pool, strategy="bag", seed=0)
    with pytest.raises(SelectionError, match="needed one of bag, breast-size"):
        rank(pool[:1], strategy="best", seed=0)


@pytest.mark.slow
def test_ten_thousand_sessions_are_ranked() -> None:
    pool = paper_pool(0, patients=10_000)
    picks = rank(pool, strategy="bag", seed=0).picks
    assert len({pick.case_id for pick in picks}) == 10_000
