"""What becomes of wrong inputs: refused, held, reviewed, or published by mistake.

    python -m benchmarks.refusals [--checkpoint FILE] [--out docs/refusals.md]

Two tables: synthetic sessions of every wrong kind, and every DICOM and NIfTI file that
installed packages ship. Without a checkpoint the quality check judges the pair and the
body's shape alone, as if the network had drawn a faultless mask.
"""

import site
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.wrong_inputs import KINDS, draw_case
from model.boundary import find_region
from model.checkpoint import read_checkpoint
from model.engine import Engine
from model.errors import BrsError, RegionError
from model.preprocess import to_source, to_stack
from model.shape import Shape
from plugin.drawing import repeated_share, same_images, silent_share
from plugin.folder_archive import FolderArchive
from plugin.pipeline import Segmenter, segment_pair
from plugin.qc import Evidence, assess
from plugin.rules import DceRules
from plugin.session import OpenSession, find_pair, load_session

GRID_PX = 128
COVERED = 0.5
SUFFIXES = (".dcm", ".nii", ".nii.gz", ".img")
SHOWN = 160
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one session."""

    verdict: str
    """``refused``, ``hold``, ``review`` or ``publish``."""
    reason: str


def outcome(session: Path, work: Path, segmenter: Segmenter | None) -> Outcome:
    """Take a session folder through the pipeline, as a command would."""
    archive = FolderArchive(session.parent)
    try:
        pair = find_pair(archive, session.name, work, DceRules())
        if segmenter is not None:
            found = segment_pair(session.name, pair, work / "out", segmenter)
            return Outcome(found.verdict, "; ".join(found.reasons))
        return judged(load_session(session.name, pair))
    except BrsError as error:
        return Outcome("refused", error.found)


def judged(session: OpenSession) -> Outcome:
    """Return what the quality check says when the mask itself gives no reason."""
    stack = to_stack(session.pre, session.post, grid_px=GRID_PX)
    seen = Evidence()
    try:
        region = find_region(stack.voxels[:, 0], stack.placement)
        shape = Shape("", region.confidence, region.flags, overlap=None)
        region_mask = region.mask.astype(np.float32)
        mask = to_source(region_mask, stack, threshold=COVERED)
        seen = Evidence(
            silent_share=silent_share(session, mask),
            repeated_share=repeated_share(session, mask),
        )
    except RegionError as error:
        shape = Shape(error.found, 0.0, (), overlap=None)
    evidence = replace(
        seen,
        pair_confidence=session.pair.confidence,
        pair_flags=session.pair.flags,
        shape=shape,
        same_images=same_images(session),
    )
    verdict = assess(*faultless(), spacing_mm=(4.0, 2.0, 2.0), evidence=evidence)
    return Outcome(verdict.verdict, "; ".join(verdict.reasons))


def faultless() -> tuple[Mask, Mask]:
    """Return two round breasts that the quality check finds no fault with."""
    z, y, x = np.ogrid[:40, :60, :120]
    balls = [
        ((z - 20) * 4) ** 2 + ((y - 30) * 2) ** 2 + ((x - c) * 2) ** 2 <= 50**2
        for c in (30, 90)
    ]
    return balls[0], balls[1]


def of_kinds(segmenter: Segmenter | None) -> Iterator[tuple[str, Outcome]]:
    """Yield every wrong kind with its outcome."""
    case = draw_case()
    for name, write in KINDS.items():
        with TemporaryDirectory() as folder:
            session = Path(folder) / "archive" / "S"
            session.mkdir(parents=True)
            write(case, session)
            yield name, outcome(session, Path(folder) / "work", segmenter)


def of_packages(segmenter: Segmenter | None) -> Iterator[tuple[str, Outcome]]:
    """Yield every image file of the installed packages, each as a session."""
    root = Path(site.getsitepackages()[0])
    for path in sorted(p for p in root.rglob("*") if p.name.endswith(SUFFIXES)):
        with TemporaryDirectory() as folder:
            session = Path(folder) / "archive" / "S"
            session.mkdir(parents=True)
            for name in _names(path):
                copyfile(path, session / name)
            found = outcome(session, Path(folder) / "work", segmenter)
            yield path.relative_to(root).parts[0], found


def _names(path: Path) -> tuple[str, ...]:
    """Return under which names a file is a session; a NIfTI is its own pair."""
    if path.name.endswith((".nii", ".nii.gz")):
        suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
        return (f"pre{suffix}", f"post{suffix}")
    return (path.name,)


def kinds_table(rows: list[tuple[str, Outcome]]) -> list[str]:
    """Return the table of kinds as Markdown."""
    lines = ["| session | outcome | because |", "|---|---|---|"]
    for name, found in rows:
        reason = found.reason.split(": series")[0].replace("|", "/")
        lines.append(f"| {name} | {found.verdict} | {shown(reason)} |")
    return lines


def shown(reason: str) -> str:
    """Return as many of the reasons as a line of the table holds, at least one."""
    first, *others = reason.split("; ")
    for other in others:
        if len(first) + len(other) > SHOWN:
            return f"{first}; and more"
        first = f"{first}; {other}"
    return first


def packages_table(rows: list[tuple[str, Outcome]]) -> list[str]:
    """Return the counts of packages' files by outcome as Markdown."""
    verdicts = ("refused", "hold", "review", "publish")
    counts = Counter((package, found.verdict) for package, found in rows)
    lines = [f"| package | {' | '.join(verdicts)} |", "|---|" + "---|" * len(verdicts)]
    for package in sorted({package for package, _ in rows}):
        cells = " | ".join(str(counts[package, v]) for v in verdicts)
        lines.append(f"| {package} | {cells} |")
    return lines


@click.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Whose masks.")
@click.option("--out", type=click.Path(path_type=Path), help="Markdown; else stdout.")
def main(checkpoint: Path | None, out: Path | None) -> None:
    """Measure both tables."""
    segmenter = None
    if checkpoint is not None:
        segmenter = Segmenter(read_checkpoint(checkpoint), Engine("cpu", "fp32"))
    lines = kinds_table(list(of_kinds(segmenter)))
    lines += ["", *packages_table(list(of_packages(segmenter)))]
    text = "\n".join(lines) + "\n"
    if out is None:
        print(text)
    else:
        out.write_text(text)


if __name__ == "__main__":
    main()
