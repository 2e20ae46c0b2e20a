"""What goes wrong, as a page for people and as JSON for programs; never a trace."""

import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from model.errors import BrsError
from plugin.jobs import PassingError
from plugin.web.access import is_for_machines, visitor
from plugin.web.words import without_uids

logger = logging.getLogger(__name__)


def report_problems(app: Flask) -> None:
    """Answer every error of an app in one way."""
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(BrsError, _mendable)
    app.register_error_handler(Exception, _unforeseen)


def _refused(error: HTTPException) -> Response:
    """Answer what the web side refuses; redirects and the like are answers already."""
    if error.response is not None:
        return make_response(error.response)
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    answer = _answer(status, text=error.description or status.phrase)
    answer.headers.extend(
        (name, value)
        for name, value in error.get_headers()
        if name not in ("Content-Type", "Content-Length")
    )
    return answer


def _mendable(error: BrsError) -> Response:
    """Answer an error that a person can mend, with its three parts."""
    passing = isinstance(error, PassingError)
    status = HTTPStatus.SERVICE_UNAVAILABLE if passing else HTTPStatus.CONFLICT
    parts = {"found": error.found, "needed": error.needed, "mend": error.mend}
    if not visitor().sees_identifiers:
        parts = {name: without_uids(text) for name, text in parts.items()}
    return _answer(status, text="", **parts)


def _unforeseen(error: Exception) -> Response:
    """Answer a fault of ours: only its kind, its message may hold anything."""
    logger.error("%s failed: %s", request.endpoint, type(error).__name__)
    logger.debug("trace", exc_info=error)
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, text="See the service's log.")


def _answer(status: HTTPStatus, **problem: Any) -> Response:
    if is_for_machines():
        said = {name: text for name, text in problem.items() if text}
        answer = jsonify(error={"status": status.value, "title": status.phrase} | said)
    else:
        problem = {"found": "", **problem}
        page = render_template("status/problem.html", status=status, problem=problem)
        answer = make_response(page)
    answer.status_code = status.value
    return answer
