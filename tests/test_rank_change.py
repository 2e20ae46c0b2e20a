"""An order that follows another one tells what is different."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_inputs import pool

from model.rank_change import Move, rank_change
from model.ranking import Pick, Ranking
from plugin.folder_archive import FolderArchive
from plugin.rank import CHANGE_FILE, RankOutcome, change_since, keep_ranking


def ranking(order: str) -> Ranking:
    picks = tuple(Pick(at, name, "why") for at, name in enumerate(order, start=1))
    return Ranking("bag", 0, "engine", "1", (), picks)


def test_every_session_tells_where_it_was() -> None:
    change = rank_change(ranking("CABE"), ranking("ABCD"))
    assert change.moves == (
        *(Move("C", 1, 3), Move("A", 2, 1), Move("B", 3, 2)),
        Move("E", 4, None),
    )
    assert [move.places for move in change.moves] == [2, -1, -1, None]


def test_the_agreement_is_spearman_s_over_what_both_rank() -> None:
    change = rank_change(ranking("CABE"), ranking("ABCD"))
    squares = 2**2 + 1 + 1
    assert change.spearman == pytest.approx(1 - 6 * squares / (3 * (3**2 - 1)))
    assert rank_change(ranking("AB"), ranking("BA")).spearman is None


def test_first_picks_that_stay_are_counted() -> None:
    change = rank_change(ranking("CABE"), ranking("ABCD"))
    assert [change.kept(first) for first in (1, 2, 3)] == [0, 1, 3]


def test_the_table_has_a_line_per_session() -> None:
    lines = rank_change(ranking("BAC"), ranking("AB")).to_csv().splitlines()
    assert lines == [
        "rank,case_id,previous_rank,places",
        "1,B,2,1",
        "2,A,1,-1",
        "3,C,,",
    ]


def test_the_project_s_ranking_is_what_the_next_is_compared_with(
    tmp_path: Path,
) -> None:
    archive, output = FolderArchive(tmp_path), tmp_path / "out"
    first, maps = pool(["S1", "S2", "S3", "S4"])
    assert change_since(archive, first) is None
    keep_ranking(archive, RankOutcome(first, maps, {}), output)
    assert change_since(archive, first) is None
    assert not (output / CHANGE_FILE).exists()
    then = replace(first, picks=first.picks[::-1])
    keep_ranking(archive, RankOutcome(then, maps, {}), output)
    told = rank_change(then, first).to_csv().encode()
    assert (
        archive.read(None, CHANGE_FILE) == told == (output / CHANGE_FILE).read_bytes()
    )


def test_a_damaged_ranking_ends_no_ranking(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path)
    archive.write(None, "ranking.json", b"\xff{")
    assert change_since(archive, ranking("ABC")) is None
