"""The charts of a study's report, each with what it shows in words."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from model.histograms import breast_size_histogram, nearest_point_histogram
from model.ranking import Candidate
from model.study import COMMON, UNSELECTED, Study, groups
from model.study_figures import (
    carbon_distributions,
    coverage_panels,
    dice_per_carbon,
    learning_curves,
    score_distributions,
    selected_first,
)
from model.table import Row
from plugin.reports.page import Chart, Picture, Section

UNKNOWN = "unknown"
TEST_NAMES = {
    COMMON: "the common test set, the same cases for all",
    UNSELECTED: "the cases that each selection left over, as in the paper",
}
DISTRIBUTIONS = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "Precision",
    "recall": "Recall",
    "hausdorff_px": "Hausdorff distance, px",
}


def curves(rows: Sequence[Row]) -> Section:
    """Return the learning curves of one test set."""
    ends = [
        f"{row.strategy} {row.metrics['dice'].mean:.3f} with {row.patients} patients"
        for row in rows
    ]
    chart = Chart(
        learning_curves(rows),
        "Dice by annotated patients",
        f"Learning curves: {'; '.join(ends)}.",
        "band: 95 % interval over patients; grey: chance",
    )
    return Section("curves", "Learning curves", charts=[chart])


def distributions(study: Study, test: str) -> Section:
    """Return the distribution of every metric on one test set."""
    names = ", ".join(f"{name} at {share:.0%}" for share, name in groups(study))
    charts = [
        Chart(
            score_distributions(study, metric, test),
            title,
            f"Distribution of {title} over slices for {names}.",
            "box: quartiles and median; line: 5th to 95th percentile; dots: beyond",
        )
        for metric, title in DISTRIBUTIONS.items()
    ]
    text = f"Over slices with breast, on {TEST_NAMES[test]}."
    return Section("distributions", "Distributions", text=text, charts=charts)


def carbon(study: Study, rows: Sequence[Row]) -> Section:
    """Return what trainings emitted, and the Dice that it bought."""
    said = "; ".join(
        f"{row.strategy} at {row.proportion:.0%} {watt_hours(row.energy_kwh)} Wh"
        for row in rows
    )
    unknown = [
        f"{row.strategy} at {row.proportion:.0%}" for row in rows if row.cfp_kg is None
    ]
    unmeasured = [f"unknown, so not drawn: {', '.join(unknown)}"] if unknown else []
    charts = [
        Chart(
            carbon_distributions(study),
            "Footprint of a training",
            f"Carbon footprint by proportion and strategy: {said}.",
            "g CO₂ a training, one value a fold and seed",
        ),
        Chart(
            dice_per_carbon(rows),
            "What a gram buys",
            f"Dice over the footprint of a training: {said}.",
            "; ".join(["a point a proportion", *unmeasured]),
        ),
    ]
    return Section("carbon", "Energy and carbon footprint", charts=charts)


def coverage(
    study: Study, candidates: Sequence[Candidate], rows: Sequence[Row]
) -> Section:
    """Return what each strategy covers of the BAG plane, and the BAG histograms."""
    share = _widest(study)
    features = [candidate.features for candidate in candidates]
    gaps = "; ".join(
        f"{row.strategy} {row.bag_gap:.2f}"
        for row in rows
        if row.proportion == share and row.test == rows[0].test
    )
    text = (
        f"Mean distance of the pool to the nearest selected case at {share:.0%}, in "
        f"robust standard deviations of both features: {gaps}."
    )
    plots: list[tuple[Figure, str, str]] = [
        (
            coverage_panels(study.pool, selected_first(study, share)),
            "The BAG plane",
            f"Nearest point and breast size of the pool, selected at {share:.0%}.",
        ),
        (nearest_point_histogram(features), "Nearest point", "Histogram of all cases."),
        (breast_size_histogram(features), "Breast size", "Histogram of all cases."),
    ]
    charts = [Chart(figure, title, alt) for figure, title, alt in plots]
    return Section("coverage", "Coverage of the anatomy", text=text, charts=charts)


def _widest(study: Study) -> float:
    """Return the largest share that as many strategies as any were trained at."""
    trained: defaultdict[float, set[str]] = defaultdict(set)
    for result in study.results:
        trained[result.proportion].add(result.strategy)
    return max(trained, key=lambda share: (len(trained[share]), share))


def predictions(pictures: Mapping[str, bytes]) -> list[Section]:
    """Return the pictures of predictions over slices, by their titles."""
    if not pictures:
        return []
    shown = [
        Picture(png, title, f"Slices with both contours: {title}.")
        for title, png in pictures.items()
    ]
    text = (
        "The case whose Dice is the median of all results at that share; the first "
        "fold and seed. Blue is the annotation, orange the prediction; patient right "
        "on the left, slices from feet to head."
    )
    return [Section("predictions", "Predictions", text=text, pictures=shown)]


def watt_hours(energy_kwh: float | None, sign: str = "") -> str:
    """Return an energy in Wh, or ``unknown``."""
    return UNKNOWN if energy_kwh is None else f"{1000 * energy_kwh:{sign}.3g}"
