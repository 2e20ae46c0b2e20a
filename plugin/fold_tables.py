"""The tables and the report of a training, from the files that its folds left."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.atomic import write_atomically
from model.carbon import Footprint
from model.checkpoint import Manifest
from model.dataset import Fold
from plugin.report import training_report
from plugin.reports.training import TrainedFold, read_fold


@dataclass(frozen=True, slots=True)
class FoldOutcome:
    """One trained fold: its checkpoint and what it cost."""

    fold: Fold
    checkpoint: Path
    manifest: Manifest
    footprint: Footprint


def validation_folder(output: Path, fold: Fold) -> Path:
    """Return where a fold's scores on its held-out cases lie."""
    return output / f"validation-{fold.number}"


def trained_folds(outcomes: Sequence[FoldOutcome]) -> list[TrainedFold]:
    """Return the folds as the report shows them, from the files they left."""
    return [
        replace(
            read_fold(
                str(o.fold.number),
                o.footprint,
                history_csv=o.checkpoint.with_suffix(".history.csv"),
                power_csv=o.checkpoint.with_suffix(".power.csv"),
            ),
            validation_seen=int(o.manifest.metrics.get("validation_seen", 0)),
        )
        for o in outcomes
    ]


def write_tables(
    outcomes: Sequence[FoldOutcome], output: Path, failures: Mapping[str, str]
) -> None:
    """Write the folds' histories and scores as one table each, and the report."""
    histories = [o.checkpoint.with_suffix(".history.csv") for o in outcomes]
    scores = [validation_folder(output, o.fold) / "cases.csv" for o in outcomes]
    names = [str(o.fold.number) for o in outcomes]
    write_atomically(output / "history.csv", _joined(names, histories))
    write_atomically(output / "metrics.csv", _joined(names, scores))
    text = json.dumps(dict(failures), indent=1)
    write_atomically(output / "failures.json", text.encode())
    training_report(trained_folds(outcomes), path=output / "report.html")


def _joined(names: Sequence[str], paths: Sequence[Path]) -> bytes:
    """Return CSV tables of one shape as one, with a leading fold column."""
    lines: list[str] = []
    for name, path in zip(names, paths, strict=True):
        header, *rows = path.read_text().splitlines()
        lines = lines or [f"fold,{header}"]
        lines += [f"{name},{row}" for row in rows]
    return ("\n".join(lines) + "\n").encode()
