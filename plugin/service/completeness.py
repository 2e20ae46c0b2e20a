"""When an incoming study is complete: by its content first, by quiet time second.

A study is looked at when nothing came for ``settle_s`` and every sender has ended its
association in order, or when nothing came for ``quiet_s``. Is there a pair, it goes to
the workers. Is there none, it is parked at ``quiet_s`` with what is missing. A study
that is known already goes to the workers, who have its other images.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from model.errors import BrsError
from plugin.dce import choose_among
from plugin.errors import InputError
from plugin.jobs import Cause, Listed, Queue, State, cause_of
from plugin.reading.headers import FileReport, read_file, united
from plugin.receiving.landing import IMAGES
from plugin.receiving.storing import Receipt
from plugin.service.config import ServiceConfig
from plugin.service.study import write_study
from plugin.service.suitability import unsuitable

logger = logging.getLogger(__name__)

ALL: Final = 1 << 30
EARLIER: Final = "before this start"


@dataclass(slots=True)
class _Study:
    """What is known of an incoming study, for as long as it is incoming."""

    heard_s: float
    senders: set[str] = field(default_factory=set)
    """Associations that brought images and have not ended in order."""
    reports: dict[str, FileReport] = field(default_factory=dict)
    """File name -> its header; no file is read twice."""
    refusal: Cause | None = None
    """Why the files of ``reports`` are no pair."""
    complaint: str = ""


class Arrivals:
    """The incoming studies; told of every receipt by the listener's threads.

    ``ready`` is called with the id of each study that the workers may take.
    """

    def __init__(
        self,
        queue: Queue,
        config: ServiceConfig,
        *,
        ready: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._config = config
        self._policy = config.study
        self._ready = ready
        self._clock = clock
        self._studies: dict[str, _Study] = {}
        self._lock = threading.Lock()

    def received(self, receipt: Receipt) -> None:
        """Hear of an instance that is durable, also of one that came again."""
        with self._lock:
            study = self._studies.setdefault(receipt.identity.study_key, _Study(0.0))
            study.heard_s = self._clock()
            study.senders.add(receipt.association)

    def released(self, association: str) -> None:
        """Hear of an association that its sender has ended in order."""
        with self._lock:
            for study in self._studies.values():
                study.senders.discard(association)

    def sweep(self) -> None:
        """Hand on or park every study whose time has come."""
        began_s = self._clock()
        incoming = self._queue.jobs(State.INCOMING, size=ALL).jobs
        self._forget({job.job_id for job in incoming}, began_s)
        for job in incoming:
            study = self._study(job.job_id)
            if self._clock() - study.heard_s >= self._patience_s(study):
                self._attend(job, study)

    def _study(self, job_id: str) -> _Study:
        """Return what is known; who sent before this start may have broken off."""
        with self._lock:
            fresh = _Study(self._clock(), {EARLIER})
            return self._studies.setdefault(job_id, fresh)

    def _forget(self, incoming: set[str], before_s: float) -> None:
        """Forget studies of which nothing is incoming."""
        with self._lock:
            for job_id, study in list(self._studies.items()):
                if job_id not in incoming and study.heard_s < before_s:
                    del self._studies[job_id]

    def _patience_s(self, study: _Study) -> float:
        policy = self._policy
        return policy.quiet_s if study.senders else policy.settle_s

    def _attend(self, job: Listed, study: _Study) -> None:
        """Look at a study; what the disk refuses for it is said once and waits."""
        try:
            self._look(job, study)
            study.complaint = ""
        except FileNotFoundError:
            logger.debug("study %s has moved", job.job_id)
        except (OSError, BrsError) as error:
            if study.complaint != str(error):
                logger.error("study %s has to wait: %s", job.job_id, error)
            study.complaint = str(error)

    def _look(self, job: Listed, study: _Study) -> None:
        """Decide about a study that has settled."""
        heard_s = study.heard_s
        if job.journal is None or self._is_known(job.job_id):
            self._hand_on(job.job_id)
            return
        cause = self._refusal(job.folder / IMAGES, study)
        is_quiet = self._clock() - heard_s >= self._policy.quiet_s
        if study.heard_s != heard_s or not (cause is None or is_quiet):
            return
        write_study(job.folder, job.journal, self._config.listener.ae_title)
        if cause is None:
            self._hand_on(job.job_id)
        else:
            logger.warning("study %s is parked: %s", job.job_id, cause.code)
            self._queue.park(job.job_id, cause)

    def _is_known(self, job_id: str) -> bool:
        """Tell whether earlier images of the study are with the workers, or were."""
        found = self._queue.find(job_id)
        return found is not None and found.state is not State.INCOMING

    def _hand_on(self, job_id: str) -> None:
        self._queue.enqueue(job_id)
        self._ready(job_id)

    def _refusal(self, images: Path, study: _Study) -> Cause | None:
        """Return why the images are no pair; None when they are one."""
        new = [path for path in _files(images) if path.name not in study.reports]
        if study.refusal is not None and not new:
            return study.refusal
        study.reports |= {path.name: read_file(path) for path in new}
        study.refusal = self._judge(images, study.reports)
        return study.refusal

    def _judge(self, images: Path, reports: dict[str, FileReport]) -> Cause | None:
        headers = united(images, ((images / n, reports[n]) for n in sorted(reports)))
        try:
            choose_among(headers, self._config.rules)
        except InputError as refusal:
            return unsuitable(headers, refusal)
        # Headers of strangers: an unforeseen fault costs this study alone.
        except Exception as error:  # noqa: BLE001
            logger.error("headers not understood: %s", type(error).__name__)
            return replace(cause_of(error), passing=False)
        return None


def _files(images: Path) -> list[Path]:
    return sorted(images.iterdir()) if images.is_dir() else []
