"""What a ranking looks like to the people who will annotate: order, reasons, shapes."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from model.bag import BagFeatures
from model.histograms import breast_size_histogram, nearest_point_histogram
from model.ranking import Candidate, Pick, Ranking
from model.selection import training_count
from plugin.reports.maps import Overlays, map_section
from plugin.reports.page import Cell, Chart, Column, Fact, Section, Table

PROPORTIONS = (0.1, 0.2, 0.3, 0.4)
"""The paper's shares of the patients, 3.1."""
ADVISED = 0.3
"""The share that the paper recommends to annotate."""
LOW_CONFIDENCE = 0.5
SOURCES = {
    "boundary": "the body's boundary, without any model",
    "checkpoint": "a network's masks",
    "annotation": "annotations",
}
FAILURE_COLUMNS = (Column("session", "name"), Column("reason", "prose"))

CellOf = Callable[[Pick, Candidate], Cell]


def first_picks(ranking: Ranking | None) -> int:
    """Return how many sessions the paper would have annotated first."""
    if ranking is None or not ranking.picks:
        return 0
    return training_count(_patients(ranking), ADVISED)


def verdict(ranking: Ranking | None) -> str:
    """Return the ranking in one sentence."""
    first = first_picks(ranking)
    if ranking is None or not first:
        return "No session could be ranked."
    total = len(ranking.picks)
    if total == 1:
        return "Annotate the only session."
    if first == total:
        return f"Annotate all {total} sessions: the pool is too small to choose from."
    return f"Annotate the first {first} of {total} sessions."


def detail(ranking: Ranking | None, failures: Mapping[str, str]) -> str:
    """Return why so many, and how many are missing."""
    missing = _missing(len(failures))
    if ranking is None or not ranking.picks:
        return missing
    patients, first = _patients(ranking), first_picks(ranking)
    why = f"{ADVISED:.0%} of {patients} patients"
    if first > round(ADVISED * patients):
        why = f"{first} patients are the fewest that cross-validation by patient uses"
    return f"{why[0].upper()}{why[1:]}. {missing}".strip()


def ranking_sections(
    ranking: Ranking | None,
    overlays: Overlays,
    failures: Mapping[str, str],
    *,
    first: int | None = None,
) -> list[Section]:
    """Return the ranked table, what was left out, histograms, maps and the method.

    ``first`` sessions were annotated; None marks what the paper would have annotated.
    """
    sections = [failure_section(failures)] if failures else []
    if ranking is None or not ranking.picks:
        return sections
    return [
        _order(ranking, first),
        *sections,
        distribution_section(ranking, first_picks(ranking) if first is None else first),
        *map_section(ranking, overlays),
        _method(ranking),
    ]


def failure_section(
    failures: Mapping[str, str], *, title: str = "Not ranked"
) -> Section:
    """Return every session that was left out, with its reason."""
    rows = [[Cell(session), Cell(why)] for session, why in sorted(failures.items())]
    count = f"{len(failures)} session{'s' * (len(failures) > 1)}"
    table = Table(f"{count} left out", FAILURE_COLUMNS, rows)
    return Section("failures", title, table=table)


def measured_on(ranking: Ranking) -> str:
    """Return in words what the pool's features were measured on."""
    sources = sorted({candidate.features.source for candidate in ranking.candidates})
    return " and ".join(SOURCES.get(source, source) for source in sources)


def _order(ranking: Ranking, annotated: int | None) -> Section:
    text = (
        "From the top down; stop after any row, and nothing annotated is wasted when "
        "work goes on. A dot shows where a session lies between the pool's smallest "
        "and largest value."
    )
    ends = _breaks(_patients(ranking), len(ranking.picks))
    if annotated is not None:
        ends = {annotated: f"The {annotated} sessions above were annotated."}
    table = _table(ranking, ends)
    return Section("order", "Order of annotation", text=text, table=table)


def _table(ranking: Ranking, ends: Mapping[int, str]) -> Table:
    by_id = {candidate.case_id: candidate for candidate in ranking.candidates}
    columns = _columns(ranking)
    rows = [
        [columns[c](pick, by_id[pick.case_id]) for c in columns]
        for pick in ranking.picks
    ]
    by = f"{len(ranking.picks)} sessions by strategy {ranking.strategy}"
    measured = measured_on(ranking)
    return Table(
        f"{by}; measured on {measured}",
        tuple(columns),
        rows,
        ends,
    )


