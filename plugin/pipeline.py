"""One session: a folder in, a folder out; every door calls this."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from model.atomic import write_atomically
from model.bag import BagFeatures, measure
from model.carbon import EnergyLog, PowerMeter
from model.checkpoint import Checkpoint, ReadyCheckpoint
from model.engine import Engine
from model.errors import EmptyMaskError
from model.inference import THRESHOLD, predict
from model.preprocess import ORIENTATION, place, resample, to_source, to_stack
from model.preview import preview_png
from model.scope import find_window, within
from model.sides import split
from plugin import seg
from plugin.dce import DceRules, choose
from plugin.provenance import MaskState
from plugin.qc import Evidence, Verdict, assess
from plugin.segments import Algorithm
from plugin.series import DcePair
from plugin.session import OpenSession, load_session
from plugin.version import VERSION
from plugin.volumes import write_nifti

logger = logging.getLogger(__name__)

SEG_FILE = "segmentation.dcm"
NIFTI_FILE = "mask.nii.gz"
PREVIEW_FILE = "preview.png"
RESULT_FILE = "result.json"
BAG_GRID_PX = 256


@dataclass(frozen=True, slots=True, eq=False)
class Segmenter:
    """A checkpoint and how it is run; equal configurations give equal masks."""

    checkpoint: Checkpoint | ReadyCheckpoint
    engine: Engine
    rules: DceRules = field(default_factory=DceRules)
    meters: tuple[PowerMeter, ...] = ()
    """What measures the energy of a study; none leaves it unknown."""
    scope: str = "whole"
    """What the network sees, of ``model.scope.SCOPES``."""

    @property
    def algorithm(self) -> Algorithm:
        """Who made the mask, as DICOM-SEG records it."""
        manifest = self.checkpoint.manifest
        return Algorithm(
            name="brs FCN-ResNet50",
            version=VERSION,
            weights_sha256=manifest.weights_sha256,
            configuration=self.configuration,
        )

    @property
    def configuration(self) -> str:
        """The canonical inference configuration, one line of JSON."""
        manifest = self.checkpoint.manifest
        values = {
            "architecture": manifest.architecture,
            "engine": str(self.engine),
            "scope": self.scope,
            "grid_px": manifest.grid_px,
            "preprocessing": dict(manifest.preprocessing),
            "threshold": THRESHOLD,
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    def run_key(self, source_key: str) -> str:
        """Return the name of one result: same sources, weights and settings."""
        sha = self.checkpoint.manifest.weights_sha256
        parts = (source_key, sha, VERSION, self.configuration)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SessionResult:
    """``result.json``: what was found, how sure, from what, and at what cost."""

    session_id: str
    run_key: str
    verdict: str
    reasons: tuple[str, ...]
    pair: Mapping[str, Any]
    bag: Mapping[str, Any] | None
    right_ml: float
    left_ml: float
    algorithm: Mapping[str, Any]
    sop_instance_uid: str | None
    files: Mapping[str, str]
    """File name -> SHA-256."""
    timings_s: Mapping[str, float]
    footprint: Mapping[str, Any]

    def to_json(self) -> bytes:
        """Return the record as indented JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()


def segment_session(
    session_id: str, folder: Path, output: Path, segmenter: Segmenter
) -> SessionResult:
    """Segment the session in ``folder`` and write its result files to ``output``.

    Raises
    ------
    InputError
        If the folder holds no usable breast DCE pair.
    """
    return segment_pair(session_id, choose(folder, segmenter.rules), output, segmenter)


def segment_pair(
    session_id: str, pair: DcePair, output: Path, segmenter: Segmenter
) -> SessionResult:
    """Segment a pair that was chosen before; see ``segment_session``."""
    with EnergyLog(segmenter.meters) as log:
        result = _segment(session_id, pair, output, segmenter)
    result = replace(result, footprint=asdict(log.footprint()))
    write_atomically(output / RESULT_FILE, result.to_json())
    return result


def _segment(
    session_id: str, pair: DcePair, output: Path, segmenter: Segmenter
) -> SessionResult:
    watch = Stopwatch()
    session = load_session(session_id, pair)
    watch.lap("read")
    mask = predict_mask(session, segmenter)
    watch.lap("infer")
    sides = Sides.of(mask)
    features = bag_features(mask, source="checkpoint")
    verdict = _judge(session, sides, features, segmenter)
    watch.lap("judge")
    uid = _write_masks(session, sides, verdict, segmenter, output)
    watch.lap("write")
    return SessionResult(
        session_id=session_id,
        run_key=segmenter.run_key(session.source_key),
        verdict=verdict.verdict,
        reasons=verdict.reasons,
        pair=pair_record(session.pair),
        bag=asdict(features) if features else None,
        right_ml=sides.right_ml,
        left_ml=sides.left_ml,
        algorithm=asdict(segmenter.algorithm),
        sop_instance_uid=uid,
        files=_digests(output),
        timings_s=watch.laps,
        footprint={},
    )


