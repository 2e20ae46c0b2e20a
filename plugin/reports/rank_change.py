"""What a report tells of an order that follows another one."""

from model.rank_change import Move, RankChange
from plugin.reports.page import Cell, Column, Fact, Section, Table
from plugin.reports.ranking import measured_on

MOST_MOVED = 10
COLUMNS = (
    Column("session", "name"),
    Column("rank", "number"),
    Column("before", "number"),
    Column("places earlier", "number"),
)


def change_section(change: RankChange, first: int) -> Section:
    """Return how far the order agrees with the one before, and who moved most."""
    before, agreement = change.before, change.spearman
    told = "unknown" if agreement is None else f"{agreement:.2f}"
    facts = (
        Fact("Spearman", told, "1 is the same order"),
        Fact("Stayed among the first", f"{change.kept(first)} of {first}"),
    )
    rows = [
        [Cell(m.case_id), Cell(str(m.rank)), Cell(_place(m.before)), Cell(_moved(m))]
        for m in sorted(change.moves, key=_distance, reverse=True)[:MOST_MOVED]
    ]
    table = Table("Who moved most; all are in rank_change.csv", COLUMNS, rows)
    text = f"It was by strategy {before.strategy}, measured on {measured_on(before)}."
    title = "Since the ranking before"
    return Section("change", title, text=text, facts=facts, table=table)


def _place(rank: int | None) -> str:
    return "not ranked" if rank is None else str(rank)


def _moved(move: Move) -> str:
    return "new" if move.places is None else f"{move.places:+d}"


def _distance(move: Move) -> int:
    return abs(move.places or 0)
