"""One job from images to masks at their destinations; errors are the caller's."""

import errno
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom

from plugin.dce import choose_among
from plugin.errors import InputError
from plugin.jobs import Cause, Job, PassingError
from plugin.pipeline import RESULT_FILE, SEG_FILE, Segmenter, segment_pair
from plugin.reading.headers import scan
from plugin.receiving.identity import sop_key
from plugin.receiving.landing import IMAGES
from plugin.sending.deliver import deliver
from plugin.sending.destination import Destination, destinations_for
from plugin.series import DcePair
from plugin.service.outbox import Deliver, Outbox
from plugin.service.progress import ProgressFile
from plugin.service.study import write_study
from plugin.service.suitability import unsuitable
from plugin.session import source_key
from plugin.stages import Report

logger = logging.getLogger(__name__)

RESULT: Final = "result"
SEGMENTED: Final = "segmented"
HOLD: Final = "hold"
GPU_FAILED: Final = "gpu-failed"
DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


class UnsuitableError(Exception):
    """The images of a job are no pair; ``cause`` says what is missing."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.text)
        self.cause = cause


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """What a worker works with; its network stays warm."""

    segmenters: tuple[Segmenter, ...]
    """The next one is taken where a study does not fit into the memory of one."""
    ae_title: str
    destinations: tuple[Destination, ...] = ()
    deliver: Deliver = deliver
    engine: str = ""
    """What the first one runs on, in words."""


@dataclass(frozen=True, slots=True)
class Mask:
    """What was found in a job: ``uid`` is None where there is no DICOM-SEG."""

    run_key: str
    verdict: str
    uid: str | None


def handle(job: Job, means: Means) -> str:
    """Segment a job's study, deliver its mask, and return the verdict.

    What an earlier run of the job finished is used again.
    """
    report = ProgressFile(job.folder)
    record = write_study(job.folder, job.journal, means.ae_title)
    mask = _mask(job, means, report)
    if mask.verdict == HOLD or mask.uid is None:
        return mask.verdict
    outbox = Outbox(
        job, job.folder / RESULT / SEG_FILE, mask.uid, calling_ae=means.ae_title
    )
    targets = destinations_for(record.source_aes, means.destinations)
    outbox.send(targets, means.deliver, report)
    return mask.verdict


def explained(error: Exception) -> Exception:
    """Return the error as one whose cause decides between retry and parking."""
    text = str(error)
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return PassingError(
            "a study",
            cause="out-of-memory",
            found="too little memory for it",
            needed="more free memory",
            mend="use fewer workers, or give the machine more memory",
        )
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return PassingError(
            "the work folder",
            cause="disk-full",
            found=error.strerror or "no space",
            needed="room for the result",
            mend="free disk space; the study is tried again",
        )
    if isinstance(error, RuntimeError) and "CUDA" in text:
        return PassingError(
            "the GPU",
            cause=GPU_FAILED,
            found="an error of its driver",
            needed="a working GPU",
            mend="look at the driver's log; the worker is started anew",
        )
    return error


def _mask(job: Job, means: Means, report: Report) -> Mask:
    """Return the stored mask where it still holds, else a new one."""
    stored = stored_mask(job.folder / RESULT)
    if stored is not None and job.reached(SEGMENTED):
        return stored
    report("find", 0.0)
    try:
        pair = _pair(job.folder / IMAGES, means)
    except UnsuitableError:
        if stored is not None and not _has_sources(job.folder):
            logger.warning("job %s: late images of a removed study", job.job_id)
            return stored
        raise
    source = source_key(pair)
    keys = {segmenter.run_key(source) for segmenter in means.segmenters}
    if stored is None or stored.run_key not in keys:
        stored = _segmented(job, pair, means, report)
    job.progress(SEGMENTED, stored.verdict)
    return stored


def _pair(images: Path, means: Means) -> DcePair:
    headers = scan(images)
    try:
        return choose_among(headers, means.segmenters[0].rules)
    except InputError as refusal:
        raise UnsuitableError(unsuitable(headers, refusal)) from refusal


def _segmented(job: Job, pair: DcePair, means: Means, report: Report) -> Mask:
    """Segment by the first of the segmenters that has the memory for it."""
    *first_ones, last = means.segmenters
    for segmenter in first_ones:
        try:
            return _segment(job, pair, segmenter, report)
        except MemoryError:
            engine = segmenter.engine
            logger.warning("job %s: out of memory on %s", job.job_id, engine)
    return _segment(job, pair, last, report)


def _segment(job: Job, pair: DcePair, segmenter: Segmenter, report: Report) -> Mask:
    output = job.folder / RESULT
    for part in output.glob("*.part"):
        part.unlink()
    result = segment_pair(job.job_id, pair, output, segmenter, report=report)
    return Mask(result.run_key, result.verdict, result.sop_instance_uid)


def stored_mask(folder: Path) -> Mask | None:
    """Return what an earlier run finished; None where it is not whole."""
    try:
        values = json.loads((folder / RESULT_FILE).read_bytes())
        mask = Mask(values["run_key"], values["verdict"], values["sop_instance_uid"])
        expected = values["files"].get(SEG_FILE)
        found = (folder / SEG_FILE).read_bytes() if mask.uid is not None else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if found is not None and hashlib.sha256(found).hexdigest() != expected:
        return None
    return mask


def _has_sources(job: Path) -> bool:
    """Tell whether the images that the stored mask was made of are still there."""
    tags = ["ReferencedSeriesSequence"]
    try:
        header = pydicom.dcmread(job / RESULT / SEG_FILE, specific_tags=tags)
        series = header.ReferencedSeriesSequence[0]
        uid = series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    except (OSError, AttributeError, IndexError):
        return True
    return (job / IMAGES / f"{sop_key(str(uid))}.dcm").exists()
