"""The study over an archive: strategies compared on its annotated sessions."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from model.atomic import write_atomically
from model.carbon import WORLD_KG_PER_KWH, write_carbon_csv
from model.cell import Lab, fcn
from model.cell_store import CellStore
from model.chart import png
from model.comparison import comparisons
from model.dataset import CaseStore
from model.engine import Engine
from model.estimate import Estimate, Pace, estimate, measure_pace, planned
from model.experiment import Design, Pool, pool_of
from model.grid import (
    Allowance,
    Grid,
    Runner,
    check_measured,
    one_by_one,
    run_grid,
)
from model.leakage import check_apart, check_start, members
from model.prediction_figures import prediction_rows
from model.ranking import Candidate
from model.results import read_study
from model.study import Study, groups
from model.study_files import (
    Document,
    cells_csv,
    comparisons_csv,
    scores_csv,
    table_csv,
)
from model.table import rows
from plugin.archive import Archive
from plugin.dce import DceRules
from plugin.errors import ConfigError
from plugin.gather import Gathered, gather
from plugin.rank import RankOptions, measure_pool
from plugin.reports.experiment import StudyFindings, experiment_report
from plugin.version import VERSION

logger = logging.getLogger(__name__)

BOUNDARY, ANNOTATION = "boundary", "annotation"
DOCUMENT_FILE = "experiment.json"


def here(question: Callable[..., Any], *arguments: Any) -> Any:
    """Return this process's own answer."""
    return question(*arguments)


@dataclass(frozen=True, slots=True, eq=False)
class ExperimentOptions:
    """What is studied, with what, and within which limits."""

    design: Design
    engine: Engine
    features: str = BOUNDARY
    data: str = "unknown"
    """What the sessions are: ``real``, or the phantom family."""
    minutes_per_slice: float = 0.5
    rules: DceRules = field(default_factory=DceRules)
    hours: float | None = None
    carbon_g: float | None = None
    factor_kg_per_kwh: float = WORLD_KG_PER_KWH
    runner: Runner = one_by_one
    ask: Callable[..., Any] = here
    """Asks one of the machines that will do it, how fast it is for instance."""
    network: Callable[[int], nn.Module] = fcn
    learned: frozenset[str] = frozenset()
    """Source keys of the cases that the networks know before they are trained."""
    alone: bool = True
    """No two cells run at once on one machine's processor."""
    replayed: Document | None = None
    """The study to do again; None does a new one."""


def run_experiment(
    archive: Archive, output: Path, work: Path, options: ExperimentOptions
) -> StudyFindings:
    """Train and test every cell that is not finished, then write tables and report.

    Run again with the same output it goes on; run when finished it writes the same
    tables.

    Raises
    ------
    LeakageError
        If two patients have the same images, which any split may part, or the weights
        to begin with learned from one of the cases.
    """
    bench = _prepared(archive, output, work, options)
    if options.carbon_g is not None:
        options.ask(check_measured, bench.lab)
    allowance = Allowance(options.hours, options.carbon_g)
    grid = run_grid(bench.pool, bench.design, bench.lab, options.runner, allowance)
    minutes = bench.document.minutes_per_slice
    study = read_study(grid, bench.pool, bench.lab, minutes_per_slice=minutes)
    return _write(study, grid, bench, output)


def plan_experiment(
    archive: Archive, output: Path, work: Path, options: ExperimentOptions
) -> Estimate:
    """Return what is left to do, from a short calibration on this machine."""
    bench = _prepared(archive, output, work, options)
    tasks = planned(bench.pool, bench.design, str(options.engine))
    pace: Pace = options.ask(measure_pace, bench.design.config, bench.lab)
    return estimate(tasks, pace, bench.lab)


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """The gathered cases, divided, and where their cells are."""

    pool: Pool
    design: Design
    lab: Lab
    document: Document
    failures: Mapping[str, str]


def _prepared(
    archive: Archive, output: Path, work: Path, options: ExperimentOptions
) -> _Bench:
    archive.prepare(None)
    output, work = output.resolve(), work.resolve()  # the same for every worker
    design = options.replayed.design if options.replayed else options.design
    _check_beginning(design, options.design)
    store = CaseStore(work / f"cases-{design.config.grid_px}")
    gathered = gather(
        archive, store, work, grid_px=design.config.grid_px, rules=options.rules
    )
    check_apart(members(gathered.infos, store))
    check_start(options.learned, gathered.infos)
    candidates, failures = _candidates(archive, work, gathered, options)
    infos = {info.case_id: info for info in gathered.infos}
    infos = {c.case_id: infos[c.case_id] for c in candidates}
    pool = pool_of(candidates, infos, design)
    document = Document(
        version=VERSION,
        design=design,
        engine=str(options.engine),
        features=options.features,
        data=options.data,
        minutes_per_slice=options.minutes_per_slice,
        factor_kg_per_kwh=options.factor_kg_per_kwh,
        candidates=tuple(candidates),
        sources={case: info.source_key for case, info in infos.items()},
        common=pool.common,
    )
    if options.replayed:
        document = _checked(options.replayed, document)
    lab = Lab(
        store=store,
        cells=CellStore(output / "cells"),
        engine=options.engine,
        network=options.network,
        alone=options.alone,
        factor_kg_per_kwh=document.factor_kg_per_kwh,
    )
    return _Bench(pool, design, lab, document, {**gathered.failures, **failures})


