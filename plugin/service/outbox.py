"""A job's mask to every destination, each attempt recorded before and after."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from plugin.jobs import Job, Kind, LastingError, PassingError, cause_of
from plugin.sending.deliver import Delivered
from plugin.sending.destination import Destination
from plugin.service.deliveries import Deliveries, Delivery, Sent
from plugin.stages import Report

logger = logging.getLogger(__name__)

SENDING: Final = "sending"


class Deliver(Protocol):
    """Brings files to a destination once; raises what ``cause_of`` understands."""

    def __call__(
        self, files: Sequence[Path], destination: Destination, *, calling_ae: str
    ) -> Delivered:
        """Return what is there now."""


class Outbox:
    """The deliveries of one mask of a held job."""

    def __init__(self, job: Job, mask: Path, uid: str, *, calling_ae: str) -> None:
        self._job = job
        self._mask = mask
        self._uid = uid
        self._calling_ae = calling_ae
        self._records = Deliveries(job.folder)

    def send(
        self, destinations: Sequence[Destination], deliver: Deliver, report: Report
    ) -> None:
        """Return once every destination has the mask.

        Raises
        ------
        PassingError
            If a destination will have it later: all others were tried.
        LastingError
            If a destination refuses it, and no other is waited for.
        """
        open_ones = [d for d in destinations if self._is_open(d.name)]
        if not self._job.reached(SENDING):
            self._job.progress(SENDING)
        failures: list[Exception] = []
        for number, destination in enumerate(open_ones):
            report("send", number / len(open_ones))
            failure = self._try(destination, deliver)
            failures += [failure] if failure is not None else []
        report("send", 1.0)
        if failures:
            raise sorted(failures, key=lambda error: not cause_of(error).passing)[0]

    def _is_open(self, name: str) -> bool:
        """Tell whether a destination is to be tried now.

        One that has the mask is asked again only by a person's re-run; one that
        refused it, once in every cycle that images or a person began.
        """
        known = self._records.of(name, self._uid)
        if known is None or (not self._job.reached(SENDING) and self._is_rerun()):
            return True
        return not known.is_over and not self._has_refused(known)

    def _is_rerun(self) -> bool:
        opened = self._job.journal.opened
        return opened is not None and opened.kind is Kind.RERUN

    def _has_refused(self, known: Delivery) -> bool:
        return known.state is Sent.REFUSED and self._job.reached(SENDING)

    def _try(self, destination: Destination, deliver: Deliver) -> Exception | None:
        """Deliver to one destination; return what went wrong."""
        name = destination.name
        self._records.begin(name, self._uid)
        try:
            done = deliver([self._mask], destination, calling_ae=self._calling_ae)
        except (PassingError, LastingError, OSError) as error:
            cause = cause_of(error)
            state = Sent.WAITING if cause.passing else Sent.REFUSED
            self._records.end(name, state, cause)
            logger.warning("job %s to %s: %s", self._job.job_id, name, cause.code)
            return error
        self._records.end(name, Sent.CONFIRMED if done.is_confirmed else Sent.SENT)
        return None
