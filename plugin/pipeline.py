"""One session: a folder in, a folder out; every door calls this."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from model.atomic import write_atomically
from model.checkpoint import Checkpoint, ReadyCheckpoint
from model.energy_log import EnergyLog
from model.engine import Engine
from model.inference import THRESHOLD
from model.preprocess import ORIENTATION
from model.preview import preview_png
from model.refine import FLIP_STEP, Refinement
from model.sides import find_mid_columns, split
from model.trace import PowerMeter
from plugin import seg
from plugin.bag_grid import bag_features
from plugin.dce import DceRules, choose
from plugin.drawing import draw, evidence_of
from plugin.provenance import MaskState
from plugin.qc import Verdict, assess
from plugin.segments import Algorithm
from plugin.series import DcePair
from plugin.session import OpenSession, load_session
from plugin.stages import Report, Stopwatch, unheard
from plugin.version import VERSION
from plugin.volumes import write_nifti

logger = logging.getLogger(__name__)

SEG_FILE = "segmentation.dcm"
NIFTI_FILE = "mask.nii.gz"
PREVIEW_FILE = "preview.png"
RESULT_FILE = "result.json"


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
    refinement: Refinement = field(default_factory=Refinement)
    """What is done to the network's probabilities."""

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
            "flip_step": FLIP_STEP,
            "scope": self.scope,
            "grid_px": manifest.grid_px,
            "preprocessing": dict(manifest.preprocessing),
            "refinement": asdict(self.refinement),
            "threshold": THRESHOLD,
        }
        if self.engine.precision == "int8":
            values["int8_sha256"] = manifest.int8["sha256"]
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
    session_id: str,
    folder: Path,
    output: Path,
    segmenter: Segmenter,
    *,
    report: Report = unheard,
) -> SessionResult:
    """Segment the session in ``folder`` and write its result files to ``output``.

    Raises
    ------
    InputError
        If the folder holds no usable breast DCE pair.
    """
    report("find", 0.0)
    pair = choose(folder, segmenter.rules)
    return segment_pair(session_id, pair, output, segmenter, report=report)


def segment_pair(
    session_id: str,
    pair: DcePair,
    output: Path,
    segmenter: Segmenter,
    *,
    report: Report = unheard,
) -> SessionResult:
    """Segment a pair that was chosen before; see ``segment_session``."""
    with EnergyLog(segmenter.meters) as log:
        result = _segment(session_id, pair, output, segmenter, report)
    result = replace(result, footprint=asdict(log.footprint()))
    write_atomically(output / RESULT_FILE, result.to_json())
    return result


def _segment(
    session_id: str,
    pair: DcePair,
    output: Path,
    segmenter: Segmenter,
    report: Report,
) -> SessionResult:
    watch = Stopwatch(report)
    watch.begin("read")
    session = load_session(session_id, pair)
    watch.begin("infer")
    drawn = draw(session, segmenter, report=report)
    watch.begin("judge")
    sides = Sides.of(drawn.mask)
    features = bag_features(drawn.mask, source="checkpoint")
    verdict = assess(
        *sides.canonical,
        spacing_mm=sides.spacing_mm,
        evidence=evidence_of(session, drawn, features, segmenter),
    )
    watch.begin("write")
    uid = _write_masks(session, sides, verdict, segmenter, output)
    watch.end()
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


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Right and left breast: canonical arrays, and volumes on the source grid."""

    canonical: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    source: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    """The same memory seen in the source's order."""
    spacing_mm: tuple[float, float, float]
    """Of the canonical arrays."""

    @classmethod
    def of(cls, mask: Volume) -> "Sides":
        """Split a source-grid mask at the mid-line."""
        canonical = mask.to_patient_orientation(ORIENTATION)
        union = canonical.array.astype(bool)
        halves = split(union, find_mid_columns(union, canonical.spacing))
        right, left = (
            canonical.with_array(half.view(np.uint8)).match_geometry(mask).array
            for half in halves
        )
        return cls(halves, (right.view(bool), left.view(bool)), canonical.spacing)

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
        sides.source,
        algorithm=segmenter.algorithm,
        verdict=verdict.verdict,
        state=MaskState.MODEL_DRAFT,
        source_key=session.source_key,
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
