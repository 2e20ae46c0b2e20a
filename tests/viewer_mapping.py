"""What the XNAT OHIF viewer shows of a DICOM-SEG, by dcmjs and ``viewer/place.cjs``."""

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from npm import installed
from numpy.typing import NDArray
from peers import program

from plugin.series import Phase

VIEWER = Path(__file__).parent / "viewer"
RUN_S = 60


@dataclass(frozen=True, slots=True)
class ShownMask:
    """One segment on one image: how many pixels, and which (hash of 0 and 1)."""

    segment: int
    sop_instance_uid: str
    frame_number: int | None
    pixels: int
    sha256: str


@dataclass(frozen=True, slots=True)
class View:
    """The referenced series, the segments' names, and every mask that is not empty."""

    series_uid: str
    labels: tuple[str, ...]
    images: int
    dropped: int
    """SEG frames whose image is not in the stack."""
    masks: frozenset[ShownMask]


class ViewerError(Exception):
    """The viewer would refuse the file; the message says why."""


def dcmjs_folder() -> Path:
    """Return node_modules with dcmjs."""
    return installed(VIEWER)


def views(
    node_modules: Path, jobs: Iterable[tuple[Path, Sequence[Path]]]
) -> list[View]:
    """Return what is shown of each SEG when the stack holds its images in this order.

    Raises
    ------
    ViewerError
        If the viewer would refuse one of the files.
    """
    listed = [{"seg": str(seg), "images": [*map(str, paths)]} for seg, paths in jobs]
    said = run_script("place.cjs", listed, node_modules)
    return [_view(shown) for shown in json.loads(said.splitlines()[-1])]


def run_script(name: str, jobs: Sequence[Mapping[str, Any]], node_modules: Path) -> str:
    """Return what a script of the viewer's folder prints about its jobs."""
    run = subprocess.run(
        [program("node"), VIEWER / name],
        env={"NODE_PATH": str(node_modules)},
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )
    if run.returncode != 0:
        raise ViewerError(run.stderr[:800])
    return run.stdout


def _view(shown: dict[str, Any]) -> View:
    if "error" in shown:
        raise ViewerError(shown["error"])
    return View(
        series_uid=shown["series_uid"],
        labels=tuple(shown["labels"]),
        images=shown["images"],
        dropped=shown["dropped"],
        masks=frozenset(ShownMask(**mask) for mask in shown["masks"]),
    )


def true_masks(
    phase: Phase, masks: Iterable[NDArray[np.bool_]]
) -> frozenset[ShownMask]:
    """Return where the masks (slices, rows, columns) of segments 1, 2, ... belong.

    The viewer counts the frames of an instance that has several.
    """
    frames_of = Counter(frame.sop_instance_uid for frame in phase.frames)
    return frozenset(
        ShownMask(
            segment,
            frame.sop_instance_uid,
            frame.frame_number if frames_of[frame.sop_instance_uid] > 1 else None,
            int(plane.sum()),
            hashlib.sha256(plane.astype(np.uint8).tobytes()).hexdigest(),
        )
        for segment, mask in enumerate(masks, start=1)
        for frame, plane in zip(phase.frames, mask, strict=True)
        if plane.any()
    )