def _columns(ranking: Ranking) -> dict[Column, CellOf]:
    """Return how each column's cells are made; columns that tell nothing are left out.

    Patient keys are shown where a patient has several sessions, mask sources where
    they differ.
    """
    rows = [candidate.features for candidate in ranking.candidates]
    place = places(rows)
    columns: dict[Column, CellOf] = {
        Column("rank"): lambda pick, _: Cell(str(pick.rank)),
        Column("session", "name"): lambda pick, _: Cell(pick.case_id),
    }
    if _patients(ranking) < len(ranking.picks):
        columns[Column("patient key")] = lambda _, of: Cell(of.patient_key)
    columns |= {
        Column("why this one next", "prose"): lambda pick, _: Cell(pick.reason),
        Column("nearest point, mm", "number"): lambda _, of: Cell(
            f"{of.features.nearest_point_mm:.0f}", place(of.features)[0]
        ),
        Column("breast size, mm", "number"): lambda _, of: Cell(
            f"{of.features.breast_size_mm:.0f}", place(of.features)[1]
        ),
        Column("volume, ml", "number"): lambda _, of: Cell(
            f"{of.features.volume_ml:.0f}"
        ),
    }
    if len({row.source for row in rows}) > 1:
        columns[Column("mask from")] = lambda _, of: Cell(of.features.source)
    columns[Column("confidence", "number")] = lambda _, of: _trust(of.features)
    return columns


def _trust(features: BagFeatures) -> Cell:
    low = "low " if features.confidence < LOW_CONFIDENCE else ""
    return Cell(f"{low}{features.confidence:.2f}")


def places(pool: Sequence[BagFeatures]) -> Callable[[BagFeatures], tuple[float, float]]:
    """Return what places a session between the pool's ends, 0 to 1.

    By nearest point and by breast size; in the middle where all are equal.
    """
    nearest = _range([row.nearest_point_mm for row in pool])
    size = _range([row.breast_size_mm for row in pool])
    return lambda of: (
        _between(of.nearest_point_mm, nearest),
        _between(of.breast_size_mm, size),
    )


def _between(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return (value - low) / (high - low) if high > low else 0.5


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _breaks(patients: int, sessions: int) -> dict[int, str]:
    """Return a line after each of the paper's proportions, joined where they agree."""
    shares: dict[int, list[str]] = {}
    for share in PROPORTIONS:
        shares.setdefault(training_count(patients, share), []).append(f"{share:.0%}")
    return {
        count: f"{_joined(names)} of the patients: {count} of {sessions} sessions"
        for count, names in shares.items()
        if count < sessions
    }


def _joined(shares: Sequence[str]) -> str:
    return shares[0] if len(shares) == 1 else f"{shares[0]} to {shares[-1]}"


def distribution_section(ranking: Ranking, first: int) -> Section:
    """Return both BAG histograms, the first picks drawn darker."""
    features = [candidate.features for candidate in ranking.candidates]
    early = {pick.case_id for pick in ranking.picks[:first]}
    picked = [candidate.case_id in early for candidate in ranking.candidates]
    return Section(
        "distribution",
        "The pool and its first picks",
        charts=(
            Chart(
                nearest_point_histogram(features, picked=picked),
                "Nearest point",
                _alt("nearest point", [row.nearest_point_px for row in features]),
                f"from the image's anterior edge, {_scale(features)}",
            ),
            Chart(
                breast_size_histogram(features, picked=picked),
                "Breast size",
                _alt("breast size", [row.breast_size_px for row in features]),
                f"from front to back of the overlay, {_scale(features)}",
            ),
        ),
    )


def _alt(feature: str, values_px: Sequence[int]) -> str:
    return (
        f"Histogram of the {feature} of {len(values_px)} sessions: "
        f"{min(values_px)} to {max(values_px)} px, median {np.median(values_px):g} px; "
        "the first picks are drawn darker."
    )


def _scale(features: Sequence[BagFeatures]) -> str:
    grid = " or ".join(str(px) for px in sorted({row.grid_px for row in features}))
    low, high = _range([row.mm_per_px for row in features])
    scale = f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
    return f"px of the {grid} grid, {scale} mm per px"


def _method(ranking: Ranking) -> Section:
    rules = {candidate.features.rule for candidate in ranking.candidates}
    touch = " or ".join(
        f"{rule.min_px} px in {rule.min_slices} slices"
        for rule in sorted(rules, key=lambda rule: (rule.min_px, rule.min_slices))
    )
    facts = (
        Fact("Strategy", ranking.strategy),
        Fact("Seed", str(ranking.seed)),
        Fact("Patients", str(_patients(ranking))),
        Fact("A row counts when breast fills", touch),
        Fact("Ranked by", ranking.engine, f"brs {ranking.version}"),
    )
    text = (
        "ranking.json holds every feature and replays this order exactly. Geometry "
        "strategies pick the session that brings the whole pool closest to a pick; "
        "the reason names the sessions that it stands for."
    )
    return Section("method", "How it was ranked", text=text, facts=facts)


def _patients(ranking: Ranking) -> int:
    return len({candidate.patient_key for candidate in ranking.candidates})


def _missing(count: int) -> str:
    if not count:
        return ""
    was = "session was" if count == 1 else "sessions were"
    return f"{count} {was} left out; each reason is below."
