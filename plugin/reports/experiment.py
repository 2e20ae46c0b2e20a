"""What a study looks like: its verdicts first, then the table, effects and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.comparison import headline_test
from model.statistics import Interval
from model.study import COMMON, Study
from model.study_files import Document
from model.table import Row
from model.verdict import LEAST_SEEDS, Comparison, luck_of, p_text, signed
from plugin.reports.page import (
    SYNTHETIC,
    Cell,
    Column,
    Fact,
    Page,
    Section,
    Table,
    write_page,
)
from plugin.reports.study_charts import (
    TEST_NAMES,
    carbon,
    coverage,
    curves,
    distributions,
    predictions,
    watt_hours,
)

TEST_SETS_TEXT = (
    "Two test sets. The paper tests each model on the cases that its selection left "
    "over. These sets differ: a strategy that selects odd cases is tested on easy "
    "ones, and at a larger share fewer and other cases are left, so a number may move "
    "although the network did not. The common test set was kept out of every selection "
    "and is the same for all rows; verdicts rest on it where there is one, and on the "
    "patients that both sides were tested on."
)
COMPARED_TEXT = (
    "Differences are ours minus the baseline's, with 95 % bootstrap intervals over "
    "patients. P values are of the Wilcoxon signed-rank test on patients, corrected "
    "(Holm) over all rows with the same baseline; better or worse is said where mean "
    "and ranks agree. Seeds and folds that one side was not trained with are left out. "
    "P values speak of other patients, not of other trainings: for these see how many "
    "seeds agree. Minutes are estimated from "
    "the slices with breast; minutes saved are read off the learning curve at the "
    "baseline's Dice."
)
SHOWN = (
    ("IoU", "iou", 4),
    ("precision", "precision", 4),
    ("recall", "recall", 4),
    ("HD, px", "hausdorff_px", 1),
    ("HD95, mm", "hd95_mm", 1),
)
TABLE_COLUMNS = (
    Column("strategy", "name"),
    Column("patients", "number"),
    Column("trainings", "number"),
    Column("Dice, 95 % interval", "number"),
    *(Column(name, "number") for name, _, _ in SHOWN),
    Column("folds' vote", "number"),
    Column("Wh", "number"),
    Column("minutes", "number"),
)
COMPARISON_COLUMNS = (
    Column("strategy", "name"),
    Column("share", "number"),
    Column("against", "name"),
    Column("Dice", "number"),
    Column("p, Holm", "number"),
    Column("effect", "number"),
    Column("seeds", "number"),
    Column("HD95, mm", "number"),
    Column("Wh", "number"),
    Column("minutes saved", "number"),
)


@dataclass(frozen=True, slots=True, eq=False)
class StudyFindings:
    """All that a study found."""

    study: Study
    document: Document
    rows: Sequence[Row]
    comparisons: Sequence[Comparison]
    predictions: Mapping[str, bytes] = field(default_factory=dict)
    """Title -> PNG of predictions over slices."""
    failures: Mapping[str, str] = field(default_factory=dict)


def experiment_report(findings: StudyFindings, *, path: Path) -> None:
    """Write a study's verdicts, table, effects, figures and how it was done."""
    page = Page(
        title="Experiment",
        verdict=study_verdict(findings),
        detail=study_detail(findings),
        sections=study_sections(findings),
        banner=SYNTHETIC if findings.document.data.startswith("synthetic") else "",
    )
    write_page(page, path)


def study_verdict(findings: StudyFindings) -> str:
    """Return the study in one sentence."""
    judged = headline(findings)
    if not findings.study.results:
        return "No training is finished."
    if not findings.rows:
        return "Nobody was left to test on: give smaller proportions."
    if not judged:
        return "There is no baseline to compare with: add the strategy random."
    named = judged[0].baseline
    better = [one for one in judged if one.verdict == "better"]
    worse = [one for one in judged if one.verdict == "worse"]
    if all(one.verdict in ("unknown", "same") for one in judged):
        return f"Too few test patients to tell any strategy from {named}."
    luck = _luck(judged)
    if not better and not worse:
        return f"No strategy is distinguishable from {named} here{luck}."
    parts = [
        f"{word} than {named}: {', '.join(_where(one) for one in some)}"
        for word, some in (("better", better), ("worse", worse))
        if some
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}; the others are not distinguishable{luck}."


def _luck(judged: Sequence[Comparison]) -> str:
    """Return what few seeds leave open, in parentheses; empty with enough."""
    luck = luck_of(min(one.seeds for one in judged))
    needed = f"at least {LEAST_SEEDS} are needed to tell"
    return f" ({luck}, {needed})" if luck else ""


def headline(findings: StudyFindings) -> list[Comparison]:
    """Return the comparisons that verdicts rest on: the first baseline's."""
    test = headline_test(findings.study)
    judged = [one for one in findings.comparisons if one.test == test]
    return [one for one in judged if one.baseline == judged[0].baseline]


def study_detail(findings: StudyFindings) -> str:
    """Return how complete the study is, and what it was computed with."""
    document, study = findings.document, findings.study
    trained = len({result.record.key for result in study.results})
    parts = [f"{trained} trainings on {document.engine}."]
    if study.missing:
        why = {"hours": "its hours", "carbon": "its carbon limit"}
        limit = why.get(document.stopped_by, "an interruption")
        parts.append(f"Incomplete: {study.missing} are missing, stopped by {limit}.")
    return " ".join(parts)


