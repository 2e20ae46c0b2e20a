"""A job's mask to every destination, each attempt recorded before and after."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from plugin.jobs import Job, Kind, LastingError, PassingError, cause_of
from plugin.sending.deliver import Delivered
from plugin.sending.destination import Destination
from plugin.service.deliveries import Deliveries, Sent
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
        if not self._job.reached(SENDING):
            self._begin_cycle(destinations)
            self._job.progress(SENDING)
        open_ones = [d for d in destinations if self._state(d) in (None, Sent.WAITING)]
        failures: list[Exception] = []
        for number, destination in enumerate(open_ones):
            report("send", number / len(open_ones))
            failures += self._try(destination, deliver)
        report("send", 1.0)
        failures += [
            self._refusal(d) for d in destinations if self._state(d) is Sent.REFUSED
        ]
        if failures:
            raise sorted(failures, key=lambda error: not cause_of(error).passing)[0]

    def _begin_cycle(self, destinations: Sequence[Destination]) -> None:
        """Wait again for who refused, and by a person's re-run for all.

        A cycle begins with new images or a re-run, not with a retry.
        """
        opened = self._job.journal.opened
        is_rerun = opened is not None and opened.kind is Kind.RERUN
        for destination in destinations:
            state = self._state(destination)
            if state is Sent.REFUSED or (state is not None and is_rerun):
                self._records.reopen(destination.name)

    def _state(self, destination: Destination) -> Sent | None:
        known = self._records.of(destination.name, self._uid)
        return known.state if known is not None else None

    def _refusal(self, destination: Destination) -> LastingError:
        """Return the refusal of this run, or of an earlier one, as it is on record."""
        known = self._records.of(destination.name, self._uid)
        return LastingError(
            f"destination {destination.name}",
            cause=known.cause if known is not None else "refused",
            found=known.text if known is not None else "a refusal",
            needed="a destination that takes the mask",
            mend="correct the destination, then re-run the job",
        )

    def _try(self, destination: Destination, deliver: Deliver) -> list[Exception]:
        """Deliver to one destination; return what may pass of what went wrong."""
        name = destination.name
        self._records.begin(name, self._uid)
        try:
            done = deliver([self._mask], destination, calling_ae=self._calling_ae)
        except (PassingError, LastingError, OSError) as error:
            cause = cause_of(error)
            state = Sent.WAITING if cause.passing else Sent.REFUSED
            self._records.end(name, state, cause)
            logger.warning("job %s to %s: %s", self._job.job_id, name, cause.code)
            return [error] if cause.passing else []
        self._records.end(name, Sent.CONFIRMED if done.is_confirmed else Sent.SENT)
        return []
