"""The files of a study: its tables as CSV, and the document that replays it."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from model.carbon import WORLD_KG_PER_KWH
from model.errors import SelectionError
from model.experiment import Design
from model.progress import TrainConfig
from model.ranking import Candidate, candidate_from, candidate_record
from model.statistics import Interval
from model.study import COMMON, METRICS, UNSELECTED, CaseMeans, Result, Study, mean_of
from model.table import Row
from model.trace import UNKNOWN
from model.verdict import Comparison, luck_of

FORMAT = "brs-experiment/1"
ENERGY = ("energy_kwh", "cfp_kg")
TABLE_COLUMNS = (
    *("test", "proportion", "strategy", "patients", "cells", "test_patients"),
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")),
    *("vote_dice", "bag_gap", "seed_sd", *ENERGY, "duration_s", "epochs"),
    "annotation_minutes",
)
COMPARISON_COLUMNS = (
    *("test", "proportion", "strategy", "baseline", "verdict", "pairs"),
    *("dice", "dice_low", "dice_high", "p", "p_holm", "rank_biserial"),
    *("seeds_better", "seeds", "same_cases"),
    *("hd95_mm", "hd95_mm_low", "hd95_mm_high", "hd95_p_holm"),
    *("energy_kwh", "annotation_minutes", "minutes_saved"),
)
CELL_COLUMNS = (
    *("strategy", "proportion", "seed", "fold", "key", "train", "validation"),
    *("epochs", "best_epoch", "stopped_by", "validation_dice"),
    *("temperature", "ece", "ece_calibrated", "unselected_dice", "common_dice"),
    *("duration_s", *ENERGY, "method", "coverage"),
)
SCORE_COLUMNS = ("key", *(f.name for f in fields(CaseMeans)))


@dataclass(frozen=True, slots=True)
class Document:
    """What ``experiment.json`` holds: all that is needed to do the study again."""

    version: str
    design: Design
    engine: str
    features: str
    """``boundary`` or ``annotation``: what the strategies knew."""
    data: str
    """What the sessions are: ``real``, or the phantom family."""
    minutes_per_slice: float
    candidates: tuple[Candidate, ...]
    """All cases, those of the common test set too."""
    sources: Mapping[str, str]
    """Case -> hash of its images, its mask and the preprocessing."""
    factor_kg_per_kwh: float = WORLD_KG_PER_KWH
    common: tuple[str, ...] = ()
    rankings: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    missing: int = 0
    stopped_by: str = ""

    def to_json(self) -> str:
        """Return the document as JSON text that ``from_json`` reads back."""
        caution = luck_of(len(self.design.seeds))
        document = {"format": FORMAT, **asdict(self), "caution": caution}
        document["candidates"] = list(map(candidate_record, self.candidates))
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Document":
        """Return the document written by ``to_json``.

        Raises
        ------
        SelectionError
            If the text is no document of this format.
        """
        try:
            return _from_document(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SelectionError(
                "experiment",
                found=f"{type(error).__name__}: {error}",
                needed=f"JSON of format {FORMAT}",
                mend="give the experiment.json of an earlier study",
            ) from error


def table_csv(rows: Iterable[Row]) -> bytes:
    """Return ``table.csv``: the paper's Table 2 with intervals, on both test sets."""
    return _csv(TABLE_COLUMNS, (_table_cells(row) for row in rows))


def comparisons_csv(found: Iterable[Comparison]) -> bytes:
    """Return ``comparisons.csv``: every strategy against every baseline."""
    return _csv(COMPARISON_COLUMNS, (_comparison_cells(one) for one in found))


def cells_csv(study: Study) -> bytes:
    """Return ``cells.csv``: every training of every strategy."""
    return _csv(CELL_COLUMNS, (_cell_cells(one, study) for one in study.results))


def scores_csv(study: Study) -> bytes:
    """Return ``scores.csv``: every case that a training was tested on."""
    by_key = {result.record.key: result for result in study.results}
    lines = (
        {"key": key, **asdict(scores)}
        for key, result in sorted(by_key.items())
        for scores in result.scores.values()
    )
    return _csv(SCORE_COLUMNS, lines)


def _table_cells(row: Row) -> dict[str, object]:
    cells = {f.name: getattr(row, f.name) for f in fields(row)}
    for metric in METRICS:
        cells |= _spread(metric, row.metrics[metric])
    return cells | _energies(row.energy_kwh, row.cfp_kg)


def _comparison_cells(one: Comparison) -> dict[str, object]:
    cells = {f.name: getattr(one, f.name) for f in fields(one)}
    cells |= _spread("dice", one.dice) | _spread("hd95_mm", one.hd95_mm)
    energy = UNKNOWN if one.energy_kwh is None else one.energy_kwh
    return cells | {"verdict": one.verdict, "energy_kwh": energy}


def _cell_cells(result: Result, study: Study) -> dict[str, object]:
    record, part = result.record, result.record.footprint
    tested = {
        f"{test}_dice": _tested(result, test, study) for test in (UNSELECTED, COMMON)
    }
    return {
        **{f.name: getattr(record, f.name) for f in fields(record)},
        **asdict(record.calibration),
        **tested,
        **_energies(part.energy_kwh, part.cfp_kg),
        "strategy": result.strategy,
        "proportion": result.proportion,
        "train": len(record.train),
        "validation": len(record.validation),
        "duration_s": part.duration_s,
        "method": part.method,
        "coverage": part.coverage,
    }


def _tested(result: Result, test: str, study: Study) -> float | None:
    held = study.pool.common if test == COMMON else result.run.selection.unselected
    if not any(case in result.scores for case in held):
        return None
    return mean_of([result], test, "dice", study.pool)


def _spread(name: str, found: Interval | None) -> dict[str, object]:
    if found is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _energies(*values: float | None) -> dict[str, object]:
    found = (UNKNOWN if value is None else value for value in values)
    return dict(zip(ENERGY, found, strict=True))


def _csv(columns: Sequence[str], lines: Iterable[Mapping[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(line[name]) for name in columns] for line in lines)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _from_document(document: Mapping[str, Any]) -> Document:
    found = document["format"]
    if found != FORMAT:
        raise ValueError(f"format {found!r}")
    values = {f.name: document[f.name] for f in fields(Document) if f.name in document}
    design: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values["design"].items()
    }
    values["design"] = Design(**{**design, "config": TrainConfig(**design["config"])})
    values["candidates"] = tuple(map(candidate_from, values["candidates"]))
    for name in ("common", "rankings", "cells"):
        values[name] = tuple(values[name])
    return Document(**values)
