"""What an evaluation looks like: the headline with its unit, spread and worst cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from model.evaluate import CaseScore, Distribution, Origin, Scores, SliceScore, Summary
from model.figures import FEW, metric_distributions
from plugin.reports.page import Cell, Chart, Column, Fact, Picture, Section, Table

METRICS = (
    ("Dice", "dice", 3),
    ("IoU", "iou", 3),
    ("precision", "precision", 3),
    ("recall", "recall", 3),
    ("Hausdorff, mm", "hausdorff_mm", 1),
    ("HD95, mm", "hd95_mm", 1),
    ("Hausdorff, px", "hausdorff_px", 1),
    ("HD95, px", "hd95_px", 1),
)
SUMMARY_COLUMNS = (
    Column("metric", "name"),
    Column("slices, mean ± SD", "number"),
    Column("slices, median", "number"),
    Column("cases, mean ± SD", "number"),
    Column("cases, median", "number"),
)
CASE_COLUMNS = (
    Column("session", "name"),
    Column("Dice", "number"),
    Column("IoU", "number"),
    Column("precision", "number"),
    Column("recall", "number"),
    Column("HD95, mm", "number"),
    Column("reference, ml", "number"),
    Column("predicted, ml", "number"),
)
NONE = "none"
BOX = "box: quartiles and median; line: 5th to 95th percentile; dots: beyond"
EACH_VALUE = "dots: every value; bar: median"
CONTOURS = (
    "Slices from feet to head over the mask's extent, patient right on the left. Blue "
    "is the right breast, orange the left one."
)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The scores of some sessions, their summary, and why others have none."""

    slices: Sequence[SliceScore]
    cases: Sequence[CaseScore]
    summary: Summary
    failures: Mapping[str, str] = field(default_factory=dict)


def evaluation_verdict(found: Evaluated, *, of: str = "case") -> str:
    """Return the evaluation in one sentence, its unit named."""
    dice = found.summary.cases.dice
    if dice is None:
        return "No session could be measured."
    if dice.count == 1:
        return f"Dice {dice.mean:.3f} on one {of}."
    return (
        f"Mean Dice {dice.mean:.3f} over {dice.count} {of}s, "
        f"{dice.minimum:.3f} on the worst."
    )


def origin_text(origin: Origin) -> str:
    """Return what the scores were measured on and computed with."""
    return f"Data: {origin.data}. Engine: {origin.engine}, {origin.precision}."


def evaluation_sections(found: Evaluated) -> list[Section]:
    """Return the summary with its distributions, then every case, worst first."""
    return [_summary(found), *_cases(found.cases)]


def mask_section(
    previews: Mapping[str, bytes], verdicts: Mapping[str, str]
) -> list[Section]:
    """Return the preview of every segmented session with its QC verdict."""
    if not previews:
        return []
    pictures = [
        Picture(
            png=png,
            title=session_id,
            alt=f"Slices of {session_id} with the contours of both breast masks.",
            note=verdicts.get(session_id, ""),
        )
        for session_id, png in previews.items()
    ]
    return [Section("masks", "Masks over images", text=CONTOURS, pictures=pictures)]


def _summary(found: Evaluated) -> Section:
    positive = [score for score in found.slices if score.reference_px > 0]
    return Section(
        "metrics",
        "Metrics",
        text="Slices are those with breast in the reference; cases are whole volumes.",
        facts=_counts(found.summary),
        table=_summary_table(found.summary),
        charts=(
            _chart(positive, "slice", found.summary.slices),
            _chart(found.cases, "case", found.summary.cases),
        ),
    )


def _counts(summary: Summary) -> list[Fact]:
    counts = summary.counts
    headline = summary.slices.dice
    mean = NONE if headline is None else f"{headline.mean:.3f}"
    return [
        Fact("Mean Dice per slice", mean, "slices with breast in the reference"),
        Fact("Slices", str(counts.slices), f"{counts.reference_positive} with breast"),
        Fact("Missed slices", str(counts.missed), "breast there, none predicted"),
        Fact("Invented slices", str(counts.invented), "no breast, some predicted"),
        Fact("Empty in both", str(counts.both_empty), "not in the slice means"),
    ]


def _summary_table(summary: Summary) -> Table:
    rows = []
    for name, attribute, digits in METRICS:
        of_slices = getattr(summary.slices, attribute)
        of_cases = getattr(summary.cases, attribute)
        if of_slices is None and of_cases is None:
            continue
        cells = [*_spread(of_slices, digits), *_spread(of_cases, digits)]
        rows.append([Cell(name), *cells])
    return Table("Mean, spread and median of every metric", SUMMARY_COLUMNS, rows)


def _spread(values: Distribution | None, digits: int) -> list[Cell]:
    if values is None:
        return [Cell(NONE), Cell(NONE)]
    mean = f"{values.mean:.{digits}f} ± {values.sd:.{digits}f}"
    return [Cell(mean), Cell(f"{values.median:.{digits}f}")]


def _chart(
    scores: Sequence[SliceScore] | Sequence[CaseScore], unit: str, spread: Scores
) -> Chart:
    alt = f"No {unit} was scored."
    if spread.dice is not None:
        dice = spread.dice
        alt = (
            f"Distribution of the metrics over {dice.count} {unit}s: Dice from "
            f"{dice.minimum:.3f} to {dice.maximum:.3f}, median {dice.median:.3f}."
        )
    return Chart(
        metric_distributions(scores, unit=unit),
        f"Per {unit}",
        alt,
        EACH_VALUE if len(scores) < FEW else BOX,
    )


def _cases(cases: Sequence[CaseScore]) -> list[Section]:
    if not cases:
        return []
    ranked = sorted(cases, key=lambda case: (case.dice, case.case_id))
    table = Table(
        "Whole volumes, the worst first", CASE_COLUMNS, list(map(_row, ranked))
    )
    return [Section("cases", "Every case", table=table)]


def _row(case: CaseScore) -> list[Cell]:
    scores = (case.dice, case.iou, case.precision, case.recall)
    return [
        Cell(case.case_id),
        *(Cell(f"{score:.3f}") for score in scores),
        Cell(NONE if case.hd95_mm is None else f"{case.hd95_mm:.1f}"),
        Cell(f"{case.reference_ml:.0f}"),
        Cell(f"{case.predicted_ml:.0f}"),
    ]
