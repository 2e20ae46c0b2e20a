"""Write the page of the study from the tables that ``brs experiment`` left.

    python -m benchmarks.study_page > docs/study.md

A run is a folder under ``benchmarks/results/study``: the study's own files, and
``run.json`` with what they do not say (title, command, machine, notes, figures).
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.options import RESULTS
from model.study import COMMON, UNSELECTED
from model.trace import UNKNOWN
from model.verdict import luck_of, p_text

STUDY = RESULTS / "study"
HEAD = """# The study, on synthetic patients

Does it matter which sessions are annotated first? `brs experiment` trains the paper's
network on what each strategy selects, and tests it on patients that no selection may
hold. **All patients here are synthetic**: 58 of one scanner, 12 slices each, annotated
with their known masks. They say whether the program works and what such a study can
tell, not what would come out on yours: for that [run it](how-to/experiment.md) on your
own annotated sessions.

Three runs: one seed on a GPU, three seeds on two cores, and all nine strategies with a
small network. Verdicts are of Dice, on ranks of patients:

- On the common test set one strategy of one run is better than random: breast size at
  10 %, where a network trained on one scanner's five patients is poor in any case. The
  other two runs do not see that difference. All else is not distinguishable, neither
  from random nor from a random choice that is stratified by anatomy.
- HD95 there differs three times: 14 mm less with breast size at 10 % on the GPU, 30 mm
  more with hybrid at 10 % on two cores, 10 mm more with hybrid at 30 % with the small
  network.
- On the test sets of the paper, which differ between strategies, 2 of 9, 5 of 6 and 10
  of 16 rows are *better* or *worse* than random, at differences of 0.01 to 0.12, and
  not the same way: bag is better at 10 % and worse at 30 %. Such tables alone do not
  tell a strategy's merit from the ease of what it left over.
- More annotated patients help more than any choice among them.
"""
TEST_SETS = {
    COMMON: "Tested on the same patients, kept out of every selection",
    UNSELECTED: "Tested on what each selection left over, as in the paper",
}
HEADS = (
    *("share", "strategy", "patients", "Dice, 95 % interval", "IoU", "precision"),
    *("recall", "HD, px", "HD95, mm", "Wh a training", "minutes"),
)
COMPARED = (
    *("share", "strategy", "against", "Dice", "p, Holm", "seeds", "HD95, mm"),
    *("p, Holm", "Wh a training", "minutes", "verdict"),
)
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One study as its files tell it."""

    facts: dict[str, Any]
    document: dict[str, Any]
    rows: tuple[Row, ...]
    comparisons: tuple[Row, ...]
    cells: tuple[Row, ...]


def read(folder: Path) -> Run:
    """Return the run in a folder."""
    return Run(
        facts=json.loads((folder / "run.json").read_text()),
        document=json.loads((folder / "experiment.json").read_text()),
        rows=_table(folder / "table.csv"),
        comparisons=_table(folder / "comparisons.csv"),
        cells=_table(folder / "cells.csv"),
    )


def page(runs: Sequence[Run]) -> str:
    """Return the page as Markdown."""
    return "\n".join([HEAD, *("\n".join(section(run)) for run in runs)])


def section(run: Run) -> Iterator[str]:
    """Yield the lines of one study."""
    yield f"## {run.facts['title']}\n"
    yield f"```sh\n{run.facts['command']}\n```\n"
    yield f"{_size(run)} {run.facts['machine']}\n"
    if caution := luck_of(len(run.document["design"]["seeds"])):
        yield f"**Caution**: {caution}.\n"
    yield from (f"{note}\n" for note in run.facts["notes"])
    yield from (f"![{told}](images/{path})\n" for path, told in run.facts["figures"])
    for test, told in TEST_SETS.items():
        if rows := [row for row in run.rows if row["test"] == test]:
            yield f"### {told} ({_patients(rows)})\n"
            yield from _table_of(HEADS, map(_measured, rows))
            yield "Against chance, ours minus the baseline's:\n"
            compared = (row for row in run.comparisons if row["test"] == test)
            yield from _table_of(COMPARED, map(_compared, compared))


def _size(run: Run) -> str:
    """Say how much was trained, and what that took; shared trainings count once."""
    cells = list({cell["key"]: cell for cell in run.cells}.values())
    missing = run.document["missing"]
    count = f"{len(cells)} of {len(cells) + missing}" if missing else len(cells)
    kwh = [cell["energy_kwh"] for cell in cells]
    energy = UNKNOWN if UNKNOWN in kwh else f"{1e3 * sum(map(float, kwh)):.1f} Wh"
    minutes = sum(float(cell["duration_s"]) for cell in cells) / 60
    took = f"{minutes:.1f} minutes of training, energy {energy}"
    return f"{count} trainings on `{run.document['engine']}`: {took}."


def _patients(rows: Sequence[Row]) -> str:
    counts = [int(row["test_patients"]) for row in rows]
    low, high = min(counts), max(counts)
    return f"{low} patients" if low == high else f"{low} to {high} patients"


def _table_of(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(cells)} |" for cells in rows)
    yield ""


def _measured(row: Row) -> tuple[str, ...]:
    return (
        f"{float(row['proportion']):.0%}",
        row["strategy"],
        row["patients"],
        _interval(row, "dice", ".3f"),
        *(f"{float(row[name]):.3f}" for name in ("iou", "precision", "recall")),
        f"{float(row['hausdorff_px']):.1f}",
        f"{float(row['hd95_mm']):.1f}",
        _wh(row["energy_kwh"]),
        f"{float(row['annotation_minutes']):.0f}",
    )


def _compared(row: Row) -> tuple[str, ...]:
    return (
        f"{float(row['proportion']):.0%}",
        row["strategy"],
        row["baseline"],
        _interval(row, "dice", "+.3f"),
        _p(row["p_holm"]),
        f"{row['seeds_better']} of {row['seeds']}",
        _interval(row, "hd95_mm", "+.1f"),
        _p(row["hd95_p_holm"]),
        _wh(row["energy_kwh"], "+"),
        f"{float(row['annotation_minutes']):+.0f}",
        row["verdict"],
    )


def _p(told: str) -> str:
    return p_text(float(told)) if told else ""


def _interval(row: Row, name: str, form: str) -> str:
    mean, low, high = (
        format(float(row[key]), form) for key in (name, f"{name}_low", f"{name}_high")
    )
    return f"{mean} ({low} to {high})"


def _wh(kwh: str, sign: str = "") -> str:
    return kwh if kwh in ("", UNKNOWN) else format(1e3 * float(kwh), f"{sign}.2f")


def _table(path: Path) -> tuple[Row, ...]:
    with path.open(newline="") as file:
        return tuple(csv.DictReader(file))


@click.command()
@click.argument(
    "folder", type=click.Path(file_okay=False, path_type=Path), default=STUDY
)
def main(folder: Path) -> None:
    """Print the page of all studies in a folder."""
    runs = [read(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    click.echo(page(runs), nl=False)


if __name__ == "__main__":
    main()
