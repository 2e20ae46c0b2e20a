"""The long soak: 200 synthetic studies, 50 kills, FCN-ResNet50 in full.

    python tests/soak_in_full.py --studies 200 --kills 50 --seed 4 --folder .soak

stderr tells of each fault as it comes; the last line of stdout is the result as JSON.
Exit code 1 where a promise was broken. ``make soak`` runs it.
"""

import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import click
import pydicom
from phantoms import patient_for, site_for
from service import Study, ready_checkpoint
from sessions import untrained_checkpoint
from soak_findings import Findings
from soaking import Size, soaked

from benchmarks.machine import machine
from model.checkpoint import Checkpoint, read_checkpoint
from model.phantom import PhantomCase, make_case
from plugin.phantom_dicom import VendorStyle, write_session
from plugin.receiving.identity import key
from plugin.weights import packaged_weights

GRID_PX = 64
SLICES, MATRIX_PX = 12, 128
PATIENTS = 4
"""Drawn once; every study is one of them under UIDs of its own."""
PRE, POST = "SE000005", "SE000006"


def studies(folder: Path) -> Iterator[Study]:
    """Yield studies of a pre- and a post-contrast series, one file per slice."""
    site = site_for(1, slices=SLICES, matrix_px=MATRIX_PX)
    cases = [make_case(patient_for(n), site, seed=n) for n in range(PATIENTS)]
    for number in count():
        yield study(cases[number % PATIENTS], folder / f"{number:04}")


def study(case: PhantomCase, folder: Path) -> Study:
    style = VendorStyle.SEPARATE_SERIES
    write_session(case, folder, style=style, session_id=folder.name, distractors=False)
    for series in folder.iterdir():
        if series.name not in (PRE, POST):
            shutil.rmtree(series)
    pre, post = (tuple(sorted((folder / name).iterdir())) for name in (PRE, POST))
    uid = pydicom.dcmread(pre[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID
    return Study(key(str(uid)), pre, post)


def weights() -> tuple[Checkpoint, str]:
    """Return the package's checkpoint, or one of the same size that was not trained."""
    packaged = packaged_weights()
    if packaged is not None:
        return read_checkpoint(packaged), "the package's weights"
    return untrained_checkpoint(), "untrained weights"


def at_grid(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, manifest=replace(checkpoint.manifest, grid_px=GRID_PX))


def broken(found: Findings) -> list[str]:
    """Return the promises that were not kept."""
    promises = {
        "no accepted instance lost": not found.lost,
        "no mask stored twice": not found.twice,
        "every mask delivered": not found.undelivered,
        "every failure has its cause": not found.uncaused,
        "every instance accepted": found.accepted == found.studies * 2 * SLICES,
    }
    return [promise for promise, is_kept in promises.items() if not is_kept]


def record(found: Findings, size: Size, network: str, took_s: float) -> dict[str, Any]:
    """Return what is to be kept of a soak."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": f"FCN-ResNet50, grid {GRID_PX}, fp32, {network}",
        "study": f"2 x {SLICES} instances of {MATRIX_PX} x {MATRIX_PX}, synthetic",
        "seed": size.seed,
        "duration_s": round(took_s),
        "broken": broken(found),
        "found": asdict(found) | {"killed": sum(found.kills.values())},
        "machine": machine(),
    }


@click.command()
@click.option("--studies", "wanted", default=200, show_default=True)
@click.option("--kills", default=50, show_default=True)
@click.option("--seed", default=4, show_default=True)
@click.option("--limit-s", default=4 * 3600, show_default=True)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Emptied first; it holds the service's work folder when a promise broke.",
)
def main(wanted: int, kills: int, seed: int, limit_s: int, folder: Path) -> None:
    """Soak the service, say what came of it."""
    logging.basicConfig(format="%(relativeCreated)9d ms  %(message)s", level="WARNING")
    logging.getLogger("soak").setLevel(logging.INFO)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given, network = weights()
    checkpoint = ready_checkpoint(at_grid(given), folder)
    size = Size(wanted, kills, seed, limit_s)
    started_s = time.monotonic()
    found = soaked(folder, checkpoint, studies(folder / "sent"), size)
    click.echo(json.dumps(record(found, size, network, time.monotonic() - started_s)))
    if broken(found):
        sys.exit(1)


if __name__ == "__main__":
    main()
