"""What a soak has come to: what was promised, looked for in files and at the peer."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from soak import Soak

from plugin.jobs import Listed, State
from plugin.queue.disk import same
from plugin.receiving.identity import sop_key
from plugin.receiving.landing import IMAGES
from plugin.service.deliveries import Deliveries, Sent
from plugin.service.handling import HOLD, RESULT, stored_mask


@dataclass(frozen=True, slots=True)
class Findings:
    """The first four must be empty."""

    lost: tuple[str, ...]
    """Files that were answered with success and are not kept as they were sent."""
    twice: tuple[str, ...]
    """Masks that the PACS was given more than once."""
    undelivered: tuple[str, ...]
    """Studies whose mask is not confirmed, or not at the PACS."""
    uncaused: tuple[str, ...]
    """Failures in a journal without a cause."""
    studies: int
    accepted: int
    masks: int
    kills: dict[str, int]
    causes: dict[str, int]
    refused: int
    """Transfers that we refused because the disk was full."""
    reruns: int


def look(soak: Soak) -> Findings:
    """Return the findings of a soak that is over."""
    jobs = soak.jobs(State.DONE)
    given = Counter(soak.pacs.stored)
    failures = soak.failures()
    return Findings(
        lost=tuple(str(path) for path in lost(soak)),
        twice=tuple(uid for uid, times in given.items() if times > 1),
        undelivered=tuple(j.job_id for j in jobs if not is_delivered(j, given)),
        uncaused=tuple(e.kind.value for e in failures if not e.cause),
        studies=len(jobs),
        accepted=len(soak.routers.accepted),
        masks=len(given),
        kills=dict(soak.kills),
        causes=dict(Counter(event.cause for event in failures)),
        refused=soak.routers.refusals,
        reruns=soak.reruns,
    )


def lost(soak: Soak) -> Iterator[Path]:
    """Yield accepted files that no job holds, or holds otherwise."""
    for study in soak.studies:
        job = soak.service.queue.find(study.key)
        for path in soak.routers.accepted.intersection(study.files):
            header = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"])
            name = f"{sop_key(str(header.SOPInstanceUID))}.dcm"
            if job is None or not same(path, job.folder / IMAGES / name):
                yield path


def is_delivered(job: Listed, given: Counter[str]) -> bool:
    """Tell whether a job's mask is where it belongs; one on hold belongs nowhere."""
    mask = stored_mask(job.folder / RESULT)
    if mask is None or mask.uid is None or mask.verdict == HOLD:
        return mask is not None and mask.verdict == HOLD
    known = Deliveries(job.folder).of("pacs", mask.uid)
    return known is not None and known.state is Sent.CONFIRMED and mask.uid in given
