"""Write the page of measurements from the results that benchmarks left.

python -m benchmarks.report > docs/performance.md
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import click

from benchmarks.machine import ROW
from benchmarks.measure import Limit, Result, Timing
from benchmarks.options import RESULTS

HEAD = """# Speed, measured

A table compares ways to do one thing, in one run, on the same data; the first line is
what the others are compared with. **Trust the ratios**: seconds are those of one
machine in one hour. `peak` is the most memory that was resident meanwhile, the process
included, and not a GPU's. The limit is what the same machine did at best in the same
run. All data are synthetic. Peers are programs that do the same thing: DCMTK and
Orthanc receive, highdicom writes DICOM-SEG, plain PyTorch runs the same network.
dcmqi, nnU-Net and MONAI were not measured here; the last two bring other networks or
other steps around them.

```sh
make bench         # about 20 minutes on a quiet machine; rewrites this page
make bench-long    # hours: more repeats, larger grids, torch.compile, 200 phantoms
make bench-gpu     # minutes on a machine with an NVIDIA GPU; tables of their own
```

What was aimed at, and what was seen:

- *A study to its DICOM-SEG at least five times faster than plain fp32 PyTorch, on two
  cores with AMX.* No such CPU was at hand. With AVX512-BF16 a slice takes 2.6 times
  less. With AVX2 alone there is no faster arithmetic than fp32: a study takes 1.1 to
  1.8 times less, 1.7 and more where cropping is proven; a slice is at 94 % of the
  limit.
- *At most 1 GB of memory.* 980 to 1000 MiB for one study of 2 x 160 x 512 x 512 in a
  new process.
- *A step of training four times faster with bf16.* 3.2 times with AVX512-BF16, without
  AMX. `torch.compile` gained nothing in fp32.
- *An epoch on a GPU at a quarter of the energy.* An eighth of fp32's, but only 2.3
  times less than PyTorch's default, which is not fp32 (TF32). *A tenth of reading
  .nii.gz*: 9.3 times less, by one epoch of that.
- *Feeding at most 2 % of a step.* 0.1 % on a CPU, 3.4 % on an H100, whose step takes
  10 ms.
- *Ranking at the pace of reading.* No: finding the body takes 0.5 s a session of 160
  slices, reading its stack 14 ms from memory; a disk of 80 MB/s would be as slow.
- *A queue's cost under 50 ms a study.* 6 ms.

How engines are chosen and proven: [0031](adr/0031-inference-engines.md); what the
network may skip: [0032](adr/0032-scope.md); how pixels are read:
[0033](adr/0033-reading-pixels.md).
"""
SUMMARY = """## At a glance

| what | way | compared with | times faster | share of the limit | on |
|---|---|---|---|---|---|
"""
GROWTH = """
## How cost grows

![Seconds against size in four panels, both axes by powers](images/scaling.png)

Medians with their spread; dashed: proportional growth from the first point. Above each
panel is the power that fits, from the tables of the same names below.
"""
NONE_YET = """
No run on a quiet machine has been recorded yet. One run of each benchmark prints its
table; `make bench` runs them all.
"""


def page(results: Sequence[Result]) -> str:
    """Return the page as Markdown."""
    if not results:
        return HEAD + NONE_YET
    compared = [r for r in results if not _grows(r) and not r.are_parts]
    glance = "\n".join(line for r in compared for line in at_a_glance(r))
    figure = [GROWTH] if any(_grows(r) for r in results) else []
    sections = (section(result) for result in results)
    return "\n".join([HEAD, SUMMARY + glance, *figure, *sections])


def at_a_glance(result: Result) -> Iterator[str]:
    """Yield the last way of a result beside the first, as a row; of one way nothing."""
    first, last = result.timings[0], result.timings[-1]
    if first is last:
        return
    facts = result.machine
    on = facts.get("gpu", f"{facts.get('cpu')}, {facts.get('cores')} cores")
    cells = (
        _title(result.question),
        last.name,
        first.name,
        f"**{result.ratio(last):.2f}**",
        result.limit_share,
        on.split(", CUDA")[0],
    )
    yield f"| {' | '.join(cells)} |"


def section(result: Result) -> str:
    """Return one question with its table."""
    lines = [f"## {_title(result.question)}", "", f"One run: {result.work}.", ""]
    header = "share of the whole" if result.are_parts else "times faster"
    heads = ("way", header, "median s", "from - to s", "n", "peak MiB", *result.columns)
    lines += [
        f"| {' | '.join(heads)} |",
        "|" + "---|" * len(heads),
        *(row(result, timing) for timing in result.timings),
    ]
    if result.limit:
        last = result.timings[-1]
        limit = f"Limit: {result.limit.name}, {result.limit.seconds:.3g} s"
        lines += ["", f"{limit}; {last.name} is at {result.limit_share} of it."]
    lines += ["", *(f"{note}." for note in result.notes)]
    facts = dict.fromkeys(ROW, "unknown") | dict(result.machine)
    told = "; ".join(f"{key} {value}" for key, value in facts.items())
    return "\n".join([*lines, "", f"Machine: {told}.", ""]).replace("\n\n\n", "\n\n")


def row(result: Result, timing: Timing) -> str:
    """Return one way as a row of the table."""
    peak = "unknown" if timing.peak_mib is None else f"{timing.peak_mib:.0f}"
    spread = f"{min(timing.seconds):.3g} - {max(timing.seconds):.3g}"
    cells = (
        timing.name,
        result.compared(timing),
        f"{timing.median_s:.3g}",
        spread,
        str(len(timing.seconds)),
        peak,
        *(told[result.timings.index(timing)] for told in result.columns.values()),
    )
    return f"| {' | '.join(cells)} |"


def read(path: Path) -> Result:
    """Return a result that ``publish`` wrote."""
    record = json.loads(path.read_text())
    record["timings"] = tuple(
        Timing(**{**one, "seconds": tuple(one["seconds"])}) for one in record["timings"]
    )
    record["limit"] = Limit(**record["limit"]) if record["limit"] else None
    record["notes"] = tuple(record["notes"])
    columns = record.get("columns", {})
    record["columns"] = {head: tuple(told) for head, told in columns.items()}
    return Result(**{f.name: record[f.name] for f in fields(Result)})


def _grows(result: Result) -> bool:
    return result.question.startswith("how cost")


def _title(question: str) -> str:
    return question[:1].upper() + question[1:]


@click.command()
@click.argument(
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS,
)
def main(folder: Path) -> None:
    """Print the page of all results in FOLDER."""
    click.echo(page([read(path) for path in sorted(folder.glob("*.json"))]), nl=False)


if __name__ == "__main__":
    main()