def _candidates(
    archive: Archive, work: Path, gathered: Gathered, options: ExperimentOptions
) -> tuple[list[Candidate], Mapping[str, str]]:
    """Return what strategies know of the annotated cases, and whom they cannot know."""
    ids = [info.case_id for info in gathered.infos]
    if options.replayed:
        known = [c for c in options.replayed.candidates if c.case_id in ids]
        return known, {}
    if options.features == BOUNDARY:
        measured = measure_pool(archive, ids, work, RankOptions(rules=options.rules))
        return list(measured.candidates), measured.failures
    return [
        Candidate(info.case_id, info.patient_key, gathered.features[info.case_id])
        for info in gathered.infos
        if info.case_id in gathered.features
    ], {}


def _check_beginning(wanted: Design, given: Design) -> None:
    """Refuse to do a study again from other weights than it began with."""
    if wanted.weights_sha256 != given.weights_sha256:
        raise ConfigError(
            "--replay",
            found=f"weights to begin with: {given.weights_sha256 or 'none'}",
            needed=wanted.weights_sha256
            or "none, since the study trained from nothing",
            mend="give the --checkpoint that the study was done with",
        )


def _checked(asked: Document, found: Document) -> Document:
    """Return the document to do again, by this version, if its cases are unchanged."""
    changed = [
        case
        for case, source in asked.sources.items()
        if found.sources.get(case) != source
    ]
    if changed or found.engine != asked.engine:
        raise ConfigError(
            "--replay",
            found=f"{len(changed)} cases that are gone or changed, and {found.engine}",
            needed=f"the same images and masks, and {asked.engine}",
            mend="restore the archive and the machine, or run a new study",
        )
    return replace(asked, version=found.version)


def _write(study: Study, grid: Grid, bench: _Bench, output: Path) -> StudyFindings:
    """Write every file of the study; return what the report shows."""
    document = replace(
        bench.document,
        rankings=tuple(sorted(grid.rankings)),
        cells=tuple(sorted({run.cell.key for run in grid.runs})),
        missing=grid.missing,
        stopped_by=grid.stopped_by,
    )
    findings = StudyFindings(
        study=study,
        document=document,
        rows=rows(study),
        comparisons=comparisons(study),
        predictions=_predictions(study, bench.lab),
        failures=bench.failures,
    )
    files = {
        DOCUMENT_FILE: document.to_json().encode(),
        "table.csv": table_csv(findings.rows),
        "comparisons.csv": comparisons_csv(findings.comparisons),
        "cells.csv": cells_csv(study),
        "scores.csv": scores_csv(study),
        "failures.json": json.dumps(dict(bench.failures), indent=1).encode(),
        **{
            f"rankings/{name}": ranking.to_json().encode()
            for name, ranking in grid.rankings.items()
        },
    }
    for name, data in files.items():
        write_atomically(output / name, data)
    footprints = {r.record.key: r.record.footprint for r in study.results}
    if footprints:
        write_carbon_csv(output / "carbon.csv", footprints)
    experiment_report(findings, path=output / "report.html")
    return findings


def _predictions(study: Study, lab: Lab) -> dict[str, bytes]:
    """Return a picture a proportion: the median case, a row a strategy."""
    pictures = {}
    for share in sorted({result.proportion for result in study.results}):
        of = {
            strategy: group[0]
            for (proportion, strategy), group in groups(study).items()
            if proportion == share
        }
        case = _median_case(study, share)
        if case is None:
            continue
        found = {
            strategy: lab.cells.test(result.record.key, case).mask
            for strategy, result in of.items()
            if case in result.scores
        }
        image = lab.store.stack(case)[:, 1].astype(np.float32)
        figure = prediction_rows(image, lab.store.mask(case), found)
        pictures[f"{share:.0%}, {case}"] = png(figure)
    return pictures


def _median_case(study: Study, share: float) -> str | None:
    """Return the case whose Dice is the median of all results at a proportion.

    None where a proportion left nobody to test on.
    """
    scored: list[tuple[float, str]] = []
    for result in study.results:
        if result.proportion == share:
            wanted = set(study.pool.common or result.scores) & set(result.scores)
            scored += [(result.scores[c].volume_dice, c) for c in sorted(wanted)]
    return sorted(scored)[len(scored) // 2][1] if scored else None
