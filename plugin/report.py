"""The reports of ``brs``: a ranking, a training, an evaluation, the demo.

Each is one self-contained HTML file, written whole, equal for equal inputs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from model.rank_change import RankChange
from model.ranking import Ranking
from plugin.reports.evaluation import (
    Evaluated,
    evaluation_sections,
    evaluation_verdict,
    mask_section,
    origin_text,
)
from plugin.reports.maps import Overlays
from plugin.reports.page import SYNTHETIC, Page, Section, write_page
from plugin.reports.rank_change import change_section
from plugin.reports.ranking import (
    detail,
    failure_section,
    first_picks,
    ranking_sections,
    verdict,
)
from plugin.reports.training import TrainedFold, training_sections, training_verdict

DEMO_TITLES = {
    "order": "What was ranked, and why",
    "metrics": "Metrics on unseen cases",
    "cases": "Every unseen case",
}


@dataclass(frozen=True, slots=True, eq=False)
class DemoFindings:
    """All that ``brs demo`` found, step by step."""

    ranking: Ranking
    overlays: Overlays
    annotated: int
    """How many sessions from the top of the ranking were annotated."""
    folds: Sequence[TrainedFold]
    evaluated: Evaluated
    result: Mapping[str, Any]
    """The line of JSON that the command prints."""
    previews: Mapping[str, bytes] = field(default_factory=dict)
    """Session -> PNG of its mask over its images."""
    verdicts: Mapping[str, str] = field(default_factory=dict)
    """Session -> QC verdict with its reasons."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Session -> why it was not ranked or segmented."""


def ranking_report(
    ranking: Ranking | None,
    overlays: Overlays,
    *,
    failures: Mapping[str, str],
    path: Path,
    change: RankChange | None = None,
) -> None:
    """Write the ranked list with reasons, BAG histograms and overlay maps.

    ``failures`` maps each session that was left out to its reason; ``ranking`` is None
    when no session could be measured; ``change`` is that since the ranking before.
    """
    sections = ranking_sections(ranking, overlays, failures)
    if change is not None:
        sections.insert(1, change_section(change, first_picks(ranking)))
    page = Page(
        title="Annotation ranking",
        verdict=verdict(ranking),
        detail=detail(ranking, failures),
        sections=sections,
    )
    write_page(page, path)


def training_report(folds: Sequence[TrainedFold], *, path: Path) -> None:
    """Write learning curves, one row per fold, energy and carbon footprint."""
    page = Page(
        title="Training",
        verdict=training_verdict(folds),
        sections=training_sections(folds),
    )
    write_page(page, path)


def evaluation_report(
    found: Evaluated, *, path: Path, previews: Mapping[str, bytes] | None = None
) -> None:
    """Write the metrics, every case and, where given, the masks over the images."""
    sections = [*evaluation_sections(found), *mask_section(previews or {}, {})]
    if found.failures:
        sections.insert(0, failure_section(found.failures, title="Not measured"))
    page = Page(
        title="Evaluation",
        verdict=evaluation_verdict(found),
        detail=origin_text(found.summary.origin),
        sections=sections,
    )
    write_page(page, path)


def demo_report(path: Path, findings: DemoFindings) -> None:
    """Write the whole loop: ranking, training, masks, metrics, and the JSON line."""
    training = f"Training: {training_verdict(findings.folds)}"
    page = Page(
        title="Demo on a synthetic cohort",
        verdict=_demo_verdict(findings),
        detail=f"{training} {origin_text(findings.evaluated.summary.origin)}",
        sections=_demo_sections(findings),
        banner=SYNTHETIC,
    )
    write_page(page, path)


def _demo_verdict(findings: DemoFindings) -> str:
    total = len(findings.ranking.picks) + len(findings.failures)
    measured = evaluation_verdict(findings.evaluated, of="unseen case")
    return f"{findings.annotated} of {total} cases were annotated. {measured}"


def _demo_sections(findings: DemoFindings) -> list[Section]:
    failures = {**findings.failures, **findings.evaluated.failures}
    ranked = ranking_sections(
        findings.ranking, findings.overlays, {}, first=findings.annotated
    )
    sections = [
        *ranked,
        *training_sections(findings.folds),
        *mask_section(findings.previews, findings.verdicts),
        *evaluation_sections(findings.evaluated),
    ]
    if failures:
        sections.append(failure_section(failures, title="Left out"))
    line = json.dumps(dict(findings.result), indent=2)
    sections.append(Section("result", "Result as JSON", code=line))
    return [
        replace(part, title=DEMO_TITLES.get(part.key, part.title)) for part in sections
    ]