def study_sections(findings: StudyFindings) -> list[Section]:
    """Return all sections that have something to show."""
    if not findings.rows:
        return [_method(findings)]
    test = headline_test(findings.study)
    return [
        _verdicts(findings),
        *(
            _table([row for row in findings.rows if row.test == shown], shown)
            for shown in dict.fromkeys(row.test for row in findings.rows)
        ),
        *_effects(findings),
        curves([row for row in findings.rows if row.test == test]),
        distributions(findings.study, test),
        carbon(findings.study, [row for row in findings.rows if row.test == test]),
        coverage(findings.study, findings.document.candidates, findings.rows),
        *predictions(findings.predictions),
        _method(findings),
    ]


def _where(one: Comparison) -> str:
    return f"{one.strategy} at {one.proportion:.0%}"


def _verdicts(findings: StudyFindings) -> Section:
    test = headline_test(findings.study)
    judged = [one for one in findings.comparisons if one.test == test]
    table = None
    if judged:
        rows = [[Cell(one.sentence())] for one in judged]
        columns = (Column("verdict", "prose"),)
        table = Table(f"On {TEST_NAMES[test]}", columns, rows)
    return Section("verdicts", "Verdicts", text=TEST_SETS_TEXT, table=table)


def _table(rows: Sequence[Row], test: str) -> Section:
    breaks: dict[int, str] = {}
    for at, row in enumerate(rows):
        if at == len(rows) - 1 or rows[at + 1].proportion != row.proportion:
            breaks[at + 1] = f"above: {row.proportion:.0%} of the pool's patients"
    caption = (
        f"Mean over slices with breast, on {TEST_NAMES[test]}. Folds' vote: volumetric "
        "Dice of their majority. Wh: of one training. Minutes: estimated, to annotate"
    )
    table = Table(caption, TABLE_COLUMNS, [_row(row) for row in rows], breaks)
    title = "Table 2, common test set" if test == COMMON else "Table 2, as in the paper"
    return Section(f"table-{test}", title, table=table)


def _row(row: Row) -> list[Cell]:
    return [
        Cell(row.strategy),
        Cell(str(row.patients)),
        Cell(str(row.cells)),
        Cell(_spread(row.metrics["dice"])),
        *(Cell(f"{row.metrics[name].mean:.{digits}f}") for _, name, digits in SHOWN),
        Cell("none" if row.vote_dice is None else f"{row.vote_dice:.4f}"),
        Cell(watt_hours(row.energy_kwh)),
        Cell(f"{row.annotation_minutes:.0f}"),
    ]


def _spread(found: Interval) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.4f}"
    return f"{found.mean:.4f} ({found.low:.4f}-{found.high:.4f})"


def _effects(findings: StudyFindings) -> list[Section]:
    test = headline_test(findings.study)
    shown = [one for one in findings.comparisons if one.test == test]
    if not shown:
        return []
    table = Table(
        f"On {TEST_NAMES[test]}", COMPARISON_COLUMNS, list(map(_effect, shown))
    )
    return [Section("effects", "Against chance", text=COMPARED_TEXT, table=table)]


def _effect(one: Comparison) -> list[Cell]:
    saved = "never" if one.minutes_saved is None else f"{one.minutes_saved:+.0f}"
    effect = "none" if one.rank_biserial is None else f"{one.rank_biserial:+.2f}"
    return [
        Cell(one.strategy),
        Cell(f"{one.proportion:.0%}"),
        Cell(one.baseline),
        Cell(signed(one.dice)),
        Cell(p_text(one.p_holm)),
        Cell(effect),
        Cell(f"{one.seeds_better} of {one.seeds}"),
        Cell(signed(one.hd95_mm, digits=1)),
        Cell(watt_hours(one.energy_kwh, "+")),
        Cell(saved),
    ]


def _method(findings: StudyFindings) -> Section:
    document = findings.document
    design, config = document.design, document.design.config
    alone = design.only_fold
    facts = (
        Fact("Cases", str(len(document.candidates)), f"{len(document.common)} common"),
        Fact("Strategies", ", ".join(design.strategies)),
        Fact("Shares", ", ".join(f"{share:.0%}" for share in design.proportions)),
        Fact("Seeds", ", ".join(map(str, design.seeds))),
        Fact("Folds", str(config.folds) if alone is None else f"{alone} alone"),
        Fact("Grid", f"{config.grid_px} px", f"at most {config.epochs} epochs"),
        Fact("Features from", document.features),
        Fact("Begins with", design.weights_sha256[:12] or "nothing", "weights"),
        Fact("Data", document.data),
        Fact("Assumed", f"{document.minutes_per_slice:g} min", "to draw one slice"),
        Fact("Computed by", document.engine, f"brs {document.version}"),
    )
    left_out = "; ".join(f"{k}: {v}" for k, v in sorted(findings.failures.items()))
    text = "experiment.json holds the design and replays the study."
    if left_out:
        text += f" Left out: {left_out}"
    return Section("method", "How it was done", text=text, facts=facts)