def predict_mask(session: OpenSession, segmenter: Segmenter) -> Volume:
    """Return the network's mask (0 or 1) on the session's source grid."""
    grid_px = segmenter.checkpoint.manifest.grid_px
    stack = to_stack(session.pre, session.post, grid_px=grid_px)
    network, engine = segmenter.checkpoint.network, segmenter.engine
    window = find_window(stack.voxels, stack.placement, segmenter.scope)
    found = within(window, stack.voxels, lambda part: predict(part, network, engine))
    probability = to_source(found, stack)
    return probability.with_array((probability.array >= THRESHOLD).astype(np.uint8))


def bag_features(mask: Volume, *, source: str) -> BagFeatures | None:
    """Measure BAG of a source-grid mask on the common 256 grid, None when empty."""
    canonical = mask.to_patient_orientation(ORIENTATION)
    placement = place(canonical.get_geometry(), BAG_GRID_PX)
    on_grid = resample(canonical.array, placement, canonical.pixel_spacing) >= THRESHOLD
    try:
        return measure(on_grid, placement, source=source)
    except EmptyMaskError:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Right and left breast: canonical arrays, and volumes on the source grid."""

    canonical: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    source: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    spacing_mm: tuple[float, float, float]
    """Of the canonical arrays."""

    @classmethod
    def of(cls, mask: Volume) -> "Sides":
        """Split a source-grid mask at the mid-line."""
        canonical = mask.to_patient_orientation(ORIENTATION)
        halves = split(canonical.array.astype(bool))
        back = [
            canonical.with_array(half.astype(np.uint8)).match_geometry(mask).array > 0
            for half in halves
        ]
        return cls(halves, (back[0], back[1]), canonical.spacing)

    @property
    def right_ml(self) -> float:
        """Volume of the right breast."""
        return self._ml(self.canonical[0])

    @property
    def left_ml(self) -> float:
        """Volume of the left breast."""
        return self._ml(self.canonical[1])

    def _ml(self, side: NDArray[np.bool_]) -> float:
        return round(float(side.sum() * np.prod(self.spacing_mm)) / 1000, 3)


class Stopwatch:
    """Named laps of wall-clock time, in seconds."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Close the lap that began with the one before."""
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 3)
        self._last = now


def _judge(
    session: OpenSession,
    sides: Sides,
    features: BagFeatures | None,
    segmenter: Segmenter,
) -> Verdict:
    right, left = sides.canonical
    measured = asdict(features) if features else {}
    evidence = Evidence(
        features={k: v for k, v in measured.items() if isinstance(v, (int, float))},
        training_range=segmenter.checkpoint.manifest.bag_range or None,
        pair_confidence=session.pair.confidence,
        pair_flags=session.pair.flags,
    )
    return assess(right, left, spacing_mm=sides.spacing_mm, evidence=evidence)


def _write_masks(
    session: OpenSession,
    sides: Sides,
    verdict: Verdict,
    segmenter: Segmenter,
    output: Path,
) -> str | None:
    """Write SEG (of a DICOM session), NIfTI and preview; return the SEG's UID."""
    output.mkdir(parents=True, exist_ok=True)
    right, left = sides.source
    union = session.pre.with_array((right | left).astype(np.uint8))
    write_nifti(union, output / NIFTI_FILE)
    _write_preview(session, sides, output / PREVIEW_FILE)
    if not session.pair.pre.frames:
        return None
    segmentation = seg.build(
        session.pair.pre,
        right,
        left,
        algorithm=segmenter.algorithm,
        verdict=verdict.verdict,
        state=MaskState.MODEL_DRAFT,
    )
    seg.write(segmentation, output / SEG_FILE)
    return str(segmentation.SOPInstanceUID)


def _write_preview(session: OpenSession, sides: Sides, path: Path) -> None:
    post = session.post.to_patient_orientation(ORIENTATION)
    picture = preview_png(post.array, *sides.canonical, pixel_mm=post.pixel_spacing)
    write_atomically(path, picture)


def pair_record(pair: DcePair) -> dict[str, Any]:
    """Return what was chosen and why, with UIDs and without descriptions."""
    return {
        "pre_series_uid": pair.pre.series_uid,
        "post_series_uid": pair.post.series_uid,
        "slices": len(pair.pre.frames),
        "confidence": pair.confidence,
        "reasons": pair.reasons,
        "flags": pair.flags,
        "ignored": pair.ignored,
    }


def _digests(output: Path) -> dict[str, str]:
    """Return the SHA-256 of every result file that was written."""
    names = (SEG_FILE, NIFTI_FILE, PREVIEW_FILE)
    paths = [output / name for name in names if (output / name).exists()]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
