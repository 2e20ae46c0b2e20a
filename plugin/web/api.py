"""The jobs as JSON, and an operator's changes, by a Bearer token."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue

from plugin.jobs import Event, Listed, State
from plugin.web.access import check_bearer, visitor
from plugin.web.job_pages import (
    BY_OPERATOR,
    PAGE_SIZE,
    found_job,
    page_asked,
    state_asked,
    whole_number,
)
from plugin.web.pictures import stamp_of
from plugin.web.records import (
    Result,
    Sent,
    read_deliveries,
    read_progress,
    read_result,
    read_study,
)
from plugin.web.rows import Row, row_of
from plugin.web.source import StatusSource
from plugin.web.words import without_uids

LARGEST_PAGE: Final = 500


class Api:
    """The routes below ``/api/v1``."""

    def __init__(self, source: StatusSource, changed: Callable[[], None]) -> None:
        self._queue = source.queue
        self._changed = changed

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("api", __name__, url_prefix="/api/v1")
        add = routes.add_url_rule
        add("/jobs", "jobs", self.jobs)
        add("/jobs/<job_id>", "job", self.job)
        add("/jobs/<job_id>/rerun", "rerun", self.rerun, methods=["POST"])
        add("/jobs/<job_id>/park", "park", self.park, methods=["POST"])
        return routes

    def jobs(self) -> ResponseReturnValue:
        """List one page of the jobs of one state, or of all."""
        size = whole_number("size", default=PAGE_SIZE, highest=LARGEST_PAGE)
        page = self._queue.jobs(state_asked(), page_asked(), size=size)
        return jsonify(
            jobs=[_row(listed).to_json() for listed in page.jobs],
            page=page.number,
            pages=page.pages,
            total=page.total,
        )

    def job(self, job_id: str) -> ResponseReturnValue:
        """Show one job with its journal, its result and what was sent."""
        listed = found_job(self._queue, job_id)
        return jsonify(_whole(listed))

    def rerun(self, job_id: str) -> ResponseReturnValue:
        """Queue a resting job again; a conflict where it does not rest."""
        check_bearer()
        may = _row(found_job(self._queue, job_id)).may_rerun
        return self._answer(job_id, self._queue.rerun(job_id), done=may)

    def park(self, job_id: str) -> ResponseReturnValue:
        """Park a waiting job; a conflict where it does not wait."""
        check_bearer()
        may = _row(found_job(self._queue, job_id)).may_park
        return self._answer(job_id, self._queue.park(job_id, BY_OPERATOR), done=may)

    def _answer(self, job_id: str, state: State, *, done: bool) -> ResponseReturnValue:
        self._changed()
        status = HTTPStatus.OK if done else HTTPStatus.CONFLICT
        return jsonify(id=job_id, state=state.value, changed=done), status


def _row(listed: Listed) -> Row:
    return row_of(listed, with_uids=visitor().sees_identifiers)


def _whole(listed: Listed) -> Mapping[str, Any]:
    """Return one job; identifiers are there for the authorised alone."""
    result, progress = read_result(listed.folder), read_progress(listed.folder)
    events = listed.journal.events if listed.journal else ()
    values: dict[str, Any] = {
        **_row(listed).to_json(),
        "progress": progress and {"stage": progress.stage, "share": progress.share},
        "journal": [_event(event) for event in events],
        "result": result and _result(result),
        "deliveries": [_delivery(sent) for sent in read_deliveries(listed.folder)],
        "preview": _preview(listed),
    }
    return {**values, **_identifiers(listed)} if visitor().sees_identifiers else values


def _event(event: Event) -> Mapping[str, Any]:
    text = event.text if visitor().sees_identifiers else without_uids(event.text)
    return {
        "at": event.moment.at.isoformat(),
        "kind": event.kind.value,
        "cause": event.cause,
        "text": text,
        "wait_s": event.wait_s,
    }


def _result(result: Result) -> Mapping[str, Any]:
    return {
        "verdict": result.verdict,
        "reasons": result.reasons,
        "right_ml": result.right_ml,
        "left_ml": result.left_ml,
        "nearest_point_mm": result.nearest_point_mm,
        "breast_size_mm": result.breast_size_mm,
        "stages_s": result.stages_s,
        "energy_kwh": result.energy_kwh,
        "cfp_kg": result.cfp_kg,
        "devices": result.devices,
        "engine": result.engine,
        "weights_sha256": result.weights_sha256,
    }


def _delivery(sent: Sent) -> Mapping[str, Any]:
    text = sent.text if visitor().sees_identifiers else without_uids(sent.text)
    return {
        "destination": sent.destination,
        "state": sent.state,
        "attempts": sent.attempts,
        "at": sent.at and sent.at.isoformat(),
        "cause": sent.cause,
        "text": text,
    }


def _preview(listed: Listed) -> str | None:
    has_one = stamp_of(listed.folder) is not None
    return url_for("pictures.preview", job_id=listed.job_id) if has_one else None


def _identifiers(listed: Listed) -> Mapping[str, Any]:
    study, result = read_study(listed.folder), read_result(listed.folder)
    return {
        "study_instance_uid": study and study.uid,
        "source_aes": study.source_aes if study else [],
        "called_ae": study and study.called_ae,
        "sop_instance_uid": result and result.sop_instance_uid,
    }
