"""Strategies: one contract for all, and what each covers better than chance."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bag_pools import candidate, evidence, paper_pool, seen
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.errors import SelectionError
from model.selection import (
    NETWORK_STRATEGIES,
    STRATEGIES,
    Candidate,
    Ranking,
    rank,
    replay,
    training_count,
)

PROPORTIONS = (0.1, 0.2, 0.3, 0.4)
SEEDS = range(50)
WITHOUT_NETWORK = sorted(STRATEGIES.keys() - NETWORK_STRATEGIES.keys())


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
        for name in WITHOUT_NETWORK
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
    pool = seen(paper_pool(seed, patients=patients, sessions=sessions))
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
@settings(max_examples=8, deadline=None)
@given(
    patients=st.integers(1, 25),
    sessions=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    share=st.floats(0, 1),
)
def test_what_is_annotated_leads_and_the_rest_goes_on_from_it(
    strategy: str, patients: int, sessions: int, seed: int, share: float
) -> None:
    pool = seen(paper_pool(seed, patients=patients, sessions=sessions))
    whole = [p.case_id for p in rank(pool, strategy=strategy, seed=seed).picks]
    first = whole[: round(share * len(whole))]
    again = rank(pool, strategy=strategy, seed=seed, first=first)
    assert [p.case_id for p in again.picks][: len(first)] == first
    assert sorted(p.case_id for p in again.picks) == sorted(whole)
    assert {p.reason for p in again.picks[: len(first)]} <= {"annotated already"}
    assert replay(Ranking.from_json(again.to_json())) == again
    if sessions == 1:  # a patient's further sessions go by the patients' order
        assert [p.case_id for p in again.picks] == whole


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_same_table_gives_the_same_bytes(strategy: str) -> None:
    pool = seen(paper_pool(3, patients=20, sessions=2))
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


@pytest.mark.parametrize(
    "strategy", ["nearest-point", "breast-size", "bag", "uncertainty", "coreset"]
)
def test_coverage_and_doubt_ignore_the_seed(strategy: str) -> None:
    pool = seen(paper_pool(1))
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


def test_uncertainty_goes_by_disagreement_and_by_entropy_on_a_tie() -> None:
    looks = {"a": (0.1, 0.9), "b": (0.3, 0.1), "c": (0.3, 0.2), "d": (0.30004, None)}
    pool = [
        replace(candidate(n, 1, 1), evidence=evidence(d, entropy=e))
        for n, (d, e) in looks.items()
    ]
    picks = rank(pool, strategy="uncertainty", seed=0).picks
    assert [pick.case_id for pick in picks] == ["c", "b", "d", "a"]
    assert picks[0].reason == "2 masks of it disagree by 0.300"


def test_coreset_takes_the_farthest_from_all_before() -> None:
    places = {"a": (0, 0), "b": (1, 0), "c": (0, 9), "d": (4, 0), "e": (1, 1)}
    pool = [
        replace(
            candidate(n, 1, 1), evidence=evidence(0, embedding=(float(x), float(y)))
        )
        for n, (x, y) in places.items()
    ]
    picks = rank(pool, strategy="coreset", seed=0).picks
    # The mean is (1.2, 2): e is nearest, then c (8.06 away), d (3.16), a and b.
    assert [pick.case_id for pick in picks] == ["e", "c", "d", "a", "b"]
    assert picks[1].reason.startswith(f"{65**0.5:.2f} from the nearest pick")
    after = rank(pool, strategy="coreset", seed=0, first=["c"]).picks
    assert [pick.case_id for pick in after[:2]] == ["c", "d"]  # sqrt(16 + 81) away


def test_bag_uncertainty_asks_the_least_sure_of_each_stratum() -> None:
    pool = [candidate(f"n{at}", 10, 100) for at in range(4)]
    pool += [candidate(f"f{at}", 60, 100) for at in range(4)]
    unsure = {"n2": 0.9, "n0": 0.8, "f3": 0.2, "f1": 0.1}
    pool = [replace(c, evidence=evidence(unsure.get(c.case_id, 0.0))) for c in pool]
    picks = rank(pool, strategy="bag+uncertainty", seed=0).picks
    assert {pick.case_id for pick in picks[:2]} == {"n2", "f3"}
    assert {pick.case_id for pick in picks[2:4]} == {"n0", "f1"}
    assert "disagree by 0.900, among 4 sessions with nearest point 10 mm" in (
        next(pick.reason for pick in picks if pick.case_id == "n2")
    )


@pytest.mark.parametrize("strategy", sorted(NETWORK_STRATEGIES))
def test_a_pool_that_no_checkpoint_has_seen_is_refused(strategy: str) -> None:
    pool = [*paper_pool(0, patients=2), *seen([candidate("s", 1, 1)])]
    with pytest.raises(SelectionError, match="found 2 sessions that no checkpoint"):
        rank(pool, strategy=strategy, seed=0)


def test_features_of_two_encoders_are_refused() -> None:
    pool = [
        replace(candidate(n, 1, 1), evidence=evidence(0, embedding=(0.0,) * size))
        for n, size in (("a", 2), ("b", 3))
    ]
    with pytest.raises(SelectionError, match=r"encoder features of \[2, 3\] numbers"):
        rank(pool, strategy="coreset", seed=0)


def test_evidence_is_rounded_and_kept_in_manifest_and_table() -> None:
    look = evidence(0.123456, entropy=None, embedding=(0.12345, -1.0))
    pool = [replace(candidate("x", 1, 1), evidence=look), *seen([candidate("y", 2, 2)])]
    ranking = rank(pool, strategy="uncertainty", seed=0)
    held = json.loads(ranking.to_json())["candidates"][0]["evidence"]
    assert held["disagreement"] == 0.1235
    assert held["embedding"] == [0.123, -1.0]
    rows = {line.split(",")[1]: line for line in ranking.to_csv().splitlines()}
    assert rows["case_id"].endswith("min_slices,disagreement,entropy,members")
    assert rows["x"].endswith(",0.1235,,2")


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
    with pytest.raises(SelectionError, match="needed one of bag, bag"):
        rank(pool[:1], strategy="best", seed=0)
    with pytest.raises(SelectionError, match="1 that are not in the pool"):
        rank(pool[:1], strategy="bag", seed=0, first=["elsewhere"])


@pytest.mark.slow
def test_ten_thousand_sessions_are_ranked() -> None:
    pool = paper_pool(0, patients=10_000)
    picks = rank(pool, strategy="bag", seed=0).picks
    assert len({pick.case_id for pick in picks}) == 10_000
