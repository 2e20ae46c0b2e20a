"""The list of jobs, the page of one job, and what an operator may do with it."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, NotFound

from plugin.jobs import Cause, Listed, Queue, QueueError, State
from plugin.web.access import check_form, visitor
from plugin.web.pictures import stamp_of
from plugin.web.records import (
    STAGES,
    Sent,
    read_deliveries,
    read_progress,
    read_result,
    read_study,
)
from plugin.web.rows import row_of, said_by
from plugin.web.source import StatusSource
from plugin.web.words import many, parts_of

PAGE_SIZE: Final = 50
SHOWN_EVENTS: Final = 200
HIGHEST_PAGE: Final = 1_000_000
CONFIRMED: Final = "confirmed"
UNEASY: Final = ("review", "hold")
BY_OPERATOR: Final = Cause("operator", "parked by an operator", passing=False)


class JobPages:
    """The routes of the jobs of one queue."""

    def __init__(self, source: StatusSource, changed: Callable[[], None]) -> None:
        self._source = source
        self._queue = source.queue
        self._changed = changed

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("jobs", __name__)
        add = routes.add_url_rule
        add("/jobs", "index", self.index)
        add("/jobs/<job_id>", "one", self.one)
        add("/jobs/<job_id>/rerun", "rerun", self.rerun, methods=["POST"])
        add("/jobs/<job_id>/park", "park", self.park, methods=["POST"])
        return routes

    def index(self) -> ResponseReturnValue:
        """Show one page of the jobs of one state, or of all."""
        state = state_asked()
        page = self._queue.jobs(state, page_asked(), size=PAGE_SIZE)
        return render_template(
            "status/jobs.html",
            page=page,
            reasons=_reasons(page.jobs),
            state=state,
            states=list(State),
            depth=self._queue.depth(),
            row_of=row_of,
            now=self._source.clock().at,
        )

    def one(self, job_id: str) -> ResponseReturnValue:
        """Show all that is known of one job."""
        listed = found_job(self._queue, job_id)
        row = row_of(listed, with_uids=visitor().sees_identifiers)
        events = listed.journal.events if listed.journal else ()
        deliveries = read_deliveries(listed.folder)
        return render_template(
            "status/job.html",
            row=row,
            why=parts_of(row.text),
            events=events[: -SHOWN_EVENTS - 1 : -1],
            unseen=max(0, len(events) - SHOWN_EVENTS),
            study=read_study(listed.folder),
            progress=read_progress(listed.folder),
            result=read_result(listed.folder),
            deliveries=deliveries,
            confirmed=_confirmed(deliveries),
            said_by=said_by,
            picture=stamp_of(listed.folder),
            stages=STAGES,
            now=self._source.clock().at,
        )

    def rerun(self, job_id: str) -> ResponseReturnValue:
        """Queue a job again."""
        check_form()
        found_job(self._queue, job_id)
        self._queue.rerun(job_id)
        return self._back_to(job_id)

    def park(self, job_id: str) -> ResponseReturnValue:
        """Take a waiting job out of the queue."""
        check_form()
        found_job(self._queue, job_id)
        self._queue.park(job_id, BY_OPERATOR)
        return self._back_to(job_id)

    def _back_to(self, job_id: str) -> ResponseReturnValue:
        self._changed()
        return redirect(url_for("jobs.one", job_id=job_id), HTTPStatus.SEE_OTHER)


def _reasons(jobs: Sequence[Listed]) -> Mapping[str, str]:
    """Return job -> the first reason of a verdict that a person should look at."""
    uneasy = (job for job in jobs if row_of(job, with_uids=True).verdict in UNEASY)
    results = ((job.job_id, read_result(job.folder)) for job in uneasy)
    return {
        name: found.reasons[0] for name, found in results if found and found.reasons
    }


def _confirmed(deliveries: Sequence[Sent]) -> str:
    """Return how far the sending is, as the end of a sentence."""
    if not deliveries:
        return ""
    done = sum(sent.state == CONFIRMED for sent in deliveries)
    if done == len(deliveries):
        return ", sent and confirmed"
    return f", confirmed by {done} of {many(len(deliveries), 'destination')}"


def found_job(queue: Queue, job_id: str) -> Listed:
    """Return a job; NotFound for what is no job, or no name of one."""
    try:
        listed = queue.find(job_id)
    except QueueError:
        listed = None
    if listed is None:
        raise NotFound("There is no such job. Old jobs are removed after a while.")
    return listed


def state_asked() -> State | None:
    """Return the state that the request asks for; None for all."""
    asked = request.args.get("state", "")
    if not asked:
        return None
    try:
        return State(asked)
    except ValueError:
        known = ", ".join(State)
        raise BadRequest(f"There is no such state. The states are {known}.") from None


def page_asked() -> int:
    """Return the number of the page that the request asks for, from 1."""
    return whole_number("page", default=1, highest=HIGHEST_PAGE)


def whole_number(name: str, *, default: int, highest: int) -> int:
    """Return a number from 1 of the request's query."""
    asked = request.args.get(name, "")
    if not asked:
        return default
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 0
    if not 1 <= number <= highest:
        raise BadRequest(f"{name} is a whole number from 1 to {highest}.")
    return number
